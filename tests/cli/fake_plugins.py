"""Plugins made on the spot."""

from __future__ import annotations

from types import SimpleNamespace

from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Description
from wan_core.hookspecs import hookimpl
from wan_core.plugins import Found


def found(name: str, *descriptions: Description, error: Exception | None = None) -> Found:
    """A plugin as discovery finds it."""

    def load() -> SimpleNamespace:
        if error is not None:
            raise error
        plugin = SimpleNamespace(WAN_CORE_CONTRACT=CONTRACT_VERSION)

        @hookimpl
        def wan_register() -> list[Description]:
            return list(descriptions)

        plugin.wan_register = wan_register
        return plugin

    return Found(name, f"wan-plugin-{name}", "1.2", load)
