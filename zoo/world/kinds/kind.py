"""What a kind of scene is."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from zoo.world.draw import Canvas, Scenes


@attrs.frozen
class Kind:
    """A kind of scene.

    Attributes:
        name: its name.
        sample: ``(count, generator) -> scenes``: tensors whose first axis is the clip.
        render: ``(scenes, canvas) -> [batch, 3, frames, height, width]`` in 0..1.
        captions: ``(scenes, generator) -> one sentence a clip``.
    """

    name: str
    sample: Callable[[int, torch.Generator], Scenes]
    render: Callable[[Scenes, Canvas], Tensor]
    captions: Callable[[Scenes, torch.Generator], list[str]]
