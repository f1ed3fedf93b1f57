"""Measures of a relit video that need no model: its light, its steadiness, and what it kept. Imports no torch.

The light (Y, chromaticity, colour temperature of the middle frame) is measured as LumosBench does; its
qualitative scores ask a large model and are not made here. The others are ours. Videos are read frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from wan_core.contract import MediaError
from wan_core.media import (
    Masking,
    Part,
    check_mask,
    is_still,
    probe,
    probe_clip,
    read_clip,
    read_masks,
    read_still,
)
from wan_plugin_unilumos.choosing import held
from wan_plugin_unilumos.colour import SRGB, temperature, xy_of, xyz_of
from wan_plugin_unilumos.fitting import fitted_frame
from wan_plugin_unilumos.looking import SUBJECT

Picture = NDArray[np.float64]

_DARK = 0.05
"""Luminance that is added before logarithms are taken, so that noise in the dark is no structure."""
_FLAT = 1e-4


@attrs.frozen
class Light:
    """The light of a frame.

    Attributes:
        rgb: mean sRGB in 0…1.
        illuminance: Y of it, 0…1.
        xy: chromaticity; None = it is black.
        kelvin: correlated colour temperature; None = it has none.
        note: of the temperature.
    """

    rgb: tuple[float, float, float]
    illuminance: float
    xy: tuple[float, float] | None
    kelvin: float | None
    note: str


@attrs.frozen
class Measures:
    """All of them; None = what it is measured against was not given.

    Attributes:
        frames: number of frames of the result.
        light: of its middle frame.
        flicker: mean change of the mean luminance from a frame to the next, 0…1.
        flicker_of_foreground: the same of the foreground.
        structure: 0…1: how alike the structure of result and foreground is where the subject is, whatever the
            light; 1 = the same.
        background: 0…1: mean absolute difference from the background outside the subject; 0 = the same.
        notes: what was not measured, and why.
    """

    frames: int
    light: Light
    flicker: float
    flicker_of_foreground: float | None = None
    structure: float | None = None
    background: float | None = None
    notes: tuple[str, ...] = ()


def measure(
    result: Path,
    foreground: Path | None = None,
    mask: Path | None = None,
    background: Path | None = None,
) -> Measures:
    """Measure a relit video.

    Of videos at another rate than the result's the frames of its times count.

    Args:
        result: a video or a picture.
        foreground: what was lit anew; the subject's structure is compared with it.
        mask: where the subject is, white; None = everywhere.
        background: compared with outside of the mask.

    Raises:
        MediaError: a file is not what it should be, or they don't go together.
    """
    size, count, rate = _look(result)
    notes = []
    masking = Masking(threshold=SUBJECT, part=_part(mask, rate))
    if mask is not None:
        check_mask(mask, size, count, masking)
    if background is not None and mask is None:
        notes.append("background: not compared, because no mask says where it is to be seen")
    for name, other in (("foreground", foreground), ("background", background)):
        if other is None or is_still(other):
            continue
        if (there := probe_clip(other, _part(other, rate)).frames) < count:
            has = f"its {there} frames are" if there > 1 else "its one frame is"
            notes.append(f"{name}: {has} fewer than {count}: the last one is held")
    means: list[Picture] = []
    luminance: dict[str, list[float]] = {"result": [], "foreground": []}
    structures, differences = [], []
    others = {
        name: _frames(other, size, count, rate) if other is not None else None
        for name, other in (("foreground", foreground), ("background", background))
    }
    masks = _masks(mask, size, count, masking)
    seen = False
    for frame in _frames(result, size, count):
        subject = next(masks)
        seen = seen or bool(subject.any())
        means.append(frame.mean(axis=(0, 1)))
        luminance["result"].append(_luminance(means[-1]))
        if others["foreground"] is not None:
            given = next(others["foreground"])
            luminance["foreground"].append(_luminance(given.mean(axis=(0, 1))))
            structures.append(structure(frame, given, subject))
        if others["background"] is not None:
            given = next(others["background"])
            if mask is not None and not subject.all():
                differences.append(float(np.abs(frame - given)[~subject].mean()))
    found = [one for one in structures if one is not None]
    if structures and not found:
        why = "the foreground is flat where the subject is" if seen else "the mask is black"
        notes.append(f"structure: not compared, because {why}")
    if background is not None and mask is not None and not differences:
        notes.append("background: not compared, because the mask leaves nothing of it")
    return Measures(
        frames=len(means),
        light=light(means[len(means) // 2]),
        flicker=flicker(luminance["result"]),
        flicker_of_foreground=flicker(luminance["foreground"]) if foreground else None,
        structure=float(np.mean(found)) if found else None,
        background=float(np.mean(differences)) if differences else None,
        notes=tuple(notes),
    )


def light(rgb: Picture) -> Light:
    """The light of a mean colour ``[3]`` in 0…1."""
    xyz = xyz_of(rgb)
    xy = xy_of(xyz)
    kelvin = temperature(*xy) if xy else None
    red, green, blue = map(float, rgb)
    return Light(
        (red, green, blue),
        float(xyz[1]),
        xy,
        kelvin.kelvin if kelvin else None,
        kelvin.note if kelvin else "black has no colour",
    )


def flicker(luminance: list[float]) -> float:
    """Mean change of the mean luminance from a frame to the next."""
    return float(np.abs(np.diff(luminance)).mean()) if len(luminance) > 1 else 0.0


def structure(one: Picture, other: Picture, subject: NDArray[np.bool_]) -> float | None:
    """How alike two frames are where the subject is, whatever their light.

    Correlated are the slopes of the logarithm of the luminance: light multiplies what a surface reflects, and
    changes from place to place more slowly than the surface does.

    Args:
        one, other: ``[height, width, 3]`` in 0…1.

    Returns:
        1 = the same, 0 = nothing in common; None where there is nothing to see in ``other``.
    """
    a, b = (_slopes(picture)[subject] for picture in (one, other))
    if not b.size or b.std() < _FLAT:
        return None
    if a.std() < _FLAT:
        return 0.0
    return max(0.0, float(np.corrcoef(a, b)[0, 1]))


def _slopes(picture: Picture) -> Picture:
    down, across = np.gradient(np.log(picture @ SRGB[1] + _DARK))
    steep: Picture = np.hypot(down, across)
    return steep


def _luminance(rgb: Picture) -> float:
    return float(xyz_of(rgb)[1])


def _look(path: Path) -> tuple[tuple[int, int], int, float]:
    """Size, number of frames, and frames per second; 0 = it does not say."""
    if is_still(path):
        height, width = read_still(path).pixels.shape[:2]
        return (width, height), 1, 0
    info = probe(path)
    if not info.frames:
        raise MediaError("this file has no video in it", where=str(path))
    return (info.width, info.height), info.frames, float(info.fps)


def _part(path: Path | None, rate: float) -> Part:
    """What is read of a file beside a result of that rate."""
    other = 0.0 if path is None or is_still(path) else float(probe(path).fps)
    return Part(fps=rate) if rate and other and rate != other else Part()


def _frames(path: Path, size: tuple[int, int], count: int, rate: float = 0) -> Iterator[Picture]:
    """So many frames, in 0…1 in the size of the result."""
    still = is_still(path)
    chunks: Any = [[read_still(path).pixels]] if still else read_clip(path, _part(path, rate))
    for frame in held((chunk[0] for chunk in chunks), count):
        if frame.shape[1::-1] == size:
            yield frame / 255.0
        else:
            yield (fitted_frame(frame, size).astype(np.float64) + 1) / 2


def _masks(
    path: Path | None, size: tuple[int, int], count: int, masking: Masking
) -> Iterator[NDArray[np.bool_]]:
    if path is None:
        while True:
            yield np.ones(size[::-1], bool)
    for mask in read_masks(path, size, count, masking):
        yield mask[0] > 0.5
