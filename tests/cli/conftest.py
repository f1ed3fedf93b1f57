"""A run without models: an engine that plays a script of events, and plugins made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import Script, install

from wan_core.plugins import Found, Plugins


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the configuration of whoever runs it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("WAN_CORE_CONFIG", raising=False)
    monkeypatch.delenv("WAN_CORE_DISABLE", raising=False)
    return tmp_path / "config" / "wan-core" / "config.toml"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """What the fake engine will do; change it before the run."""
    script = Script()
    install(script, monkeypatch.setitem)
    return script


@pytest.fixture
def install_plugins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make discovery find exactly these plugins."""

    def install_them(*plugins: Found) -> None:
        monkeypatch.setattr("wan_core.plugins.installed_entry_points", lambda: iter(plugins))

    install_them()
    assert Plugins.discover().installed == ()
    return install_them
