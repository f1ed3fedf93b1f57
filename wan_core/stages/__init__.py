"""The built-in stages, and what stages of plugins may use of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.stages.generate import DecodedVideo as DecodedVideo
    from wan_core.stages.generate import text_conditioning as text_conditioning
    from wan_core.stages.previews import Previewer as Previewer
    from wan_core.stages.previews import previewer as previewer
    from wan_core.stages.sights import nearly as nearly

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "DecodedVideo": "generate",
        "text_conditioning": "generate",
        "Previewer": "previews",
        "previewer": "previews",
        "nearly": "sights",
    },
)
