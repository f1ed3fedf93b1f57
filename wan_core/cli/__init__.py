"""The command ``wan-core``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.cli.app import main as main

__getattr__, __dir__, __all__ = exports(__name__, {"main": "app"})
