"""Memory: what is resident when, the units that are swapped, and the ledger that proves what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.memory.ledger import Ledger as Ledger
    from wan_core.memory.residency import Residency as Residency
    from wan_core.memory.residency import gigabytes as gigabytes
    from wan_core.memory.units import BlockStack as BlockStack
    from wan_core.memory.units import Unit as Unit
    from wan_core.memory.units import rest_of as rest_of

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "BlockStack": "units",
        "Ledger": "ledger",
        "Residency": "residency",
        "Unit": "units",
        "gigabytes": "residency",
        "rest_of": "units",
    },
)
