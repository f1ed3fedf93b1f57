"""What benchmarks of transformers share: random models in our form and in diffusers', their inputs, and timing.

Needs, of Python packages, only torch, attrs and einops, and diffusers for its own form.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.models.wan.dialects import DIFFUSERS

GB = 1e9
Inputs = tuple[Tensor, Tensor, Tensor]
Run = Callable[[], Any]


def random_model(config: WanConfig, device: str = "cuda") -> WanTransformer:
    """The transformer with random weights, in bfloat16 but for what is kept in float32."""
    with torch.device("meta"):
        model = WanTransformer(config).eval()
    cast(model, WanTransformer.KEEP_FLOAT32)
    model.to_empty(device=device)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
            parameter.data.fill_(1)
        else:
            parameter.data.normal_(std=0.02)
    return model


def diffusers_form(ours: WanTransformer, *, device: str | None = None) -> Any:
    """diffusers' transformer with the same weights, in bfloat16 as diffusers loads them.

    Args:
        device: None = on that of ``ours``, sharing its memory where the precision is the same.
    """
    from diffusers import WanTransformer3DModel

    config = ours.config
    with torch.device("meta"):
        theirs = WanTransformer3DModel(
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_width,
            ffn_dim=config.ffn_dim,
            num_layers=config.num_layers,
        )
    kept = [f"*{part}*" for part in theirs._keep_in_fp32_modules]
    weights = {}
    for name, tensor in ours.state_dict().items():
        theirs_name = str(DIFFUSERS.from_official(name))
        dtype = torch.float32 if fits(theirs_name, kept) else torch.bfloat16
        weights[theirs_name] = tensor.to(device=device, dtype=dtype)
    theirs.load_state_dict(weights, assign=True)
    # its rope tables are made in the constructor, not loaded
    head = config.head_width
    theirs.rope = type(theirs.rope)(head, theirs.config.patch_size, theirs.config.rope_max_seq_len)
    return theirs.to(device or next(ours.parameters()).device).eval()


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
    text = torch.randn(1, config.text_len, config.text_dim, device="cuda").bfloat16()
    latents = torch.randn(shape, device="cuda").bfloat16()  # diffusers takes no others
    return latents, torch.tensor([723.0], device="cuda"), text


def measured(runs: Mapping[str, Run], repeats: int) -> dict[str, dict[str, Any]]:
    """Time each run ``repeats`` times, in turns: median, all times, and the peak of memory, of each."""
    result: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        run()  # warm up and compile
        run()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
        result[name] = {"peak GB": peak / GB, "work GB": (peak - before) / GB, "all seconds": []}
    for _ in range(repeats):
        for name, run in runs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            result[name]["all seconds"].append(start.elapsed_time(end) / 1000)
    for row in result.values():
        times = sorted(row["all seconds"])
        row["seconds"] = statistics.median(times)
        row["spread"] = (times[-1] - times[0]) / row["seconds"]
    return result


def relative(got: Tensor, want: Tensor) -> float:
    """How far apart two results are, in the norm, relative to the second."""
    return float((got.float() - want.float()).norm() / want.float().norm())


def environment() -> dict[str, Any]:
    """What a measurement depends on beside the code."""
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
    try:
        import diffusers
    except ImportError:
        return about
    return about | {"diffusers": diffusers.__version__}
