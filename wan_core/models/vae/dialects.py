"""How files name the tensors of the Wan VAEs: as upstream does, or as diffusers does.

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
_DOWN = (("downsamples.{i}", "down_blocks.{i}", (*_INSIDE_RESIDUAL, *_INSIDE_RESAMPLE)),)
_RESIDUALS_PER_STAGE = 3  # diffusers counts the decoder's blocks by stage, official files in a row
_STAGES = 4

_Block = tuple[str, str, tuple[tuple[str, str], ...]]
_Blocks = tuple[_Block, ...]


def _pairs(down: _Blocks, up: _Blocks) -> Iterator[tuple[str, str]]:
    yield "conv1.{*}", "quant_conv.{*}"
    yield "conv2.{*}", "post_quant_conv.{*}"
    for half, blocks in (("encoder", down), ("decoder", up)):
        yield f"{half}.conv1.{{*}}", f"{half}.conv_in.{{*}}"
        yield f"{half}.head.0.{{*}}", f"{half}.norm_out.{{*}}"
        yield f"{half}.head.2.{{*}}", f"{half}.conv_out.{{*}}"
        for ours, theirs, inside in (*_MIDDLE, *blocks):
            for a, b in inside:
                yield f"{half}.{ours}.{a}.{{*}}", f"{half}.{theirs}.{b}.{{*}}"


def _up() -> _Blocks:
    """The decoder of Wan 2.1."""
    blocks: list[_Block] = []
    for stage in range(_STAGES):
        first = stage * (_RESIDUALS_PER_STAGE + 1)
        for index in range(_RESIDUALS_PER_STAGE):
            ours, theirs = f"upsamples.{first + index}", f"up_blocks.{stage}.resnets.{index}"
            blocks.append((ours, theirs, _INSIDE_RESIDUAL))
        ours = f"upsamples.{first + _RESIDUALS_PER_STAGE}"
        blocks.append((ours, f"up_blocks.{stage}.upsamplers.0", _INSIDE_RESAMPLE))
    return tuple(blocks)


def _stages(way: str) -> _Blocks:
    """Encoder or decoder of Wan 2.2, whose official names count by stage, too."""
    ours, theirs = f"{way}samples.{{i}}.{way}samples", f"{way}_blocks.{{i}}"
    return (
        (f"{ours}.{{j}}", f"{theirs}.resnets.{{j}}", _INSIDE_RESIDUAL),
        (
            f"{ours}.{_RESIDUALS_PER_STAGE - (way == 'down')}",
            f"{theirs}.{way}sampler",
            _INSIDE_RESAMPLE,
        ),
    )


def _is_official(names: Set[str]) -> bool:
    return "decoder.conv1.weight" in names or "encoder.conv1.weight" in names


def _is_diffusers(names: Set[str]) -> bool:
    return "decoder.conv_in.weight" in names or "encoder.conv_in.weight" in names


def _has_stages(names: Set[str]) -> bool:
    return _is_diffusers(names) and (
        "decoder.up_blocks.0.upsampler.resample.1.weight" in names
        or "encoder.down_blocks.0.resnets.0.conv1.weight" in names
    )


def _same(name: str) -> str:
    return name


_to_official, _from_official = renaming(_pairs(_DOWN, _up()))
_to_stages, _from_stages = renaming(_pairs(_stages("down"), _stages("up")))

OFFICIAL = Dialect("official", "wan-vae", _is_official, _same, _same)
"""The names of Wan-Video's own files, which are those of ``WanVAE``."""

DIFFUSERS22 = Dialect("diffusers", "wan-vae", _has_stages, _to_stages, _from_stages)
"""diffusers' ``AutoencoderKLWan`` for the Wan 2.2 network (2 residual blocks in a stage going down)."""

DIFFUSERS = Dialect("diffusers", "wan-vae", _is_diffusers, _to_official, _from_official)
"""diffusers' ``AutoencoderKLWan`` for the Wan 2.1 network (4 stages, 2 residual blocks each)."""

DIALECTS = (OFFICIAL, DIFFUSERS22, DIFFUSERS)
"""In the order in which they are tried."""
