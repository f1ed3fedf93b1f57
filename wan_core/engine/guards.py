"""Guards around what plugins hand to the engine: whatever goes wrong in it is told as the plugin's.

The engine calls plugins' code long after their hooks have returned: a source is read while it is written to
the file, an attention callable serves every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from wan_core.contract.attention import Attend, AttentionCall
from wan_core.contract.conditioning import StepRange
from wan_core.contract.descriptions import AttentionBackend, Description, Feature, Stage
from wan_core.contract.errors import PluginError
from wan_core.contract.options import show
from wan_core.contract.protocols import ChunkSource
from wan_core.contract.requests import AttentionPatch, VideoSize
from wan_core.plugins import Plugins


@attrs.define(eq=False)
class Attributed:
    """A plugin's source; what goes wrong while it is read is the plugin's."""

    source: ChunkSource
    plugins: Plugins
    owner: Description
    replayable: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        with self.plugins.attributed(self.owner):
            self.replayable = bool(getattr(self.source, "replayable", False))

    def __iter__(self) -> Iterator[Any]:
        with self.plugins.attributed(self.owner):
            yield from self.source


@attrs.define(eq=False)
class AttributedSound(Attributed):
    """A plugin's sound, which keeps its samples a second.

    Raises:
        PluginError: it has no positive whole number of them.
    """

    rate: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        Attributed.__attrs_post_init__(self)
        with self.plugins.attributed(self.owner):
            rate: Any = getattr(self.source, "rate", None)
        if type(rate) is not int or rate < 1:
            raise PluginError(
                f"{self.plugins.title_of(self.owner)} made a sound of {show(rate)} samples a second"
            )
        self.rate = rate


@attrs.define(eq=False)
class AttributedLatents(Attributed):
    """A plugin's video that says its latents.

    Raises:
        PluginError: when they are asked for, they are no clip of finite numbers.
    """

    @property
    def latents(self) -> Tensor:
        with self.plugins.attributed(self.owner):
            latents: Any = getattr(self.source, "latents", None)
        sort = _sort(latents)
        if isinstance(latents, Tensor):
            sort = f"{list(latents.shape)} of {sort}"
            if latents.ndim == 5 and latents.shape[0] == 1 and latents.is_floating_point():
                if bool(latents.isfinite().all()):
                    return latents.detach().float()
                sort = "with values that are not finite numbers"
        raise PluginError(
            f"{self.plugins.title_of(self.owner)} handed on latents {sort}, not finite floats "
            "[1, channels, frames, height, width]"
        )


@attrs.define(eq=False)
class CheckedVideo(Attributed):
    """A plugin's video; chunks are handed on as ``[frames, 3, height, width]``, float32 on the CPU.

    Raises:
        PluginError: while it is read, for chunks of another form or size, values that are not finite,
            and another number of frames than ``size`` says.
    """

    size: VideoSize = attrs.field(kw_only=True)

    def __iter__(self) -> Iterator[Tensor]:
        frames = 0
        for chunk in super().__iter__():
            video = self._checked(chunk)
            frames += video.shape[0]
            if frames > self.size.frames:
                self._refuse(f"more than the {self.size.frames} frames of the stage")
            yield video
        if frames != self.size.frames:
            self._refuse(f"{frames} frames, not the {self.size.frames} of the stage")

    def _checked(self, chunk: Any) -> Tensor:
        if isinstance(chunk, np.ndarray) and chunk.dtype.kind == "f":
            chunk = torch.from_numpy(chunk.astype(np.float32))
        wanted = (3, self.size.height, self.size.width)
        if not isinstance(chunk, Tensor):
            self._refuse(f"a chunk of type {_sort(chunk)}, not a float tensor")
        if not chunk.is_floating_point() or chunk.ndim != 4 or tuple(chunk.shape[1:]) != wanted:
            self._refuse(
                f"a chunk {list(chunk.shape)} of {_sort(chunk)}, not [frames, "
                f"{', '.join(map(str, wanted))}] of floats"
            )
        video: Tensor = chunk.detach().to("cpu", torch.float32)
        if not bool(video.isfinite().all()):
            self._refuse("a chunk with values that are not finite numbers")
        return video

    def _refuse(self, what: str) -> None:
        raise PluginError(f"{self.plugins.title_of(self.owner)} made {what}")


def _sort(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else str(dtype).removeprefix("torch.")


def guarded_attend(attend: Attend, owner: Feature | AttentionBackend, plugins: Plugins) -> Attend:
    """A plugin's attention callable, whose faults are told as the plugin's.

    Raises:
        PluginError: now, it can't be called; in a call, it raises something, or returns no tensor of the
            shape of q.
    """
    title = plugins.title_of(owner)
    if not callable(attend):
        raise PluginError(f"{title} gave {type(attend).__name__} as attention, not a callable")

    def guarded(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
        if torch.compiler.is_compiling():
            # a captured graph has no place for handlers; the shapes are checked while it is captured
            out = attend(q, k, v, call)
        else:
            with plugins.attributed(owner):
                out = attend(q, k, v, call)
        if not isinstance(out, Tensor):
            raise PluginError(f"{title} returned {type(out).__name__} as attention, not a Tensor")
        if out.shape != q.shape or out.dtype not in (q.dtype, v.dtype) or out.device != q.device:
            raise PluginError(
                f"{title} returned attention {list(out.shape)} {out.dtype} on {out.device}, not "
                f"{list(q.shape)} {q.dtype} on {q.device} like q"
            )
        return out

    return guarded


def check_patch(patch: AttentionPatch, feature: Feature, plugins: Plugins) -> None:
    """Refuse a patch whose fields have another type than the contract says."""
    blocks: Any = patch.blocks
    source: Any = patch.source
    steps: Any = patch.steps
    if blocks is not None and not (
        isinstance(blocks, Set) and all(isinstance(one, int) for one in blocks)
    ):
        wrong = "blocks must be a frozenset of block indices"
    elif not isinstance(source, str):
        wrong = "source must be text"
    elif not isinstance(steps, StepRange):
        wrong = "steps must be a StepRange"
    else:
        return
    raise PluginError(f"an attention patch of {plugins.title_of(feature)} is wrong: its {wrong}")


def checked_outputs(outputs: Any, stage: Stage, plugins: Plugins) -> Mapping[str, ChunkSource]:
    """What a stage's ``run`` returned, when it is a source for each output that the stage declares.

    Raises:
        PluginError: it is something else.
    """
    if plugins.is_core(stage):
        made: Mapping[str, ChunkSource] = outputs
        return made
    title = plugins.title_of(stage)
    if not isinstance(outputs, Mapping):
        raise PluginError(f"{title} returned {type(outputs).__name__}, not a mapping of outputs")
    for name in stage.outputs:
        if name not in outputs:
            raise PluginError(f'{title} did not return the output "{name}" that it declares')
    for name, source in outputs.items():
        if not hasattr(source, "__iter__"):
            raise PluginError(
                f'{title} returned {type(source).__name__} as "{name}", not a source of chunks'
            )
    return {name: _attributed(source, stage, plugins) for name, source in outputs.items()}


def handed_latents(source: ChunkSource, stage: Stage, plugins: Plugins) -> Tensor:
    """The latents that a stage has planned to hand on with its output.

    Raises:
        PluginError: it does not.
    """
    latents: Tensor | None = getattr(source, "latents", None)
    if latents is None:
        raise PluginError(
            f"{plugins.title_of(stage)} does not hand on the latents that it has planned to",
            remedy="its author should return a LatentSource, or plan without gives_latents",
        )
    return latents


def _attributed(source: Any, stage: Stage, plugins: Plugins) -> Attributed:
    with plugins.attributed(stage):
        has_rate, has_latents = hasattr(source, "rate"), hasattr(source, "latents")
    kind = AttributedSound if has_rate else AttributedLatents if has_latents else Attributed
    return kind(source, plugins, stage)
