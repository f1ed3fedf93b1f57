"""What plugins import from ``wan_core.contract``: every public class of its rooms, without torch."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from wan_core import contract

MODULES = (
    "descriptions",
    "attention",
    "conditioning",
    "requests",
    "errors",
    "events",
    "protocols",
    "state",
)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_class_is_exported(name: str) -> None:
    module = importlib.import_module(f"wan_core.contract.{name}")
    own = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    }
    assert own
    for key, value in own.items():
        if (name, key) != ("protocols", "Solver"):  # the description has the name
            assert getattr(contract, key) is value
            assert key in contract.__all__


def test_all_names_are_there_and_torch_is_not() -> None:
    code = (
        "import sys; from wan_core.contract import *; from wan_core.contract import CONTRACT_VERSION;"
        " assert 'torch' not in sys.modules; assert Feature and Conditioning and PluginError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = contract.Nothing  # type: ignore[attr-defined]
