"""Memory: what is resident when, the units that are swapped, and the ledger that proves what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.memory.allocator import bound as bound
    from wan_core.memory.allocator import let_segments_grow as let_segments_grow
    from wan_core.memory.compiled import Compiling as Compiling
    from wan_core.memory.compiled import compile_units as compile_units
    from wan_core.memory.compiled import compiling_of as compiling_of
    from wan_core.memory.copies import Copier as Copier
    from wan_core.memory.copies import CudaCopier as CudaCopier
    from wan_core.memory.copies import Mark as Mark
    from wan_core.memory.copies import SimulatedCopier as SimulatedCopier
    from wan_core.memory.copies import Span as Span
    from wan_core.memory.freeing import empty_allocator as empty_allocator
    from wan_core.memory.freeing import give_back as give_back
    from wan_core.memory.freeing import let_go as let_go
    from wan_core.memory.guests import Guests as Guests
    from wan_core.memory.keeping import HostRoom as HostRoom
    from wan_core.memory.keeping import Keeper as Keeper
    from wan_core.memory.ledger import Ledger as Ledger
    from wan_core.memory.mapped import MappedSource as MappedSource
    from wan_core.memory.mapped import Staging as Staging
    from wan_core.memory.mapped import spooled as spooled
    from wan_core.memory.meter import Traffic as Traffic
    from wan_core.memory.meter import UnitTimes as UnitTimes
    from wan_core.memory.packing import Packing as Packing
    from wan_core.memory.packing import tensors_of as tensors_of
    from wan_core.memory.parts import SwappedParts as SwappedParts
    from wan_core.memory.pinning import pinnable_bytes as pinnable_bytes
    from wan_core.memory.residency import Residency as Residency
    from wan_core.memory.residency import gigabytes as gigabytes
    from wan_core.memory.sizes import ALIGNMENT as ALIGNMENT
    from wan_core.memory.sizes import BUFFERS as BUFFERS
    from wan_core.memory.sizes import packed_bytes as packed_bytes
    from wan_core.memory.sizes import slot_count as slot_count
    from wan_core.memory.sizes import spread as spread
    from wan_core.memory.sizes import swap_bytes as swap_bytes
    from wan_core.memory.slots import Slot as Slot
    from wan_core.memory.slots import SlotPool as SlotPool
    from wan_core.memory.slots import SlotState as SlotState
    from wan_core.memory.sources import HostMemory as HostMemory
    from wan_core.memory.sources import HostSource as HostSource
    from wan_core.memory.sources import Source as Source
    from wan_core.memory.swap import BlockSwap as BlockSwap
    from wan_core.memory.units import BlockStack as BlockStack
    from wan_core.memory.units import Unit as Unit
    from wan_core.memory.units import WithParts as WithParts
    from wan_core.memory.units import loras_of as loras_of
    from wan_core.memory.units import rest_of as rest_of
    from wan_core.memory.units import stack_of as stack_of

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "ALIGNMENT": "sizes",
        "BUFFERS": "sizes",
        "BlockStack": "units",
        "BlockSwap": "swap",
        "Compiling": "compiled",
        "Copier": "copies",
        "CudaCopier": "copies",
        "Guests": "guests",
        "HostMemory": "sources",
        "HostRoom": "keeping",
        "HostSource": "sources",
        "Keeper": "keeping",
        "Ledger": "ledger",
        "MappedSource": "mapped",
        "Mark": "copies",
        "Packing": "packing",
        "Residency": "residency",
        "SimulatedCopier": "copies",
        "Slot": "slots",
        "SlotPool": "slots",
        "SlotState": "slots",
        "Source": "sources",
        "Span": "copies",
        "Staging": "mapped",
        "SwappedParts": "parts",
        "Traffic": "meter",
        "Unit": "units",
        "UnitTimes": "meter",
        "WithParts": "units",
        "bound": "allocator",
        "compile_units": "compiled",
        "compiling_of": "compiled",
        "empty_allocator": "freeing",
        "gigabytes": "residency",
        "give_back": "freeing",
        "let_go": "freeing",
        "let_segments_grow": "allocator",
        "packed_bytes": "sizes",
        "pinnable_bytes": "pinning",
        "loras_of": "units",
        "rest_of": "units",
        "slot_count": "sizes",
        "spooled": "mapped",
        "spread": "sizes",
        "stack_of": "units",
        "swap_bytes": "sizes",
        "tensors_of": "packing",
    },
)
