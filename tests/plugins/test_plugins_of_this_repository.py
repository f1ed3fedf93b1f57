"""The plugins beside the core: packages of their own, on public names only, of which the core knows nothing."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import wan_core
from wan_core.contract import CONTRACT_VERSION
from wan_core.testing import inner_names, names_used

ROOT = Path(__file__).parents[2]
CORE = Path(wan_core.__file__).parent
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PACKAGES = {folder.name: f"wan_plugin_{folder.name}" for folder in PLUGINS}


def one_each(name: str = "folder") -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, PLUGINS, ids=lambda folder: folder.name)


def test_there_are_some() -> None:
    assert {"ati", "unilumos"} <= set(PACKAGES)


@one_each()
def test_only_public_names_of_the_core_are_used(folder: Path) -> None:
    assert inner_names(folder / PACKAGES[folder.name]) == {}


@one_each()
def test_no_other_plugin_is_used(folder: Path) -> None:
    others = set(PACKAGES.values()) - {PACKAGES[folder.name]}
    used = {
        module.partition(".")[0] for file in folder.rglob("*.py") for module, _ in names_used(file)
    }
    assert used & others == set()


@one_each()
def test_the_tests_need_nothing_of_the_cores_tests(folder: Path) -> None:
    used = {
        module.partition(".")[0] for file in folder.rglob("*.py") for module, _ in names_used(file)
    }
    assert used & {"tests", "zoo", "benchmarks"} == set()


@one_each()
def test_the_core_does_not_know_it(folder: Path) -> None:
    brought = importlib.import_module(PACKAGES[folder.name]).wan_register()
    names = {one.name for one in brought if hasattr(one, "name")}
    names |= {folder.name, PACKAGES[folder.name], f"wan-plugin-{folder.name}"}
    word = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(names)))})(?![\w-])")
    told = [
        f"{file.relative_to(CORE)}: {line.strip()}"
        for file in CORE.rglob("*")
        if file.suffix in (".py", ".txt", ".toml")
        for line in file.read_text(encoding="utf-8").splitlines()
        if word.search(line)
    ]
    assert told == []


@one_each()
def test_what_a_package_says_of_itself(folder: Path) -> None:
    about = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = folder.name
    assert about["name"] == f"wan-plugin-{name}"
    assert about["entry-points"]["wan_core"] == {name: PACKAGES[name]}
    (core,) = [one for one in map(Requirement, about["dependencies"]) if one.name == "wan-core"]
    assert core.specifier.contains(_version(ROOT))
    assert {one.operator for one in core.specifier} == {">=", "<"}
    assert _version(folder) in (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    made_for = importlib.import_module(PACKAGES[name]).WAN_CORE_CONTRACT
    assert made_for[0] == CONTRACT_VERSION[0]
    assert made_for <= CONTRACT_VERSION


@one_each()
def test_it_has_what_a_package_needs(folder: Path) -> None:
    for part in (
        "README.md",
        "CHANGELOG.md",
        "tests",
        "examples",
        f"{PACKAGES[folder.name]}/py.typed",
    ):
        assert (folder / part).exists(), part


def _version(folder: Path) -> str:
    about = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return str(about["project"]["version"])
