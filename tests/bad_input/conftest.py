"""The table's test: a command line that must refuse, and must not have touched anything."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import pytest

from wan_core import plugins

sys.path.insert(0, str(Path(__file__).parent))  # for table and makers, whatever the import mode


@pytest.fixture(autouse=True)
def _only_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences list what is installed; whoever works on plugins has some."""
    installed = plugins.installed_entry_points
    monkeypatch.setattr(plugins, "installed_entry_points", lambda: islice(installed(), 1))
