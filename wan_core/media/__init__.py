"""Media: video out and in as streams of chunks, at constant memory; pictures, parts and masks to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.media.chunks import Chunks as Chunks
    from wan_core.media.clips import ClipInfo as ClipInfo
    from wan_core.media.clips import Part as Part
    from wan_core.media.clips import check_part as check_part
    from wan_core.media.clips import probe_clip as probe_clip
    from wan_core.media.clips import read_clip as read_clip
    from wan_core.media.compare import Comparison as Comparison
    from wan_core.media.compare import compare_videos as compare_videos
    from wan_core.media.fitting import fit as fit
    from wan_core.media.fitting import fit_signed as fit_signed
    from wan_core.media.fitting import official_last_frame as official_last_frame
    from wan_core.media.fitting import resample as resample
    from wan_core.media.fitting import signed as signed
    from wan_core.media.formats import FORMATS as FORMATS
    from wan_core.media.formats import exact_rate as exact_rate
    from wan_core.media.masks import Masking as Masking
    from wan_core.media.masks import check_mask as check_mask
    from wan_core.media.masks import read_masks as read_masks
    from wan_core.media.pixels import to_pixels as to_pixels
    from wan_core.media.png import write_png as write_png
    from wan_core.media.reading import VideoInfo as VideoInfo
    from wan_core.media.reading import probe as probe
    from wan_core.media.reading import read_frames as read_frames
    from wan_core.media.sheet import contact_sheet as contact_sheet
    from wan_core.media.sheet import labelled_sheet as labelled_sheet
    from wan_core.media.sizes import Picking as Picking
    from wan_core.media.sizes import area_size as area_size
    from wan_core.media.sizes import best_size as best_size
    from wan_core.media.sizes import similar as similar
    from wan_core.media.sizes import vace_picking as vace_picking
    from wan_core.media.space import estimate_bytes as estimate_bytes
    from wan_core.media.space import free_space as free_space
    from wan_core.media.stills import Still as Still
    from wan_core.media.stills import StillInfo as StillInfo
    from wan_core.media.stills import is_still as is_still
    from wan_core.media.stills import probe_still as probe_still
    from wan_core.media.stills import read_levels as read_levels
    from wan_core.media.stills import read_still as read_still
    from wan_core.media.targets import check_target as check_target
    from wan_core.media.writing import Written as Written
    from wan_core.media.writing import write_video as write_video

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Chunks": "chunks",
        "ClipInfo": "clips",
        "Comparison": "compare",
        "FORMATS": "formats",
        "Masking": "masks",
        "Part": "clips",
        "Picking": "sizes",
        "Still": "stills",
        "StillInfo": "stills",
        "VideoInfo": "reading",
        "Written": "writing",
        "area_size": "sizes",
        "best_size": "sizes",
        "check_mask": "masks",
        "check_part": "clips",
        "check_target": "targets",
        "compare_videos": "compare",
        "contact_sheet": "sheet",
        "estimate_bytes": "space",
        "exact_rate": "formats",
        "fit": "fitting",
        "fit_signed": "fitting",
        "free_space": "space",
        "is_still": "stills",
        "labelled_sheet": "sheet",
        "official_last_frame": "fitting",
        "probe": "reading",
        "probe_clip": "clips",
        "probe_still": "stills",
        "read_clip": "clips",
        "read_frames": "reading",
        "read_levels": "stills",
        "read_masks": "masks",
        "read_still": "stills",
        "resample": "fitting",
        "signed": "fitting",
        "similar": "sizes",
        "to_pixels": "pixels",
        "vace_picking": "sizes",
        "write_png": "png",
        "write_video": "writing",
    },
)
