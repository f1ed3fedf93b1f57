"""LoRA files: from their names to patches on official weights, merged exactly or kept beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.weights.lora.apart import KeptApart as KeptApart
    from wan_core.weights.lora.apart import keep_apart as keep_apart
    from wan_core.weights.lora.beside import LoraLinear as LoraLinear
    from wan_core.weights.lora.matching import LoraFile as LoraFile
    from wan_core.weights.lora.matching import read_lora as read_lora
    from wan_core.weights.lora.merging import MergedSource as MergedSource
    from wan_core.weights.lora.merging import merge as merge
    from wan_core.weights.lora.patches import Patch as Patch
    from wan_core.weights.lora.targets import LoraTargets as LoraTargets
    from wan_core.weights.lora.uses import merged as merged
    from wan_core.weights.lora.uses import strength_of as strength_of

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "KeptApart": "apart",
        "LoraFile": "matching",
        "LoraLinear": "beside",
        "LoraTargets": "targets",
        "MergedSource": "merging",
        "Patch": "patches",
        "keep_apart": "apart",
        "merge": "merging",
        "merged": "uses",
        "read_lora": "matching",
        "strength_of": "uses",
    },
)
