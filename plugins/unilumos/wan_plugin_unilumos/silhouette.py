"""The subject's silhouette in the background, filled with noise.

UniLumos was trained with backgrounds in which the place of the subject says nothing. The makers publish
examples and no code; measured on them: noise of its own for each pixel, channel and frame, with the mean and
the standard deviation that the channel has in the rest of the frame, cut off at black and white. What lies
outside stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from wan_core.media import signed
from wan_core.sampling import SeededNoise

Levels = NDArray[np.float32]

_MULTIPLIER, _SEEDS = 6364136223846793005, 2**63


def filled(frames: Iterable[Levels], masks: Iterable[Levels], seed: int) -> Iterator[Levels]:
    """Frames ``[height, width, 3]`` in -1…1 whose masked part is noise; the same for the same seed.

    Args:
        masks: ``[height, width]`` each; above 0.5 is the subject.
        seed: of the stage. The noise is not that of its latents.
    """
    noise = SeededNoise((seed * _MULTIPLIER + 1) % _SEEDS)
    for frame, mask in zip(frames, masks, strict=False):
        drawn = noise.draw(frame.shape).numpy()
        yield fill(frame, mask > 0.5, drawn)


def fill(frame: Levels, subject: NDArray[np.bool_], noise: Levels) -> Levels:
    """A frame with noise in the place of the subject.

    Args:
        noise: standard normal, shaped like the frame.
    """
    if not subject.any():
        return frame
    levels = (frame + 1) * np.float32(127.5)
    # a mask that leaves nothing says nothing of the light either
    seen = levels[~subject] if not subject.all() else levels.reshape(-1, 3)
    mean, spread = seen.mean(axis=0, dtype=np.float64), seen.std(axis=0, dtype=np.float64)
    grain = np.rint((mean + spread * noise).clip(0, 255)).astype(np.float32)
    return np.where(subject[..., None], signed(grain), frame)
