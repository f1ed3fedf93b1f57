"""How files name the tensors of the Wan 2.1 VAE: as upstream does, or as diffusers does.

Both have the same tensors with the same shapes; only names differ (diffusers:
``scripts/convert_wan_to_diffusers.py``). Prefixes that some files put in front of every key
(``model.``, ``vae.``, ``first_stage_model.``) are removed where files are read, before these rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from wan_core.weights.dialects import Dialect, renaming

_INSIDE_RESIDUAL = (
    ("residual.0", "norm1"),
    ("residual.2", "conv1"),
    ("residual.3", "norm2"),
    ("residual.6", "conv2"),
    ("shortcut", "conv_shortcut"),
)
_INSIDE_ATTENTION = tuple((name, name) for name in ("norm", "to_qkv", "proj"))
_INSIDE_RESAMPLE = tuple((name, name) for name in ("resample", "time_conv"))
_MIDDLE = (
    ("middle.0", "mid_block.resnets.0", _INSIDE_RESIDUAL),
    ("middle.1", "mid_block.attentions.0", _INSIDE_ATTENTION),
    ("middle.2", "mid_block.resnets.1", _INSIDE_RESIDUAL),
)
_DOWN = ("downsamples.{i}", "down_blocks.{i}", (*_INSIDE_RESIDUAL, *_INSIDE_RESAMPLE))
_RESIDUALS_PER_STAGE = 3  # diffusers counts the decoder's blocks by stage, official files in a row
_STAGES = 4


def _pairs() -> Iterator[tuple[str, str]]:
    yield "conv1.{*}", "quant_conv.{*}"
    yield "conv2.{*}", "post_quant_conv.{*}"
    for half in ("encoder", "decoder"):
        yield f"{half}.conv1.{{*}}", f"{half}.conv_in.{{*}}"
        yield f"{half}.head.0.{{*}}", f"{half}.norm_out.{{*}}"
        yield f"{half}.head.2.{{*}}", f"{half}.conv_out.{{*}}"
        for ours, theirs, inside in (*_MIDDLE, *((_DOWN,) if half == "encoder" else _up())):
            for a, b in inside:
                yield f"{half}.{ours}.{a}.{{*}}", f"{half}.{theirs}.{b}.{{*}}"


def _up() -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    for stage in range(_STAGES):
        first = stage * (_RESIDUALS_PER_STAGE + 1)
        for index in range(_RESIDUALS_PER_STAGE):
            ours, theirs = f"upsamples.{first + index}", f"up_blocks.{stage}.resnets.{index}"
            yield ours, theirs, _INSIDE_RESIDUAL
        ours = f"upsamples.{first + _RESIDUALS_PER_STAGE}"
        yield ours, f"up_blocks.{stage}.upsamplers.0", _INSIDE_RESAMPLE


def _is_official(names: Set[str]) -> bool:
    return "decoder.conv1.weight" in names or "encoder.conv1.weight" in names


def _is_diffusers(names: Set[str]) -> bool:
    return "decoder.conv_in.weight" in names or "encoder.conv_in.weight" in names


def _same(name: str) -> str:
    return name


_to_official, _from_official = renaming(_pairs())

OFFICIAL = Dialect("official", "wan-vae", _is_official, _same, _same)
"""The names of Wan-Video's own files, which are those of ``WanVAE``."""

DIFFUSERS = Dialect("diffusers", "wan-vae", _is_diffusers, _to_official, _from_official)
"""diffusers' ``AutoencoderKLWan`` for the Wan 2.1 network (4 stages, 2 residual blocks each)."""

DIALECTS = (OFFICIAL, DIFFUSERS)
