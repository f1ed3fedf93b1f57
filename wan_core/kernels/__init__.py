"""Kernels: each beside its plain-torch reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.kernels.failures import telling as telling
    from wan_core.kernels.rows import quantise_rows as quantise_rows
    from wan_core.kernels.rows import quantise_rows_reference as quantise_rows_reference

__getattr__, __dir__, __all__ = exports(
    __name__,
    {"quantise_rows": "rows", "quantise_rows_reference": "rows", "telling": "failures"},
)
