"""Masks for a video: from a picture or another video, brought to its size, with or without a threshold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np

from wan_core.contract.errors import MediaError
from wan_core.media.chunks import Chunks
from wan_core.media.clips import WHOLE, Part, probe_clip, read_clip
from wan_core.media.fitting import Mode, fit
from wan_core.media.sizes import Size, similar
from wan_core.media.stills import Channel, is_still, probe_still, read_levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

# how Pillow weighs red, green and blue
_WEIGHTS = np.array([19595, 38470, 7471], np.int64)


@attrs.frozen
class Masking:
    """How a mask is read.

    Attributes:
        threshold: what is above it becomes 1, the rest 0; None keeps the values in between.
        invert: exchange 0 and 1, before the threshold.
        channel: of a picture: its brightness, or its opacity.
        fitted: what to do with a mask of other proportions: refuse it, stretch it, or let it cover the video.
        part: of a mask that is a video.
    """

    threshold: float | None = None
    invert: bool = False
    channel: Channel = "brightness"
    fitted: Literal["refuse", "stretch", "cover"] = "refuse"
    part: Part = WHOLE


PLAIN = Masking()


def check_mask(path: Path | str, size: Size, frames: int, masking: Masking = PLAIN) -> None:
    """Refuse a mask that can't be one for a video of that size and so many frames.

    Raises:
        MediaError: it is neither picture nor video, of other proportions, or too short.
    """
    path = Path(path)
    if masking.threshold is not None and not 0 <= masking.threshold < 1:
        raise MediaError(
            f"the threshold of the mask is {masking.threshold:g}",
            where=str(path),
            remedy="use a number from 0 to below 1",
        )
    if is_still(path):
        still = probe_still(path)
        own = (still.width, still.height)
    else:
        clip = probe_clip(path, masking.part)
        own = (clip.width, clip.height)
        if clip.frames < frames:
            raise _too_short(path, clip.frames, frames)
    _check_shape(path, own, size, masking)


def read_masks(path: Path | str, size: Size, frames: int, masking: Masking = PLAIN) -> Chunks:
    """A mask for each frame of a video, as a source of chunks ``[1, height, width]`` float32 in 0…1.

    A picture is the mask of all frames; of a longer video the first frames count. Masks are brought to the
    size by the nearest pixel, so that no new values appear.

    Args:
        size: width and height of the video.

    Raises:
        MediaError: with the first chunk, as for :func:`check_mask`; later: it is damaged or too short.
    """
    path = Path(path)
    return Chunks(lambda: _read(path, size, frames, masking))


def _read(path: Path, size: Size, frames: int, masking: Masking) -> Iterator[NDArray[np.float32]]:
    if is_still(path):
        levels = read_levels(path, masking.channel)
        _check_shape(path, (levels.shape[1], levels.shape[0]), size, masking)
        mask = _ready(levels, size, masking)
        yield from itertools.repeat(mask, frames)
        return
    count = 0
    for chunk in itertools.islice(read_clip(path, masking.part), frames):
        picture = chunk[0]
        if not count:
            _check_shape(path, (picture.shape[1], picture.shape[0]), size, masking)
        grey = (picture @ _WEIGHTS + 0x8000 >> 16).astype(np.float32) / np.float32(255)
        yield _ready(grey, size, masking)
        count += 1
    if count < frames:
        raise _too_short(path, count, frames)


def _ready(levels: NDArray[np.float32], size: Size, masking: Masking) -> NDArray[np.float32]:
    mode: Mode = "cover" if masking.fitted == "cover" else "stretch"
    mask: NDArray[np.float32] = fit(levels[:, :, None], *size, mode, kernel="nearest")[
        None, :, :, 0
    ]
    if masking.invert:
        mask = 1 - mask
    if masking.threshold is not None:
        mask = (mask > masking.threshold).astype(np.float32)
    return mask


def _check_shape(path: Path, own: Size, size: Size, masking: Masking) -> None:
    if masking.fitted == "refuse" and not similar(own, size):
        raise MediaError(
            f"the mask is {own[0]}x{own[1]}, the video {size[0]}x{size[1]}: their proportions differ",
            where=str(path),
            remedy="make a mask as large as the video",
        )


def _too_short(path: Path, found: int, wanted: int) -> MediaError:
    return MediaError(
        f"the mask has {found} frames, the video {wanted}",
        where=str(path),
        remedy="use a longer mask, or a single picture for all frames",
    )
