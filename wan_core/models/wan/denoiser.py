"""The Wan transformer as a denoiser of named latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wan_core.contract.conditioning import NATURAL, Conditioning, Inputs
from wan_core.contract.protocols import Latents
from wan_core.contract.state import State
from wan_core.models.wan.config import PATCH
from wan_core.models.wan.fitting import (
    check_add_ons,
    check_channels,
    check_image_tokens,
    check_text,
)
from wan_core.models.wan.transformer import WanTransformer
from wan_core.weights.lora import KeptApart

Border = Literal["repeat", "zero"]
"""What stands beside latents of odd height or width to make a whole patch: their last row, or nothing."""


class WanDenoiser:
    """Predicts ``{"video": velocity}`` from ``{"video": latents}`` (the contract's ``Denoiser``).

    Latents of odd height or width are padded below and to the right, as are channels and VACE
    contexts; the prediction is cut back.

    Attributes:
        transformer: the transformer.
        name: the latents that it denoises.
        border: what they are padded with; a component says it as ``border`` of its config.
        sign: the prediction is ``noise - clean``.
    """

    sign = 1

    def __init__(
        self, transformer: WanTransformer, name: str = "video", *, border: Border = "repeat"
    ) -> None:
        self.transformer = transformer
        self.name = name
        self.border = border

    @property
    def loras(self) -> KeptApart | None:
        """LoRA files beside the transformer's weights; their strengths follow the step."""
        return self.transformer.loras

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        """Nothing is computed ahead."""
        return {}

    @torch.no_grad()
    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        """Predict.

        Args:
            latents: ``[batch, channels, frames, height, width]`` under :attr:`name`.
            timesteps: ``[batch]``, ``[batch, frames]`` or ``[batch, tokens]`` likewise.
            inputs: text, image tokens, channels to concatenate and positions likewise; inputs of
                add-ons (of ``"vace"``: see :func:`~wan_core.models.wan.vace.contexts_of`), blocks to
                skip, branch and state.

        Raises:
            ValueError: there is no text for these latents.
            PluginError: an input does not fit the transformer, or nothing in it reads the input.
        """
        name = self.name
        if name not in inputs.text:
            raise ValueError(f"no text rows for the latents {name!r}")
        noisy = latents[name]
        config, image_tokens = self.transformer.config, inputs.image_tokens.get(name)
        channels = [part.to(noisy) for part in inputs.concat.get(name, ())]
        check_channels(config, noisy, channels)
        check_text(config, inputs.text[name])
        check_image_tokens(config, image_tokens)
        check_add_ons(self.transformer, inputs.add_ons)
        height, width = noisy.shape[-2:]
        if self.loras is not None:
            self.loras.to(noisy.device)
            self.loras.at(inputs.step)
        velocity: Tensor = self.transformer(
            whole_patches(torch.cat((noisy, *channels), dim=1), self.border),
            timesteps[name],
            inputs.text[name],
            image_tokens=image_tokens,
            positions=inputs.positions.get(name, NATURAL),
            branch=inputs.branch,
            add_ons=_whole_contexts(inputs.add_ons, self.border),
            skip_blocks=inputs.skip_blocks,
            state=inputs.state,
        )
        return {name: velocity[..., :height, :width]}


def whole_patches(video: Tensor, border: Border) -> Tensor:
    """Pad ``[batch, channels, frames, height, width]`` to whole patches."""
    height, width = video.shape[-2:]
    below, right = -height % PATCH[1], -width % PATCH[2]
    if not below and not right:
        return video
    mode = "replicate" if border == "repeat" else "constant"
    return F.pad(video, (0, right, 0, below, 0, 0), mode=mode)


def _whole_contexts(
    add_ons: Mapping[str, Mapping[str, Tensor]], border: Border
) -> Mapping[str, Mapping[str, Tensor]]:
    """The add-ons' inputs with the contexts of VACE padded like the latents."""
    if "vace" not in add_ons:
        return add_ons
    padded = {
        name: whole_patches(tensor, border) if name.startswith("context") else tensor
        for name, tensor in add_ons["vace"].items()
    }
    return {**add_ons, "vace": padded}
