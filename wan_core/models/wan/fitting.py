"""Whether what a denoiser is told fits its transformer: said in a sentence before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from wan_core.contract.errors import PluginError, nearest
from wan_core.models.wan.block import WanBlock
from wan_core.models.wan.config import WanConfig
from wan_core.models.wan.transformer import WanTransformer
from wan_core.models.wan.vace import contexts_of


def check_channels(config: WanConfig, latents: Tensor, channels: Sequence[Tensor]) -> None:
    """Channels ``[batch, channels, frames, height, width]`` join the latents to ``in_dim`` of them.

    Raises:
        PluginError: they do not.
    """
    for part in channels:
        if part.shape[0] != latents.shape[0] or part.shape[2:] != latents.shape[2:]:
            raise PluginError(
                f"channels {_shown(part)} to be joined to latents {_shown(latents)} differ from them "
                "in more than the number of channels"
            )
    count = sum(part.shape[1] for part in (latents, *channels))
    if count != config.in_dim:
        joined = " + ".join(str(part.shape[1]) for part in (latents, *channels))
        raise PluginError(
            f"the transformer takes {config.in_dim} channels, the latents with all that is joined to "
            f"them have {joined}",
            remedy="use a transformer made for these features, or the features that it was made for",
        )


def check_text(config: WanConfig, text: Tensor | Sequence[Tensor]) -> None:
    """Text rows ``[…, text_dim]``.

    Raises:
        PluginError: they are of another width.
    """
    for rows in (text,) if isinstance(text, Tensor) else text:
        if rows.shape[-1] != config.text_dim:
            raise PluginError(
                f"the transformer takes text rows of width {config.text_dim}, not {rows.shape[-1]}",
                remedy="use the text encoder that it was made for",
            )


def check_image_tokens(config: WanConfig, tokens: Tensor | None) -> None:
    """Image tokens ``[batch, tokens, image_dim]``.

    Raises:
        PluginError: the transformer has no attention to image tokens, or takes other ones.
    """
    if tokens is None:
        return
    if config.image_dim is None:
        raise PluginError(
            "the transformer has no cross-attention to image tokens",
            remedy="use an image-to-video transformer that has",
        )
    positions = config.image_positions
    if tokens.shape[-1] != config.image_dim or positions not in (None, tokens.shape[1]):
        raise PluginError(
            f"the transformer takes {positions or 'any number of'} image tokens of width "
            f"{config.image_dim}, not {tokens.shape[1]} of width {tokens.shape[-1]}"
        )


def check_add_ons(transformer: WanTransformer, add_ons: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Inputs are for add-ons that some block has, or for the VACE blocks.

    Raises:
        PluginError: nobody would read them, or a VACE context has another number of channels.
    """
    if not add_ons:
        return
    config = transformer.config
    blocks = (unit.module for unit in transformer.units())
    known = {name for block in blocks if isinstance(block, WanBlock) for name in block.add_ons}
    if config.vace_layers:
        known.add("vace")
    for name in add_ons:
        if name not in known:
            raise PluginError(
                f'no block of the transformer has an add-on "{name}", for which there are inputs',
                remedy=nearest(name, known),
            )
    width = config.vace_in_dim or config.in_dim
    for context, _ in contexts_of(add_ons.get("vace", {}) if config.vace_layers else {}):
        if context.shape[1] != width:
            raise PluginError(
                f"the transformer takes VACE contexts of {width} channels, not {context.shape[1]}"
            )


def _shown(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
