"""Media: video out and in as streams of chunks, at constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.media.chunks import Chunks as Chunks
    from wan_core.media.formats import check_target as check_target
    from wan_core.media.formats import exact_rate as exact_rate
    from wan_core.media.reading import VideoInfo as VideoInfo
    from wan_core.media.reading import probe as probe
    from wan_core.media.reading import read_frames as read_frames
    from wan_core.media.sheet import contact_sheet as contact_sheet
    from wan_core.media.writing import write_video as write_video

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Chunks": "chunks",
        "VideoInfo": "reading",
        "check_target": "formats",
        "contact_sheet": "sheet",
        "exact_rate": "formats",
        "probe": "reading",
        "read_frames": "reading",
        "write_video": "writing",
    },
)
