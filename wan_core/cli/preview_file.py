"""The preview of a run as a file: ``clip.preview.webp`` beside ``clip.mp4``, until the video is there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from wan_core.cli.text import short_path
from wan_core.contract.errors import WanCoreError
from wan_core.contract.events import Event, Listener, Note, Preview, RunFinished, RunStarted
from wan_core.contract.options import show
from wan_core.media.formats import unit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENDING = ".preview.webp"
MARK = "a preview by wan-core, replaced and removed as its run goes on"
"""The comment inside, which tells a preview from a file of the same name that somebody wants to keep."""

LONGEST_SIDE = 360
MOST_TIMES = 16
"""Pixels of the file for a pixel of the preview, along a side."""


class PreviewFiles:
    """Passes events on to a view, and keeps a file for each run up to date before it does.

    Args:
        outputs: where each run of a session writes its video, in their order.
    """

    def __init__(self, outputs: Iterable[Path], view: Listener) -> None:
        self._paths = map(preview_path, outputs)
        self._view = view
        self._file: PreviewFile | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._file = PreviewFile(next(self._paths), self._view)
        elif isinstance(event, Preview) and self._file:
            self._file.show(event)
        elif isinstance(event, RunFinished) and self._file:
            self._file.remove()
        self._view(event)


@attrs.define
class PreviewFile:
    """The file of one run. Trouble with it is one note, and no trouble of the run."""

    path: Path
    tell: Listener
    _written: bool = attrs.field(default=False, init=False)
    _given_up: bool = attrs.field(default=False, init=False)

    def show(self, preview: Preview) -> None:
        """Put a preview in the place of the one before."""
        from wan_core.media import write_video

        if self._given_up:
            return
        try:
            there = is_preview(self.path)
            if there is False:
                self._give_up(f"{show(self.path.name)} is there already and stays as it is")
                return
            pictures = enlarged(preview.frames)
            # what appears under the name meanwhile is not replaced
            made = write_video(
                self.path,
                [pictures],
                preview.fps,
                comment=MARK,
                overwrite=bool(there),
                checked=True,
            )
        except (WanCoreError, OSError) as error:
            self._give_up(str(error))
            return
        self.path = made.path
        if not self._written:
            self._written = True
            self.tell(Note(f"the preview is {short_path(self.path)}"))

    def remove(self) -> None:
        """The video is there."""
        if self._written:
            try:
                if is_preview(self.path):
                    self.path.unlink()
            except OSError as error:
                self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        self._given_up = True
        self.tell(Note(f"no preview: {why}", "warning"))


def preview_path(output: Path) -> Path:
    """Where the preview of a video is: ``clip.preview.webp`` for ``clip.mp4`` and ``clip/%05d.png``."""
    unit = unit_of(output)
    stem = unit.stem if unit == output else unit.name
    return unit.with_name(f"{stem}{ENDING}")


def is_preview(path: Path) -> bool | None:
    """Whether a file is a preview, which may be replaced and removed; None when there is none."""
    from wan_core.media.webp import scan_webp

    if not os.path.lexists(path):
        return None
    if path.is_symlink() or not path.is_file():
        return False
    try:
        return scan_webp(path).comment == MARK
    except WanCoreError:
        return False


def enlarged(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames at a size that can be looked at."""
    from PIL import Image

    height, width = frames.shape[1:3]
    times = max(1, min(MOST_TIMES, LONGEST_SIDE // max(height, width)))
    size = width * times, height * times
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(one).resize(size, bicubic)) for one in frames])
