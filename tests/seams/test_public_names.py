"""The probes are plugins like any other: they use public names only, and the core knows nothing of them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import wan_core
from wan_core.models.families import FAMILIES
from wan_core.testing import inner_names

HERE = Path(__file__).parent
PLUGINS = sorted(HERE.glob("*/plugin.py"))
CORE = Path(wan_core.__file__).parent
LONGEST = 200


def ids(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", PLUGINS, ids=ids)
def test_only_public_names_are_used(path: Path) -> None:
    inner = inner_names(path.parent)
    assert {file: names for file, names in inner.items() if not file.startswith("test_")} == {}


@pytest.mark.parametrize("path", PLUGINS, ids=ids)
def test_a_plugin_fits_on_a_few_pages(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", PLUGINS, ids=ids)
def test_the_core_does_not_know_the_plugin(path: Path) -> None:
    plugin = importlib.import_module(f"tests.seams.{path.parent.name}.plugin")
    brought = {one.name for one in plugin.wan_register() if hasattr(one, "name")}
    names = {"tests.seams", "tests/seams", *brought}
    told = [
        (file.relative_to(CORE).as_posix(), name)
        for file in CORE.rglob("*.py")
        for name in names
        if name in file.read_text(encoding="utf-8")
    ]
    assert told == []


@pytest.mark.parametrize(
    "file",
    ["sampling/loop.py", "models/wan/block.py", "stages/driver.py", "stages/generate.py"],
)
def test_the_loop_and_the_block_name_no_family(file: str) -> None:
    code = (CORE / file).read_text(encoding="utf-8")
    names = [family.name for family in FAMILIES]
    assert [name for name in names if name in code] == []
    assert not re.search(r"family\.(name|task)|isinstance\(\w+, Wan", code)


def test_the_check_finds_what_is_not_public(tmp_path: Path) -> None:
    file = tmp_path / "plugin.py"
    file.write_text(
        "from wan_core.contract.lazy import resolve\n"
        "from wan_core.models.wan import WanBlock, nothing\n"
        "import wan_core.plugins\n"
        "def later():\n"
        "    from wan_core.models.wan.block import WanBlock\n"
        "    return 'wan_core.models.loaders:load_vae', 'wan_core.models:load_vae'\n"
    )
    assert inner_names(tmp_path) == {
        "plugin.py": [
            ("wan_core.models.wan", "nothing"),
            ("wan_core.plugins", None),
            ("wan_core.models.wan.block", "WanBlock"),
            ("wan_core.models.loaders", "load_vae"),
        ]
    }


def test_every_exported_name_is_there() -> None:
    packages = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages([str(CORE)], "wan_core.")
        if found.ispkg
    ]
    exported = [(package, name) for package in packages for name in getattr(package, "__all__", ())]
    assert len(exported) > 150
    assert [f"{p.__name__}.{name}" for p, name in exported if not hasattr(p, name)] == []
