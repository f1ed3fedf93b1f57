"""The devices that torch sees: their memory, and which precisions and attention kernels work on them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from wan_core.cli.checks.finding import Finding, note, ok, problem
from wan_core.cli.checks.software import import_torch
from wan_core.memory import gigabytes
from wan_core.planning.machine import precision
from wan_core.plugins import brief

DTYPES = ("float32", "bfloat16", "float16")
FP8_CAPABILITY = (8, 9)
BACKENDS = {
    "flash": "FLASH_ATTENTION",
    "memory-efficient": "EFFICIENT_ATTENTION",
    "cuDNN": "CUDNN_ATTENTION",
    "math": "MATH",
}
SIDE = 32


def names(torch: Any) -> list[str]:
    """``["cpu", "cuda:0", …]``."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["cpu", *(f"cuda:{index}" for index in range(count))]


def devices(torch: Any = None) -> Iterator[Finding]:
    """Each device with its memory; torch has code for it."""
    torch = torch or import_torch()
    if torch is None:
        return
    yield ok(f"cpu: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    for name in names(torch)[1:]:
        yield _gpu(torch, int(name.partition(":")[2]))


def _gpu(torch: Any, index: int) -> Finding:
    major, minor = torch.cuda.get_device_capability(index)
    free, total = torch.cuda.mem_get_info(index)
    text = (
        f"cuda:{index}: {torch.cuda.get_device_name(index)}, capability {major}.{minor}, "
        f"{gigabytes(free)} of {gigabytes(total)} free"
    )
    built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", a) for a in torch.cuda.get_arch_list()]
    served = [(int(m[2]), int(m[3]), m[1] == "compute") for m in built if m]
    newer = bool(served) and (major, minor) > max(served)[:2]
    # code for 8.0 runs on 8.9, not on 9.0; what the driver still has to translate, on all newer ones
    if served and not any(
        (m == major and n <= minor) or (later and (m, n) <= (major, minor))
        for m, n, later in served
    ):
        remedy = "install a newer torch" if newer else "use another device, or a torch built for it"
        return problem(f"{text}; this torch has no code for it", remedy)
    if free < total // 2:
        return note(f"{text}: another program holds the rest", "end it, or state memory.vram")
    return ok(text)


def precisions(torch: Any = None) -> Iterator[Finding]:
    """A small product of matrices in each precision gives what it should."""
    torch = torch or import_torch()
    if torch is None:
        return
    for name in names(torch):
        failed: dict[str, str] = {}
        for dtype in DTYPES:
            if reason := _multiplied(torch, name, dtype):
                failed[dtype] = reason
        works = [dtype for dtype in DTYPES if dtype not in failed]
        if name != "cpu":
            works += _fp8(torch, name)
        text = f"{name}: {', '.join(works) or 'no precision'} can be used"
        usual = precision("auto", name)
        if usual in failed:
            remedy = f'say precision = "{works[0]}"' if works else "check the driver and torch"
            yield problem(f"{text}; {usual} fails ({failed[usual]})", remedy)
        elif failed:
            yield note(f"{text}; {' and '.join(failed)} can't", f"leave precision at {usual}")
        else:
            yield ok(text)


def _multiplied(torch: Any, device: str, dtype: str) -> str:
    """Why the product is wrong; "" when it isn't."""
    try:
        x = torch.ones(SIDE, SIDE, device=device, dtype=getattr(torch, dtype))
        result = float((x @ x).float().sum())
    except Exception as error:
        return brief(error)[:200]
    return "" if result == SIDE**3 else f"a wrong product, {result:g}"


def _fp8(torch: Any, device: str) -> list[str]:
    if torch.cuda.get_device_capability(int(device.partition(":")[2])) < FP8_CAPABILITY:
        return []
    try:
        x = torch.ones(SIDE, SIDE, device=device).to(torch.float8_e4m3fn)
        one = torch.ones((), device=device)
        product = torch._scaled_mm(x, x.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
        right = float(product.float().sum()) == SIDE**3
    except Exception:
        return []
    return ["float8"] if right else []


def attention(torch: Any = None) -> Iterator[Finding]:
    """Scaled-dot-product attention works, and with which kernels."""
    torch = torch or import_torch()
    if torch is None:
        return
    for name in names(torch):
        dtype = getattr(torch, precision("auto", name))
        q = torch.ones(1, 2, SIDE, 128, device=name, dtype=dtype)
        try:
            wrong = abs(float(_attend(torch, q).float().mean()) - 1) > 1e-2
            reason = "a wrong result" if wrong else ""
        except Exception as error:
            reason = brief(error)[:200]
        if reason:
            yield problem(f"{name}: attention fails ({reason})", "check the driver and torch")
        elif name == "cpu":
            yield ok("cpu: attention works")
        else:
            yield _kernels(torch, name, q)


def _attend(torch: Any, q: Any) -> Any:
    return torch.nn.functional.scaled_dot_product_attention(q, q, q)


def _kernels(torch: Any, device: str, q: Any) -> Finding:
    working = []
    for title, backend in BACKENDS.items():
        try:
            with torch.nn.attention.sdpa_kernel(getattr(torch.nn.attention.SDPBackend, backend)):
                _attend(torch, q)
        except Exception:
            continue
        working.append(title)
    text = f"{device}: attention works with the kernels {', '.join(working) or 'of nobody'}"
    if not {"flash", "memory-efficient", "cuDNN"} & set(working):
        return note(f"{text}: slow, and its memory grows with the square", "install a newer torch")
    return ok(text)
