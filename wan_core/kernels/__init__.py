"""Kernels: each beside its plain-torch reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.kernels.failures import telling as telling
    from wan_core.kernels.rows import quantise_rows as quantise_rows
    from wan_core.kernels.rows import quantise_rows_reference as quantise_rows_reference
    from wan_core.kernels.shortage import as_shortage as as_shortage
    from wan_core.kernels.shortage import is_shortage as is_shortage

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "as_shortage": "shortage",
        "is_shortage": "shortage",
        "quantise_rows": "rows",
        "quantise_rows_reference": "rows",
        "telling": "failures",
    },
)
