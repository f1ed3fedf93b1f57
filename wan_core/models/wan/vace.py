"""VACE (arXiv 2503.07598): a second chain of blocks turns a context into hints for the main one."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor, nn

from wan_core.models.wan.block import BlockCall, WanBlock
from wan_core.models.wan.config import WanConfig


class VaceBlock(WanBlock):
    """A Wan block on the context's own stream, which also gives the hint for one main block.

    The first block of the chain starts the stream: latents' tokens plus projected context tokens.
    """

    def __init__(self, config: WanConfig, *, first: bool) -> None:
        super().__init__(config)
        self.before_proj = nn.Linear(config.dim, config.dim) if first else None
        self.after_proj = nn.Linear(config.dim, config.dim)

    def forward(  # type: ignore[override]
        self, stream: Tensor, call: BlockCall, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One block further.

        Args:
            stream: the chain's stream ``[batch, tokens, dim]``; at first the context's tokens.
            call: as for a main block.
            tokens: the latents' tokens as they were before any block, shaped like ``stream``.

        Returns:
            The stream after the block, and the unscaled hint.
        """
        if self.before_proj is not None:
            stream = tokens + self.before_proj(stream.to(call.dtype))
        stream = super().forward(stream, call)
        return stream, self.after_proj(stream.to(call.dtype))


@attrs.define(eq=False)
class VaceContext:
    """One context on its way through the chain.

    Attributes:
        stream: the context's tokens, then the chain's stream; ``[batch, tokens, dim]``.
        scale: strength of the hints, ``[]`` or ``[batch]``; None = 1.
    """

    stream: Tensor
    scale: Tensor | None = None

    def add(self, x: Tensor, hint: Tensor) -> Tensor:
        """The main stream ``[batch, tokens, dim]`` with the scaled hint added."""
        if self.scale is None:
            return (x + hint).to(x.dtype)
        return torch.addcmul(x, hint, self.scale.to(x).view(-1, 1, 1)).to(x.dtype)


def contexts_of(inputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor | None]]:
    """Contexts with their scales among the inputs of the add-on ``"vace"``.

    An input whose name starts with ``context`` is a context; ``scale`` with the same ending is its
    strength: ``context`` and ``scale``, ``context.depth`` and ``scale.depth`` …
    """
    names = sorted(name for name in inputs if name.startswith("context"))
    return [(inputs[n], inputs.get("scale" + n.removeprefix("context"))) for n in names]
