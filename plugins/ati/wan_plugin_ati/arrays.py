"""NumPy files, read with their headers first: no code in them is run, and no size is taken on trust."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from wan_core.contract.options import show
from wan_plugin_ati.tracks import TracksError

MOST_BYTES = 32 * 2**20
"""Of one array. ATI's own take 1452 bytes a track."""
MOST_MEMBERS = 64
MOST_AXES = 8


def read_array(stream: IO[bytes]) -> NDArray[Any]:
    """The array of a ``.npy`` file.

    Raises:
        TracksError: it is none, holds something else than numbers, is cut short or too large.
    """
    shape, by_column, kind = _header(stream)
    if kind.hasobject or kind.kind not in "iufb" or kind.names:
        raise TracksError(
            "the array holds Python objects or other things than numbers, and is refused",
            remedy="save the points as plain numbers",
        )
    size = math.prod(shape) * kind.itemsize
    if len(shape) > MOST_AXES or any(one < 0 for one in shape) or size > MOST_BYTES:
        raise TracksError(f"the array would take {size} bytes, the most is {MOST_BYTES}")
    data = stream.read(size)
    if len(data) < size:
        raise TracksError(f"the array is cut short: {len(data)} bytes of {size} are there")
    array: NDArray[Any] = np.frombuffer(data, kind)
    return array.reshape(shape, order="F" if by_column else "C")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        with warnings.catch_warnings():
            # NumPy warns of headers that Python 2 wrote
            warnings.simplefilter("ignore", UserWarning)
            if np.lib.format.read_magic(stream) == (1, 0):
                return np.lib.format.read_array_header_1_0(stream)
            return np.lib.format.read_array_header_2_0(stream)
    except Exception as error:
        # damaged headers fail in many ways, none of them documented
        raise TracksError("this is no NumPy array, or a damaged one") from error


def read_archive(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz`` file, by name.

    Raises:
        TracksError: as for :func:`read_array`; the archive is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise TracksError(f"the archive has {len(members)} members")
            room = MOST_BYTES
            for one in members:
                # what a member unpacks to is in the directory, and no more is ever unpacked of it
                room -= one.file_size
                if room < 0:
                    raise TracksError(
                        f"the archive unpacks to more than {MOST_BYTES} bytes, and is refused"
                    )
            return {one.filename.removesuffix(".npy"): _member(archive, one) for one in members}
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        zlib.error,
    ) as error:
        raise TracksError("the NumPy archive is damaged") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        try:
            return read_array(stream)
        except TracksError as error:
            error.place(f"member {show(member.filename)}")
            raise


def shape_of(array: NDArray[Any]) -> str:
    """``"(5, 121, 1, 3)"``."""
    return "(" + ", ".join(map(str, array.shape)) + ")"
