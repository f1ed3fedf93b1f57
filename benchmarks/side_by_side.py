"""What benchmarks share: options, random models in our form and in diffusers', their inputs, and measuring.

Needs, of Python packages, only torch, attrs, einops and cattrs, and diffusers for its own form. Without a GPU
all of it works on the CPU, where peaks of memory are zero: for trying out, not for measuring.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from wan_core.contract.quantization import Quantization
from wan_core.memory import (
    BlockStack,
    BlockSwap,
    Copier,
    CudaCopier,
    HostMemory,
    HostSource,
    SimulatedCopier,
    compiling_of,
)
from wan_core.models.families.parts import WIDE
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.models.wan.files import block_matrices
from wan_core.weights.quantised.linear import QuantLinear, multiply_in_fp8
from wan_core.weights.quantised.packed import pack

GB = 1e9
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Inputs = tuple[Tensor, Tensor, Tensor]
Run = Callable[[], Any]


# Options and results


def options_of(documentation: str | None) -> argparse.ArgumentParser:
    """A parser with what all scripts take."""
    parser = argparse.ArgumentParser(description=(documentation or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON")
    return parser


def add_size(
    parser: argparse.ArgumentParser, *, frames: Sequence[int] = (), repeats: int = 10
) -> None:
    """Options of passes of a whole transformer.

    Args:
        frames: of several clips; () = the option takes one number.
    """
    several: dict[str, Any] = {"nargs": "+", "default": list(frames)} if frames else {"default": 81}
    parser.add_argument("--frames", type=int, help="pixel frames, 4n + 1", **several)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--layers", type=int, help="blocks, if not as many as the model has")
    parser.add_argument("--repeats", type=int, default=repeats, help="passes that are timed")


def size_of(options: argparse.Namespace) -> str:
    return f"{options.width}x{options.height}x{options.frames}"


def write(result: Any, path: Path | None) -> None:
    """Write JSON, if a path is given."""
    if path:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def environment() -> dict[str, Any]:
    """What a measurement depends on beside the code."""
    about = {
        "device": torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU",
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
    for package in ("triton", "diffusers"):
        try:
            about[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return about


# Models and their inputs


def wide(layers: int | None = None) -> WanConfig:
    """Sizes of Wan 2.1 T2V 14B, or of one with fewer blocks."""
    config = WanConfig(**WIDE)
    return attrs.evolve(config, num_layers=layers) if layers else config


def random_model(config: WanConfig) -> WanTransformer:
    """The transformer with random weights, in bfloat16 but for what is kept in float32."""
    with torch.device("meta"):
        model = WanTransformer(config).eval()
    cast(model, WanTransformer.KEEP_FLOAT32)
    model.to_empty(device=DEVICE)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
            parameter.data.fill_(1)
        else:
            parameter.data.normal_(std=0.02)
    return model.requires_grad_(False)


def twin_of(model: WanTransformer) -> WanTransformer:
    """Another model that shares all its weights; before anything is compiled or swapped."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def quantise(model: WanTransformer, *, in_fp8: bool = False) -> WanTransformer:
    """The same model with the matrices of its blocks in 8 bits, a scale for each output channel.

    Args:
        in_fp8: products are in 8 bits, too, where the device can.
    """
    matrices = block_matrices(model.config, Quantization())
    for name in matrices:
        place = name.removesuffix(".weight")
        plain = model.get_submodule(place)
        packed = pack(plain.weight.float(), "fp8_e4m3fn", by_channel=True)
        model.set_submodule(place, QuantLinear(packed, plain.bias, torch.bfloat16))
    if in_fp8:
        multiply_in_fp8(model, matrices, DEVICE)
    return model


def diffusers_form(ours: WanTransformer, *, device: torch.device | str | None = None) -> Any:
    """diffusers' transformer with the same weights, in bfloat16 as diffusers loads them.

    Args:
        device: None = on that of ``ours``, sharing its memory where the precision is the same.
    """
    theirs = bare_diffusers(ours.config)
    kept = [f"*{part}*" for part in theirs._keep_in_fp32_modules]
    weights = {}
    for name, tensor in ours.state_dict().items():
        theirs_name = str(DIFFUSERS.from_official(name))
        dtype = torch.float32 if fits(theirs_name, kept) else torch.bfloat16
        weights[theirs_name] = tensor.to(device=device, dtype=dtype)
    filled(theirs, weights)
    return theirs.to(device or next(ours.parameters()).device).eval()


def bare_diffusers(config: WanConfig) -> Any:
    """diffusers' transformer without memory."""
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        return WanTransformer3DModel(**diffusers_config(config))


def diffusers_config(config: WanConfig) -> dict[str, Any]:
    return {
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.head_width,
        "ffn_dim": config.ffn_dim,
        "num_layers": config.num_layers,
        "freq_dim": config.freq_dim,
        "text_dim": config.text_dim,
    }


def offload(theirs: Any) -> None:
    """diffusers' offloading by groups of one block, with a stream for copies where there is a GPU."""
    theirs.enable_group_offload(
        DEVICE,
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=DEVICE.type == "cuda",
    )


def filled(theirs: Any, weights: Mapping[str, Tensor]) -> Any:
    """A model of :func:`bare_diffusers` with these weights, and the tables that are in no file."""
    theirs.load_state_dict(weights, assign=True)
    own = theirs.config
    head = own.attention_head_dim
    theirs.rope = type(theirs.rope)(head, own.patch_size, own.rope_max_seq_len)
    return theirs.eval()


def cast(model: nn.Module, keep_float32: Iterable[str]) -> None:
    """Parameters to bfloat16, but for the names that fit a pattern."""
    keep = tuple(keep_float32)
    for name, parameter in model.named_parameters():
        if not fits(name, keep):
            parameter.data = parameter.data.to(torch.bfloat16)


def fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def inputs(config: WanConfig, frames: int, height: int, width: int) -> Inputs:
    """Latents, a timestep, and a text that fills all rows."""
    shape = (1, config.in_dim, (frames - 1) // 4 + 1, height // 8, width // 8)
    text = torch.randn(1, config.text_len, config.text_dim, device=DEVICE).bfloat16()
    latents = torch.randn(shape, device=DEVICE).bfloat16()  # diffusers takes no others
    return latents, torch.tensor([723.0], device=DEVICE), text


def bytes_of(model: nn.Module) -> int:
    """Of all weights."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


# Compiling and swapping, as a run does it


def compile_diffusers(theirs: Any) -> None:
    """Its blocks one by one."""
    # what torch gives up on it would run eagerly without a word, and be no peer of compiled code
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._dynamo.config.recompile_limit = 64  # hooks of offloading differ from block to block
    theirs.compile_repeated_blocks()


def refuse_failed(model: BlockStack) -> None:
    """What failed to compile ran eagerly, and its time must not pass for that of compiled code.

    Raises:
        SystemExit: that is so.
    """
    compiling = compiling_of(model)
    if compiling and compiling.failure:
        raise SystemExit(f"compiling failed: {compiling.failure}")


def copier() -> Copier:
    return CudaCopier(DEVICE) if DEVICE.type == "cuda" else SimulatedCopier()


def swapping(
    model: BlockStack,
    names: Sequence[str],
    prefetch: int,
    copies: Copier | None = None,
    *,
    share: int | None = None,
) -> tuple[BlockSwap, list[HostSource]]:
    """Block swap that is set up, pinning included, and where its units lie.

    Args:
        share: bytes that may be pinned; None = half of the machine's memory.
    """
    sources: list[HostSource] = []
    memory = HostMemory(share)

    def provider(name: str, tensors: Sequence[Tensor]) -> HostSource:
        sources.append(memory(name, tensors))
        return sources[-1]

    swap = BlockSwap(model, names, prefetch, copies or copier(), provider=provider)
    for source in sources:
        _ = source.pinned  # threads pin; this waits for them
    return swap, sources


# Measuring


def measured(runs: Mapping[str, Run], repeats: int) -> dict[str, dict[str, Any]]:
    """Time each run ``repeats`` times, in turns, after three that are not timed.

    Returns:
        Of each run ``seconds`` (median), ``all seconds``, ``spread`` (largest less smallest over the median),
        ``held GB`` (allocated before it; libraries have what they keep by then), ``peak GB``, and ``work GB``,
        which is their difference.
    """
    result: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        run()  # warm up and compile
        run()
        synchronize()
        held = allocated()
        reset_peak()
        run()
        synchronize()
        peak = peak_allocated()
        result[name] = {"held GB": held / GB, "peak GB": peak / GB, "work GB": (peak - held) / GB}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds_of(run))
    return {name: row | spread_of(times[name]) for name, row in result.items()}


def spread_of(times: Sequence[float]) -> dict[str, Any]:
    """What :func:`measured` says of times."""
    middle = statistics.median(times)
    return {
        "seconds": middle,
        "spread": (max(times) - min(times)) / middle,
        "all seconds": list(times),
    }


def seconds_of(run: Run) -> float:
    """One call, by the device's own clock."""
    if DEVICE.type == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000


@contextmanager
def timed(result: dict[str, Any], key: str) -> Iterator[None]:
    """Wall-clock seconds of a region, work of the device included."""
    synchronize()
    start = time.perf_counter()
    yield
    synchronize()
    result[key] = time.perf_counter() - start


def relative(got: Tensor, want: Tensor) -> float:
    """How far apart two results are, in the norm, relative to the second."""
    return float((got.float() - want.float()).norm() / want.float().norm())


def profile(name: str, run: Run) -> None:
    """Print the longest kernels of a run."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    with watch(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        run()
        synchronize()
    print(f"-- {name}")
    kernels = [event for event in seen.key_averages() if event.device_time_total]
    kernels = [event for event in kernels if str(event.device_type).endswith("CUDA")]
    for event in sorted(kernels, key=lambda one: -one.self_device_time_total)[:20]:
        print(f"{event.self_device_time_total / 1e3:9.3f} ms {event.count:4}  {event.key[:90]}")


def free() -> None:
    """Give back what models and compiled code left."""
    gc.collect()
    torch._dynamo.reset()
    give_back()


def give_back() -> None:
    """The device's memory that is not in use goes back to it."""
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


def synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def allocated() -> int:
    return torch.cuda.memory_allocated() if DEVICE.type == "cuda" else 0


def peak_allocated() -> int:
    return torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else 0


def reset_peak() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
