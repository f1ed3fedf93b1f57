"""What a stage shows of its video while it is sampled: events with small pictures, for whoever asked.

A stage of a plugin that samples with the standard loop needs two lines::

    preview = previewer(context)       # before the loop
    preview(report)                    # after each step

and one with a loop of its own gives :meth:`Previewer.show` the clean latents as it imagines them. Pictures are
made only when a run was asked for them and one is due, and nothing in them touches the latents.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from wan_core.contract.events import Note, Preview
from wan_core.contract.requests import StageContext
from wan_core.media.pixels import to_pixels
from wan_core.models.vae.preview import Colours, colours_of
from wan_core.sampling import StepReport

SECONDS = 1.0
"""From one preview to the next, at least."""

SHARE = 0.05
"""Of the run's time, at most, that goes into what listeners do with previews."""

MOST_FRAMES = 48


def previewer(context: StageContext, *, slot: str = "vae", latents: str = "video") -> Previewer:
    """What sends the previews of a stage. Without anybody who wants them it does nothing, and loads nothing.

    Args:
        slot: of the VAE that the latents belong to; where its latents have no known colours, a note says
            that there is no preview.
        latents: name of the latents that are the video.
    """
    colours = None
    if context.previews and context.components is not None:
        colours = colours_of(context.components.get(slot))
        if colours is None:
            context.emit(Note(f"no preview of {context.stage}: no colours are known for its VAE"))
    return Previewer(context, colours, latents)


@attrs.define(eq=False)
class Previewer:
    """Sends previews of one stage: the first step, then one a second or less often, and the last step.

    Attributes:
        colours: what turns latents into pictures; None = nothing is sent.
        latents: name of the latents that are the video.
    """

    context: StageContext
    colours: Colours | None
    latents: str = "video"
    clock: Callable[[], float] = time.monotonic
    _due: float = attrs.field(default=float("-inf"), init=False)

    def __call__(self, report: StepReport, kept: slice = slice(None)) -> None:
        """A step of the standard loop is done.

        Args:
            kept: the latent frames that become the video, where more are sampled.
        """
        step = report.step
        self.show(step.index + 1, step.steps, lambda: report.preview()[self.latents][:, :, kept])

    def show(self, step: int, steps: int, clean: Callable[[], Tensor]) -> None:
        """A step is done, in whatever loop.

        Args:
            step, steps: its number, from 1, and how many there are.
            clean: called when a preview is due: the video's latents as they will be, as far as is known,
                ``[1, channels, latent frames, height, width]``.
        """
        if self.colours is None or (step < steps and self.clock() < self._due):
            return
        pixels = to_pixels(_pictures(clean(), self.colours))
        size = self.context.size
        fps = size.fps * len(pixels) / size.frames if size else float(len(pixels))
        start = self.clock()
        self.context.emit(Preview(self.context.stage, step, steps, fps, pixels))
        end = self.clock()
        self._due = end + max(SECONDS, (end - start) / SHARE)


def _pictures(latents: Tensor, colours: Colours) -> Tensor:
    """``[frames, 3, height, width]`` in -1…1, a frame for a latent frame or, of a long video, for some."""
    count = latents.shape[2]
    if count > MOST_FRAMES:
        latents = latents[:, :, [i * (count - 1) // (MOST_FRAMES - 1) for i in range(MOST_FRAMES)]]
    # what is broken is for the loop to find, not for a preview
    return colours(torch.nan_to_num(latents))[0].transpose(0, 1)
