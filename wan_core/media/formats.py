"""The table of file formats: which suffix means what, and what each can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import attrs

from wan_core.contract.errors import MediaError, nearest
from wan_core.contract.options import show

MAX_PIXELS = 2**26
"""The largest picture that is written or read, in pixels (8192 x 8192)."""

MAX_COMMENT = 256 * 1024
"""The longest comment that is written or read, in bytes of UTF-8."""


@attrs.frozen
class Format:
    """How the video under a suffix is encoded.

    Attributes:
        encoder: import string of the class that encodes it.
        container: FFmpeg's muxer, and its options.
        codec: FFmpeg's encoder, and its options.
        pixels: FFmpeg's name of the pixel format that is encoded.
        size_multiple: width and height must be multiples of it.
        largest_side: of a picture, in pixels.
        clock: ticks per second, where times are kept in ticks; None where the rate is kept exactly.
        fastest: frames per second; more can't be kept or is not played as written.
        bits_per_pixel: of a frame, more than a video usually takes; the whole 24 where nothing is lost.
        folder: the path names the pictures of a folder, which is the video.
    """

    encoder: str
    bits_per_pixel: float
    container: str = ""
    codec: str = ""
    pixels: str = "rgb24"
    size_multiple: int = 1
    largest_side: int = 16384
    clock: int | None = None
    fastest: int = 1000
    folder: bool = False
    container_options: Mapping[str, str] = attrs.field(factory=dict)
    codec_options: Mapping[str, str] = attrs.field(factory=dict)


_FFMPEG = "wan_core.media.containers:ContainerEncoder"
# the muxers would write random identities, and their own version, into each file
_REPRODUCIBLE = {"fflags": "+bitexact"}

FORMATS: Mapping[str, Format] = {
    # crf 16 can't be told from the original by eye; 4:2:0 plays everywhere but wants even sizes;
    # faststart puts the index first, so that a browser plays before it has everything
    ".mp4": Format(
        encoder=_FFMPEG,
        bits_per_pixel=1.5,
        container="mp4",
        codec="libx264",
        pixels="yuv420p",
        size_multiple=2,
        container_options={"movflags": "+faststart"},
        # x264's macroblock tree gives other bits from run to run at some widths; without it the same
        # frames give the same file
        codec_options={"crf": "16", "preset": "medium", "x264-params": "no-mbtree=1"},
    ),
    # no target for the bit rate (b 0): quality alone counts; rows of blocks one after another
    ".webm": Format(
        encoder=_FFMPEG,
        bits_per_pixel=1,
        container="webm",
        codec="libvpx-vp9",
        pixels="yuv420p",
        container_options=_REPRODUCIBLE,
        codec_options={
            "crf": "18",
            "b": "0",
            "deadline": "good",
            "cpu-used": "3",
            "row-mt": "0",
            "threads": "4",
        },
    ),
    # every frame stands alone (g 1) and has checksums, as archives want it; the number of slices
    # would follow the machine
    ".mkv": Format(
        encoder=_FFMPEG,
        bits_per_pixel=24,
        container="matroska",
        codec="ffv1",
        pixels="bgr0",
        largest_side=65535,
        container_options=_REPRODUCIBLE,
        codec_options={"level": "3", "g": "1", "slicecrc": "1", "slices": "4"},
    ),
    # browsers show frames of 10 ms and less for 100 ms
    ".webp": Format(
        encoder="wan_core.media.webp:WebpEncoder",
        bits_per_pixel=3,
        largest_side=16383,
        clock=1000,
        fastest=90,
    ),
    ".gif": Format(
        encoder="wan_core.media.gif:GifEncoder",
        bits_per_pixel=10,
        container="gif",
        codec="gif",
        pixels="pal8",
        largest_side=65535,
        clock=100,
        fastest=50,
        container_options=_REPRODUCIBLE,
        # the encoder compares numbers of colours to leave out what has not changed, though each frame has
        # colours of its own
        codec_options={"gifflags": "-offsetting-transdiff"},
    ),
    ".png": Format(
        encoder="wan_core.media.sequence:SequenceEncoder",
        bits_per_pixel=24,
        largest_side=65535,
        folder=True,
    ),
}


def format_of(path: Path, *, where: str = "") -> Format:
    """The format of a path's suffix.

    Raises:
        MediaError: there is none.
    """
    suffix = path.suffix.lower()
    known = FORMATS.get(suffix)
    if known is None:
        guess = nearest(suffix, FORMATS) if suffix else ""
        guess = f"{guess}, " if guess.startswith("did you mean") else ""
        raise MediaError(
            f"a video can't be written as {show(path.name)}",
            where=where,
            remedy=f"{guess}supported are the suffixes " + ", ".join(FORMATS),
        )
    return known


def unit_of(path: Path) -> Path:
    """The file that a video's path names, or the folder that holds its pictures."""
    known = FORMATS.get(path.suffix.lower())
    return path.parent if known and known.folder else path


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames per second as the fraction that is meant: 12.5 -> 25/2, 23.976 -> 24000/1001.

    Raises:
        MediaError: not a positive number up to 1000.
    """
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise MediaError(f"{fps} frames per second is no frame rate", remedy="use 1 to 1000")
    if isinstance(fps, Fraction):
        return fps
    for whole in (24, 30, 48, 60, 120):
        # 23.976, 29.97, 59.94 … are short for these
        broadcast = Fraction(whole * 1000, 1001)
        if abs(fps - broadcast) < 0.005:
            return broadcast
    return Fraction(fps).limit_denominator(1001)


def check_comment(comment: str | None) -> None:
    """Check that a text can be kept in a file.

    Raises:
        MediaError: it is too long, or holds what no file can hold.
    """
    if comment is None:
        return
    try:
        length = len(comment.encode())
    except UnicodeEncodeError:
        raise MediaError("the comment holds half a character (a lone surrogate)") from None
    if "\0" in comment:
        raise MediaError("the comment holds the character NUL, which ends texts in files")
    if length > MAX_COMMENT:
        raise MediaError(
            f"the comment has {length} bytes", remedy=f"use {MAX_COMMENT} bytes at most"
        )
