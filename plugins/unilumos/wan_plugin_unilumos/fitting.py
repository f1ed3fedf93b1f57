"""Pictures and frames brought to the size of the video: scaled to cover it, the middle kept. Imports no torch.

Source: alibaba-damo-academy/Lumos-Custom, ``src/datasets/video_transforms.py``. Videos are scaled bilinearly
without averaging, pictures by Pillow's bicubic; where an odd number of pixels goes, the middle differs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_core.media import fit, resample, signed

Levels = NDArray[np.float32]


def covering(own: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture that covers ``size`` in its own proportions."""
    (wide, high), (width, height) = own, size
    tall, broad = height / high, width / wide
    # in the makers' order: where a half is rounded, another one gives another size
    if tall > broad:
        return round(wide * tall), height
    return width, round(high * broad)


def fitted_frame(frame: NDArray[Any], size: tuple[int, int]) -> Levels:
    """A frame of a video, or several of one size.

    Args:
        frame: ``[…, height, width, 3]``: uint8 of a file, or float32 in -1…1.
        size: width and height of the result.

    Returns:
        float32 in -1…1.
    """
    width, height = size
    own = (frame.shape[-2], frame.shape[-3])
    whole = covering(own, size)
    if frame.dtype == np.uint8:
        unit = resample(frame.astype(np.float32) / np.float32(255), *whole, "bilinear")
        levels = (unit - np.float32(0.5)) / np.float32(0.5)
    else:
        levels = resample(frame, *whole, "bilinear")
    return _middle(levels, size, whole[0] - width >> 1, whole[1] - height >> 1)


def fitted_picture(picture: NDArray[np.uint8], size: tuple[int, int]) -> Levels:
    """A picture ``[height, width, 3]``; as :func:`fitted_frame`."""
    width, height = size
    whole = covering((picture.shape[1], picture.shape[0]), size)
    scaled = fit(picture, *whole, kernel="pillow-bicubic")
    return signed(
        _middle(scaled, size, round((whole[0] - width) / 2), round((whole[1] - height) / 2))
    )


def _middle(picture: NDArray[Any], size: tuple[int, int], left: int, top: int) -> NDArray[Any]:
    width, height = size
    return np.ascontiguousarray(picture[..., top : top + height, left : left + width, :])
