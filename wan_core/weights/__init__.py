"""Weights: opening checkpoint files, telling what they are, and loading them into modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.weights.archives import check_pickle as check_pickle
    from wan_core.weights.dialects import Dialect as Dialect
    from wan_core.weights.dialects import renaming as renaming
    from wan_core.weights.files import open_weights as open_weights
    from wan_core.weights.fingerprints import content_fingerprint as content_fingerprint
    from wan_core.weights.fingerprints import fingerprint as fingerprint
    from wan_core.weights.identity import Identity as Identity
    from wan_core.weights.identity import LoraTraits as LoraTraits
    from wan_core.weights.identity import Precision as Precision
    from wan_core.weights.identity import identify as identify
    from wan_core.weights.loading import Keep as Keep
    from wan_core.weights.loading import load_into as load_into
    from wan_core.weights.naming import in_official_names as in_official_names
    from wan_core.weights.places import printable as printable
    from wan_core.weights.places import sort_of as sort_of
    from wan_core.weights.prefixes import strip_prefixes as strip_prefixes
    from wan_core.weights.quantised.linear import QuantLinear as QuantLinear
    from wan_core.weights.safetensors_header import read_header as read_header
    from wan_core.weights.sources import RenamedSource as RenamedSource
    from wan_core.weights.sources import TensorInfo as TensorInfo
    from wan_core.weights.sources import TensorSource as TensorSource
    from wan_core.weights.stacks import StoredStack as StoredStack
    from wan_core.weights.state_dict import StateDict as StateDict

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "check_pickle": "archives",
        "Dialect": "dialects",
        "Identity": "identity",
        "LoraTraits": "identity",
        "Precision": "identity",
        "Keep": "loading",
        "QuantLinear": "quantised.linear",
        "RenamedSource": "sources",
        "StateDict": "state_dict",
        "StoredStack": "stacks",
        "TensorInfo": "sources",
        "TensorSource": "sources",
        "content_fingerprint": "fingerprints",
        "fingerprint": "fingerprints",
        "identify": "identity",
        "in_official_names": "naming",
        "load_into": "loading",
        "open_weights": "files",
        "printable": "places",
        "read_header": "safetensors_header",
        "renaming": "dialects",
        "sort_of": "places",
        "strip_prefixes": "prefixes",
    },
)
