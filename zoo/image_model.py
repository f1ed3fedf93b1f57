"""The tiny image-to-video transformer: the text-to-video one with more input channels and eyes for a picture.

It begins as the trained text-to-video transformer with one block less; what is new does nothing yet.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from wan_core.contract.attention import AttentionCall
from wan_core.contract.conditioning import NATURAL
from wan_core.models.wan import WanConfig, attend
from wan_core.models.wan.embeddings import grid_of, unpatchify
from wan_core.models.wan.transformer import Circumstances
from zoo import tiny_clip, train_video

FILE = "i2v.safetensors"
#: the block of the text-to-video model that it misses least (README)
DROPPED = 1
CONFIG = attrs.evolve(
    train_video.CONFIG,
    num_layers=train_video.CONFIG.num_layers - 1,
    in_dim=36,
    image_dim=tiny_clip.CONFIG.width,
)


@attrs.define(eq=False)
class Seeing(Circumstances):
    """Circumstances of a batch in which some samples have no picture.

    Attributes:
        seen: 1 for each sample that has one, else 0: ``[batch, 1, 1, 1]``; None = all have one.
    """

    seen: Tensor | None = None

    def cross_attention(self, block: int, source: str) -> AttentionCall:
        """The call of a block's attention to one source."""
        call = Circumstances.cross_attention(self, block, source)
        if source != "image" or self.seen is None:
            return call
        return dataclasses.replace(call, state={"seen": self.seen})


def attend_seen(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
    """Attention to image tokens that adds nothing to samples without a picture."""
    out = attend(q, k, v, call)
    return out if call.state is None else out * call.state["seen"].to(out.dtype)


class Trainee(train_video.Trainee):
    """The product's transformer; a sample without a picture is as if image tokens were None for it."""

    def __init__(self, config: WanConfig = CONFIG) -> None:
        super().__init__(config)
        for block in self.blocks:
            attends: Any = block.cross_attn
            attends.attend["image"] = attend_seen

    def forward_seen(
        self, latents: Tensor, timesteps: Tensor, text: Tensor, tokens: Tensor, seen: Tensor
    ) -> Tensor:
        """The velocity; see :meth:`WanTransformer.forward`.

        Args:
            latents: noisy latents and channels behind them, ``[batch, 36, f, h, w]``.
            tokens: image tokens of every sample, ``[batch, tokens, image_dim]``.
            seen: 1 for each sample that has a picture, else 0: ``[batch]``.
        """
        grid = grid_of(latents)
        rope = self._ropes.tables(self.config.head_width, grid, NATURAL, latents.device)
        patches = self.denoise(
            self.patch_embedding(latents).float(),
            timesteps,
            self.embed_context(text, tokens),
            Seeing(rope, grid, seen=seen.view(-1, 1, 1, 1)),
        )
        return unpatchify(patches, grid)


def begin(path: Path, dropped: int = DROPPED) -> Trainee:
    """The start of training: the text-to-video model in ``path`` without one block, the rest of no effect."""
    model = Trainee()
    model.initialise()
    state: dict[str, Tensor] = {}
    for name, tensor in load_file(path).items():
        parts = name.split(".")
        if parts[0] == "blocks":
            number = int(parts[1])
            if number == dropped:
                continue
            parts[1] = str(number - (number > dropped))
        state[".".join(parts)] = tensor.float()
    narrow = state["patch_embedding.weight"]
    wide = narrow.new_zeros(narrow.shape[0], CONFIG.in_dim, *narrow.shape[2:])
    wide[:, : narrow.shape[1]] = narrow
    state["patch_embedding.weight"] = wide
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("_img" in n or "img_" in n for n in missing), (
        missing,
        unexpected,
    )
    for block in model.blocks:
        attends: Any = block.cross_attn
        nn.init.zeros_(attends.v_img.weight)
    return model


def load(path: Path, device: torch.device) -> Trainee:
    """A trained transformer in float32."""
    model = Trainee()
    model.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return model.to(device).eval()


class Pair(nn.Module):
    """Transformer and vision tower, trained as one."""

    def __init__(self, transformer: Trainee, clip: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer
        self.clip = clip


def halves(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state of a pair as that of the transformer and that of the tower."""
    parts: tuple[dict[str, Tensor], ...] = tuple(
        {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        for prefix in ("transformer.", "clip.")
    )
    return parts[0], parts[1]
