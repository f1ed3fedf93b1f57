"""The built-in stages, and what stages of plugins may use of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.stages.driver import sampled as sampled
    from wan_core.stages.generate import text_conditioning as text_conditioning
    from wan_core.stages.generate_plan import plan_sampling as plan_sampling
    from wan_core.stages.given import sized_like as sized_like
    from wan_core.stages.handing import DecodedVideo as DecodedVideo
    from wan_core.stages.handing import LatentVideo as LatentVideo
    from wan_core.stages.handing import encode_video as encode_video
    from wan_core.stages.options import BY_PICTURE as BY_PICTURE
    from wan_core.stages.options import SamplingOptions as SamplingOptions
    from wan_core.stages.previews import Previewer as Previewer
    from wan_core.stages.previews import previewer as previewer
    from wan_core.stages.sights import look_at_picture as look_at_picture
    from wan_core.stages.sights import naming as naming
    from wan_core.stages.sights import nearly as nearly

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "DecodedVideo": "handing",
        "LatentVideo": "handing",
        "encode_video": "handing",
        "text_conditioning": "generate",
        "sampled": "driver",
        "plan_sampling": "generate_plan",
        "BY_PICTURE": "options",
        "SamplingOptions": "options",
        "sized_like": "given",
        "look_at_picture": "sights",
        "naming": "sights",
        "Previewer": "previews",
        "previewer": "previews",
        "nearly": "sights",
    },
)
