"""The built-in stages, and what stages of plugins may use of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.stages.generate import text_conditioning as text_conditioning
    from wan_core.stages.handing import DecodedVideo as DecodedVideo
    from wan_core.stages.handing import LatentVideo as LatentVideo
    from wan_core.stages.handing import encode_video as encode_video
    from wan_core.stages.previews import Previewer as Previewer
    from wan_core.stages.previews import previewer as previewer

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "DecodedVideo": "handing",
        "LatentVideo": "handing",
        "encode_video": "handing",
        "text_conditioning": "generate",
        "Previewer": "previews",
        "previewer": "previews",
    },
)
