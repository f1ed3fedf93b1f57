"""Track files of any form, told apart by the ends of their names. Torch is imported to open a ``.pth`` only."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_core.contract.options import show
from wan_plugin_ati.arrays import read_archive, read_array, shape_of
from wan_plugin_ati.published import MEMBER, of_archive, read_published
from wan_plugin_ati.splines import read_splines
from wan_plugin_ati.tables import read_csv, read_toml
from wan_plugin_ati.tracks import Drawing, TracksError, drawing_of_array

MOST_BYTES = 16 * 2**20
"""Of a file: what is read from a text or a pickle may take twenty times as much. ATI's own have kilobytes."""


def read_tracks(path: Path) -> Drawing:
    """Read a track file.

    Raises:
        TracksError: it is not there, no file of tracks, damaged, too large, or holds code.
    """
    suffix = path.suffix.lower()
    try:
        _check_file(path)
        if suffix in TEXTS:
            return TEXTS[suffix](_text(path))
        if suffix in ARRAYS:
            return ARRAYS[suffix](path)
        raise TracksError(
            f"{show(path.name)} is no track file by its name",
            remedy="known are the suffixes " + ", ".join((*TEXTS, *ARRAYS)),
        )
    except TracksError as error:
        error.place(str(path))
        raise
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise TracksError(f"the file can't be read ({why})", where=str(path)) from error


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TracksError("there is no such file", remedy="check the name") from error
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "no ordinary file"
        raise TracksError(f"this is {what}", remedy="name a track file")
    if not status.st_size:
        raise TracksError("the file is empty")
    if status.st_size > MOST_BYTES:
        raise TracksError(
            f"the file has {status.st_size / 2**20:.0f} MiB, the most is {MOST_BYTES // 2**20}",
            remedy="tracks take kilobytes; check the name",
        )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TracksError("the file is no text (not UTF-8)", remedy="save it as UTF-8") from error


def _npy(path: Path) -> Drawing:
    return _drawing(_own(read_array(io.BytesIO(path.read_bytes()))), "NumPy array")


def _npz(path: Path) -> Drawing:
    data = path.read_bytes()
    arrays = read_archive(data)
    if MEMBER in arrays:
        return of_archive(data)
    if "tracks" not in arrays:
        names = ", ".join(map(show, list(arrays)[:5])) or "nothing"
        raise TracksError(
            f"the archive has no member tracks, but {names}",
            remedy='save it with numpy.savez(path, tracks=points) and, where wanted, "visible"',
        )
    tracks = _own(arrays["tracks"])
    if "visible" in arrays:
        visible = arrays["visible"]
        if visible.ndim == 1:
            visible = visible[None]
        if tracks.shape[2] != 2 or visible.shape != tracks.shape[:2]:
            raise TracksError(
                f"visible has the shape {shape_of(visible)}, which does not belong to tracks "
                f"{shape_of(tracks)}"
            )
        tracks = np.concatenate([tracks, visible[..., None]], axis=2)
    return _drawing(tracks, "NumPy archive")


def _drawing(array: NDArray[Any], form: str) -> Drawing:
    drawing = drawing_of_array(array, form)
    for track in drawing.tracks:
        odd = track.visible[~np.isin(track.visible, (0, 1))]
        if odd.size:
            raise TracksError(f"visible of {track.name} must be 1 or 0, not {odd[0]:g}")
    return drawing


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """``[tracks, samples, 2 or 3]``; one track may come without the first axis."""
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[2] not in (2, 3):
        raise TracksError(
            f"the array has the shape {shape_of(array)}",
            remedy="save (tracks, samples, 2), or 3 with what is visible",
        )
    return array


TEXTS: Mapping[str, Callable[[str], Drawing]] = {
    ".toml": read_toml,
    ".csv": read_csv,
    ".json": read_splines,
    ".txt": read_splines,
}
ARRAYS: Mapping[str, Callable[[Path], Drawing]] = {
    ".pth": read_published,
    ".pt": read_published,
    ".npy": _npy,
    ".npz": _npz,
}
