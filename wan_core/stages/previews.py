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

from wan_core.contract.errors import ResourceError, WeightsError
from wan_core.contract.events import Note, Preview
from wan_core.contract.requests import StageContext
from wan_core.kernels import as_shortage
from wan_core.models.vae.descriptor import PREVIEW_SLOT
from wan_core.models.vae.preview import colours_of
from wan_core.sampling import StepReport
from wan_core.stages.preview_pictures import Decoded, Draw, InColours

SECONDS = 1.0
"""From one preview to the next, at least."""

SHARE = 0.05
"""Of the run's time, at most, that goes into previews and what listeners do with them."""


def previewer(
    context: StageContext,
    *,
    slot: str = "vae",
    latents: str = "video",
    preview_slot: str = PREVIEW_SLOT,
) -> Previewer:
    """What sends the previews of a stage. Without anybody who wants them it does nothing, and loads nothing.

    Args:
        slot: of the VAE that the latents belong to; where its latents have no known colours, a note says
            that there is no preview.
        latents: name of the latents that are the video.
        preview_slot: of a tiny VAE, which shows more than colours where the workflow names a file for it.
    """
    draw: Draw | None = None
    components = context.components
    if context.previews and components is not None:
        if components.details(preview_slot):
            draw = Decoded(components, preview_slot)
        elif colours := colours_of(components.get(slot)):
            draw = InColours(colours)
        else:
            context.emit(Note(f"no preview of {context.stage}: no colours are known for its VAE"))
    return Previewer(context, draw, latents)


@attrs.define(eq=False)
class Previewer:
    """Sends previews of one stage: the first step, then one a second or less often, and the last step.

    Attributes:
        draw: what turns latents into pictures; None = nothing is sent.
        latents: name of the latents that are the video.
    """

    context: StageContext
    draw: Draw | None
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
        if self.draw is None or (step < steps and self.clock() < self._due):
            return
        # what is broken is for the loop to find, not for a preview
        latents = torch.nan_to_num(clean())
        if latents.is_cuda:  # what is queued is no work of the preview
            torch.cuda.synchronize(latents.device)
        start = self.clock()
        try:
            with as_shortage():
                pixels = self.draw(latents)
        except (ResourceError, WeightsError, torch.OutOfMemoryError) as error:
            self._give_up(error)
            return
        size = self.context.size
        fps = size.fps * len(pixels) / size.frames if size else float(len(pixels))
        self.context.emit(Preview(self.context.stage, step, steps, fps, pixels))
        end = self.clock()
        self._due = end + max(SECONDS, (end - start) / SHARE)

    def _give_up(self, error: Exception) -> None:
        """A run does not fail because it can't be looked at."""
        self.draw = None
        why = error.problem if isinstance(error, ResourceError | WeightsError) else "out of memory"
        self.context.emit(Note(f"no preview of {self.context.stage}: {why}", "warning"))
