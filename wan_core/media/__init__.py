"""Media: video out and in as streams of chunks, at constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.media.chunks import Chunks as Chunks
    from wan_core.media.compare import Comparison as Comparison
    from wan_core.media.compare import compare_videos as compare_videos
    from wan_core.media.formats import FORMATS as FORMATS
    from wan_core.media.formats import exact_rate as exact_rate
    from wan_core.media.reading import VideoInfo as VideoInfo
    from wan_core.media.reading import probe as probe
    from wan_core.media.reading import read_frames as read_frames
    from wan_core.media.sheet import contact_sheet as contact_sheet
    from wan_core.media.sheet import labelled_sheet as labelled_sheet
    from wan_core.media.space import estimate_bytes as estimate_bytes
    from wan_core.media.space import free_space as free_space
    from wan_core.media.targets import check_target as check_target
    from wan_core.media.writing import Written as Written
    from wan_core.media.writing import write_video as write_video

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Chunks": "chunks",
        "Comparison": "compare",
        "FORMATS": "formats",
        "VideoInfo": "reading",
        "Written": "writing",
        "check_target": "targets",
        "compare_videos": "compare",
        "contact_sheet": "sheet",
        "estimate_bytes": "space",
        "exact_rate": "formats",
        "free_space": "space",
        "labelled_sheet": "sheet",
        "probe": "reading",
        "read_frames": "reading",
        "write_video": "writing",
    },
)
