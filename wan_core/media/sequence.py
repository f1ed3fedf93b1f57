"""A folder of PNG pictures as a video."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import attrs
import numpy as np
from PIL import Image, PngImagePlugin

from wan_core.contract.errors import MediaError
from wan_core.contract.options import show
from wan_core.media.formats import MAX_COMMENT
from wan_core.media.patterns import Pattern
from wan_core.media.pictures import opened_picture, png_size, rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wan_core.media.writing import Job

_COMMENT = "comment"
_RATE = "fps"


class SequenceEncoder:
    """Writes each frame as a picture, numbered from 0; each holds the comment and the rate."""

    def __init__(self, job: Job) -> None:
        self._folder = job.hidden
        self._pattern = Pattern.of(job.path)
        self._texts = PngImagePlugin.PngInfo()
        self._texts.add_text(_RATE, str(job.rate))
        if job.comment is not None:
            self._texts.add_itxt(_COMMENT, job.comment, zip=True)

    def add(self, picture: NDArray[np.uint8], index: int) -> None:
        """Write frame number ``index``, ``[height, width, 3]``."""
        with (self._folder / self._pattern.name(index)).open("wb") as file:
            Image.fromarray(picture).save(file, "PNG", pnginfo=self._texts)

    def finish(self) -> None:
        """Everything is written already."""

    def abandon(self) -> None:
        """Everything is closed already."""


@attrs.frozen
class Sequence:
    """Pictures in a folder.

    Attributes:
        name: a picture's name from its number.
        first: the number of the first.
        frames: how many there are.
    """

    folder: Path
    name: Callable[[int], str]
    first: int
    frames: int

    @property
    def paths(self) -> Iterator[Path]:
        """Where they are, in order."""
        for number in range(self.first, self.first + self.frames):
            yield self.folder / self.name(number)


@attrs.frozen
class SequenceInfo:
    """What the first picture of a sequence says.

    Attributes:
        width, height: in pixels.
        rate: frames per second; None where it does not say.
        comment: its text of that name, or None.
    """

    width: int
    height: int
    rate: Fraction | None
    comment: str | None


def sequence_at(path: Path) -> Sequence:
    """The pictures that ``path`` means.

    Args:
        path: a folder, a pattern such as ``clip/%05d.png``, or a picture. A picture that does not
            come from here (it has no rate in it) stands for itself alone.

    Raises:
        MediaError: there are none, one is missing, or there are several sequences.
    """
    where = str(path)
    if path.is_dir():
        pattern = Pattern.found_in(n for n in _names(path) if n.lower().endswith(".png"))
        if pattern is None:
            raise MediaError(
                "this folder is no sequence of numbered PNG pictures",
                where=where,
                remedy='name the pictures, as in "clip/%05d.png"',
            )
        return _numbered(path, pattern, where)
    if not path.is_file():
        if "%" in path.name and path.parent.is_dir():
            return _numbered(path.parent, Pattern.of(path, where=where), where)
        raise MediaError("there is no such file", where=where, remedy="check the path")
    known = Pattern.found_in([path.name])
    if known is None or picture_info(path).rate is None:
        return Sequence(path.parent, lambda _: path.name, 0, 1)
    pattern = Pattern.found_in(_names(path.parent), like=path.name)
    return _numbered(path.parent, pattern or known, where)


def picture_info(path: Path) -> SequenceInfo:
    """What a PNG picture says of itself; it is not decoded.

    Raises:
        MediaError: it is none, damaged or too large.
    """
    with _opened(path) as file:
        width, height = png_size(file, str(path))
        with opened_picture(file, "PNG", str(path)) as picture:
            comment, rate = picture.info.get(_COMMENT), picture.info.get(_RATE)
    if not isinstance(comment, str) or len(comment.encode(errors="replace")) > MAX_COMMENT:
        comment = None
    try:
        exact = Fraction(rate) if isinstance(rate, str) and len(rate) < 32 else None
    except (ValueError, ZeroDivisionError):
        exact = None
    return SequenceInfo(width, height, exact if exact and 0 < exact <= 1000 else None, comment)


def read_sequence(sequence: Sequence) -> Iterator[NDArray[np.uint8]]:
    """The frames of a sequence, ``[height, width, 3]`` uint8.

    Raises:
        MediaError: a picture is damaged, too large, or of another size than the first.
    """
    for path, file in _alike(sequence):
        with opened_picture(file, "PNG", str(path)) as picture:
            frame = rgb(picture)
        yield frame


def check_sequence(sequence: Sequence) -> None:
    """Refuse a sequence of which one is no picture, or of another size than the first; only headers are read.

    Raises:
        MediaError: naming that one.
    """
    for _ in _alike(sequence):
        pass


def _alike(sequence: Sequence) -> Iterator[tuple[Path, BinaryIO]]:
    """The opened pictures of a sequence, which are of one size."""
    first = None
    for path in sequence.paths:
        with _opened(path) as file:
            size = png_size(file, str(path))
            first = first or size
            if size != first:
                raise MediaError(
                    f"this frame is {size[0]}x{size[1]}, the first one is {first[0]}x{first[1]}",
                    where=str(path),
                )
            yield path, file


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file of a picture. A pipe would be waited for, for ever."""
    try:
        if not path.is_file():
            raise MediaError("this is no file", where=str(path), remedy="put a picture there")
        file = path.open("rb")
    except OSError as error:
        raise MediaError(f"can't be read ({error.strerror})", where=str(path)) from error
    with file:
        yield file


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def _numbered(folder: Path, pattern: Pattern, where: str) -> Sequence:
    count, first, last = 0, -1, -1
    for name in _names(folder):
        if (number := pattern.number(name)) is not None:
            count += 1
            first = number if first < 0 else min(first, number)
            last = max(last, number)
    if not count:
        raise MediaError("there are no such pictures", where=where, remedy="check the path")
    if last - first + 1 != count:
        missing = next(
            number for number in range(first, last) if not (folder / pattern.name(number)).exists()
        )
        raise MediaError(
            f"the picture {show(pattern.name(missing))} is missing between others", where=where
        )
    return Sequence(folder, pattern.name, first, count)
