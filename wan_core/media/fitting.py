"""Fitting pictures into a size: stretched, cut or on a background, with the resampling that is asked for.

``nearest``, ``nearest-exact``, ``bilinear`` and ``bicubic`` are those of ``torch.nn.functional.interpolate``
(``align_corners=False``), which upstream uses on floats; those of Pillow work on 8 bits and round twice, as
other parts of upstream do. They are not interchangeable: bicubic differs by up to 6 levels of 255.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mode = Literal["stretch", "cover", "contain", "crop"]
Kernel = Literal[
    "nearest",
    "nearest-exact",
    "bilinear",
    "bicubic",
    "pillow-bilinear",
    "pillow-bicubic",
    "pillow-lanczos",
]
Middle = Literal["down", "even"]
_PILLOW = {
    "pillow-bilinear": Image.Resampling.BILINEAR,
    "pillow-bicubic": Image.Resampling.BICUBIC,
    "pillow-lanczos": Image.Resampling.LANCZOS,
}


def fit(
    picture: NDArray[Any],
    width: int,
    height: int,
    mode: Mode = "stretch",
    *,
    kernel: Kernel = "bicubic",
    antialias: bool = False,
    background: float = 0.0,
    middle: Middle = "down",
) -> NDArray[Any]:
    """Bring a picture, or frames of one size, to ``width`` x ``height``.

    ``stretch``
        proportions change.
    ``cover``
        scaled until nothing stays empty, the middle of it is kept.
    ``contain``
        scaled until all of it is inside, in the middle of a background.
    ``crop``
        not scaled: the middle of it is kept, what is missing is background.

    Args:
        picture: ``[…, height, width, channels]``, uint8 or floats. Bicubic overshoots: floats keep that,
            8 bits are rounded and cut off.
        antialias: average when making it smaller (bilinear and bicubic only; those of Pillow always do).
        background: a value of the picture's own scale.
        middle: where the middle lies when an odd number of pixels goes: half of it rounded down, or to even.

    Returns:
        the same type of array, ``[…, height, width, channels]``.

    Raises:
        ValueError: kernel and type don't go together.
    """
    job = _Job(mode, kernel, antialias, background, middle, picture.dtype)
    return _fit(picture, width, height, job)


def fit_signed(
    picture: NDArray[np.uint8],
    width: int,
    height: int,
    mode: Mode = "stretch",
    *,
    kernel: Kernel = "bicubic",
    antialias: bool = False,
    background: float = 0.0,
    middle: Middle = "down",
) -> NDArray[np.float32]:
    """Like :func:`fit`, from 8 bits to the float32 in -1…1 that encoders take, not rounded in between.

    What bicubic overshoots stays, as upstream has it.

    Args:
        background: in -1…1.
    """
    level = 127.5 * (background + 1)
    kind = np.uint8 if kernel in _PILLOW else np.float32
    job = _Job(mode, kernel, antialias, level, middle, np.dtype(kind))
    return signed(_fit(picture, width, height, job))


def signed(picture: NDArray[Any]) -> NDArray[np.float32]:
    """Levels 0…255 as float32 in -1…1, by the same operations as upstream."""
    return (np.asarray(picture, np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)


def official_last_frame(
    picture: NDArray[Any], first_width: int, first_height: int, background: float = 0.0
) -> NDArray[Any]:
    """What Wan's first-last-frame pipeline makes of a last frame whose size is not the first one's.

    It means to scale and then cut, but only cuts, to a scaled size with its sides exchanged; what is missing
    is background. ``fit(…, "cover")`` does what was meant.

    Args:
        picture: ``[height, width, channels]``.
    """
    height, width = picture.shape[:2]
    if (width, height) == (first_width, first_height):
        return picture
    ratio = max(first_width / width, first_height / height)
    return _cut(picture, round(height * ratio), round(width * ratio), background, "even")


def resample(
    picture: NDArray[Any], width: int, height: int, kernel: Kernel, antialias: bool = False
) -> NDArray[np.float32]:
    """Resize ``[…, height, width, channels]`` to float32 of the same scale, without rounding."""
    x: NDArray[Any] = picture
    for axis, size in ((-2, width), (-3, height)):
        if x.shape[axis] == size:
            continue
        indexes, weights = _taps(x.shape[axis], size, kernel, antialias)
        shape = [1] * x.ndim
        shape[axis] = size
        total = np.zeros((), np.float32)
        for index, weight in zip(indexes, weights, strict=True):
            # one tap at a time: a large picture never becomes floats as a whole
            part = np.take(x, index, axis=axis)
            total = total + part * weight.reshape(shape)
        x = total
    return x.astype(np.float32, copy=False)


@attrs.frozen
class _Job:
    mode: Mode
    kernel: Kernel
    antialias: bool
    background: float
    middle: Middle
    kind: np.dtype[Any]


def _fit(picture: NDArray[Any], width: int, height: int, job: _Job) -> NDArray[Any]:
    high, wide = picture.shape[-3:-1]
    scaled = (width, height)
    if job.mode == "cover":
        scale = max(width / wide, height / high)
        scaled = (max(width, round(scale * wide)), max(height, round(scale * high)))
    elif job.mode == "contain":
        by_width = width * high <= height * wide
        scale = width / wide if by_width else height / high
        scaled = (
            (width, max(1, int(scale * high))) if by_width else (max(1, int(scale * wide)), height)
        )
    elif job.mode == "crop":
        scaled = (wide, high)
    return _cut(_resized(picture, *scaled, job), width, height, job.background, job.middle)


def _resized(picture: NDArray[Any], width: int, height: int, job: _Job) -> NDArray[Any]:
    if job.kernel in _PILLOW:
        return _by_pillow(picture, width, height, _PILLOW[job.kernel])
    floats = resample(picture, width, height, job.kernel, job.antialias)
    if job.kind == np.uint8:
        return np.rint(np.clip(floats, 0, 255)).astype(np.uint8)
    return floats.astype(job.kind, copy=False)


def _by_pillow(
    picture: NDArray[Any], width: int, height: int, kernel: Image.Resampling
) -> NDArray[np.uint8]:
    if picture.dtype != np.uint8:
        raise ValueError("Pillow's resampling is for 8-bit pictures")
    frames = picture.reshape(-1, *picture.shape[-3:])
    done = []
    for frame in frames:
        image = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
        done.append(np.asarray(image.resize((width, height), kernel)))
    return np.stack(done).reshape(*picture.shape[:-3], height, width, picture.shape[-1])


def _cut(
    picture: NDArray[Any],
    width: int,
    height: int,
    background: float,
    middle: Middle,
) -> NDArray[Any]:
    """The middle of a picture, with background around it where it is smaller."""
    spans = []
    for size, wanted in zip(picture.shape[-3:-1], (height, width), strict=True):
        if size >= wanted:
            extra = size - wanted
            start = extra // 2 if middle == "down" else round(extra / 2)
            spans.append((slice(start, start + wanted), slice(None)))
        else:
            start = (wanted - size) // 2
            spans.append((slice(None), slice(start, start + size)))
    (from_y, to_y), (from_x, to_x) = spans
    kept = picture[..., from_y, from_x, :]
    if kept.shape[-3:-1] == (height, width):
        return np.ascontiguousarray(kept)
    if picture.dtype == np.uint8:
        background = round(background)
    shape = (*picture.shape[:-3], height, width, picture.shape[-1])
    canvas = np.full(shape, background, picture.dtype)
    canvas[..., to_y, to_x, :] = kept
    return canvas


@lru_cache(maxsize=64)
def _taps(
    size: int, wanted: int, kernel: str, antialias: bool
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each tap and each wanted sample the index of a source sample, and its weight."""
    scale = size / wanted
    places = np.arange(wanted)
    if kernel in ("nearest", "nearest-exact"):
        # torch computes these in float32, which decides where samples meet
        shift = np.float32(0.5 if kernel == "nearest-exact" else 0)
        index = np.floor((places.astype(np.float32) + shift) * np.float32(scale)).astype(np.int64)
        return np.minimum(index, size - 1)[None], np.ones((1, wanted), np.float32)
    if antialias and kernel in ("bilinear", "bicubic"):
        return _averaging(size, wanted, scale, kernel)
    # torch's scale is float32, and its product and difference are rounded once, together: the rounding of a
    # place moves the result more than that of a weight
    middles = ((places + 0.5) * float(np.float32(scale)) - 0.5).astype(np.float32)
    if kernel == "bilinear":
        middles = np.maximum(middles, 0)
        first, steps = 0, 2
    elif kernel == "bicubic":
        first, steps = -1, 4
    else:
        raise ValueError(f"there is no kernel {kernel!r}")
    left = np.floor(middles)
    index = np.stack([left + first + step for step in range(steps)]).astype(np.int64)
    distance = np.abs(middles - index)
    weights = _triangle(distance) if kernel == "bilinear" else _cubic(distance, -0.75)
    return np.clip(index, 0, size - 1), weights.astype(np.float32)


def _averaging(
    size: int, wanted: int, scale: float, kernel: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The kernel widened to the samples that become one; what lies outside of the picture does not count."""
    widening = max(scale, 1.0)
    support = (1 if kernel == "bilinear" else 2) * widening
    middles = (np.arange(wanted) + 0.5) * scale
    start = np.maximum((middles - support + 0.5).astype(np.int64), 0)
    end = np.minimum((middles + support + 0.5).astype(np.int64), size)
    index = start + np.arange(int((end - start).max()))[:, None]
    distance = np.abs(index - middles + 0.5) / widening
    weights = _triangle(distance) if kernel == "bilinear" else _cubic(distance, -0.5)
    weights = np.where(index < end, weights, 0)
    weights /= weights.sum(axis=0)
    return np.minimum(index, size - 1), weights.astype(np.float32)


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1 - distance, 0)


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' kernel: a piecewise cubic of width 4, sharper the more negative ``a`` is."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
