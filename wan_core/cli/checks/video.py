"""Encoders of video: there, and they open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from importlib import import_module
from typing import Any

from wan_core.cli.checks.finding import Finding, note, ok, problem
from wan_core.plugins import brief

ENCODERS: Mapping[str, tuple[str, ...]] = {
    "mp4 (H.264)": ("libx264",),
    "webm (VP9)": ("libvpx-vp9",),
    "webp": ("libwebp_anim", "libwebp"),
    "gif": ("gif",),
    "lossless (FFV1)": ("ffv1",),
}
"""What can be written -> the encoders that can do it, by FFmpeg's names."""

NEEDED = "mp4 (H.264)"
SIDE = 64


def encoders(av: Any = None) -> Iterator[Finding]:
    """PyAV is there, and the encoders can be opened."""
    try:
        av = av or import_module("av")
    except Exception as error:
        text = f"PyAV can't be imported ({brief(error)}): no video can be read or written"
        yield problem(text, "pip install av")
        return
    failed: dict[str, str] = {}
    for title, candidates in ENCODERS.items():
        reasons = [_opened(av, name) for name in candidates]
        if all(reasons):
            failed[title] = reasons[0]
    for title, reason in failed.items():
        sort = problem if title == NEEDED else note
        yield sort(f"{title} can't be written ({reason})", "pip install --force-reinstall av")
    works = [title for title in ENCODERS if title not in failed]
    if works:
        yield ok(f"PyAV {av.__version__} writes {', '.join(works)}")


def _opened(av: Any, name: str) -> str:
    """Why an encoder can't be used; "" when it can."""
    try:
        context = av.codec.CodecContext.create(name, "w")
        context.width = context.height = SIDE
        formats = [one.name for one in context.codec.video_formats or ()]
        context.pix_fmt = "yuv420p" if "yuv420p" in formats or not formats else formats[0]
        context.time_base = Fraction(1, 16)
        context.open()
    except Exception as error:
        return f"{name}: {brief(error)}"
    return ""
