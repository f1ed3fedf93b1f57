"""Discovery: a broken plugin is named in one line and takes nobody down."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import attrs
import pytest

from wan_core.contract.descriptions import Dialect, Feature, Stage
from wan_core.contract.errors import PluginError
from wan_core.hookspecs import hookimpl
from wan_core.plugins import CORE, Found, Plugins, installed_entry_points


def plugin(*descriptions: Any, contract: Any = (1, 0), **hooks: Any) -> ModuleType:
    made = ModuleType("plugin")
    vars(made).update(hooks, wan_register=hookimpl(lambda: list(descriptions)))
    if contract is not None:
        vars(made)["WAN_CORE_CONTRACT"] = contract
    return made


def feature(name: str, **more: Any) -> Feature:
    return Feature(name=name, summary="", options="builtins:object", **more)


def found(name: str, plugin: Any) -> Found:
    def load() -> Any:
        if isinstance(plugin, Exception):
            raise plugin
        return plugin

    return Found(name, f"wan-plugin-{name}", "1.2.3", load)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def unspeakable() -> Any:
    raise Unspeakable


def registering(function: Any) -> ModuleType:
    made = plugin()
    vars(made)["wan_register"] = hookimpl(lambda: function())
    return made


def unmarked(name: str) -> ModuleType:
    made = plugin()

    def hook() -> list[Any]:
        return []

    vars(made)[name] = hook
    return made


CORE_FOUND = next(iter(installed_entry_points()))


def test_the_core_is_its_own_first_plugin() -> None:
    plugins = Plugins([CORE_FOUND])
    assert plugins.installed[0].name == CORE
    assert plugins.installed[0].enabled
    assert {"tiny-t2v", "wan2.1-t2v-14b"} <= set(plugins.families)
    assert "generate" in plugins.stages
    assert "unipc" in plugins.solvers


BROKEN = [
    (ImportError("No module named 'nothere'"), "ImportError: No module named 'nothere'"),
    (
        plugin(contract=None),
        "it does not state its contract version; state it as WAN_CORE_CONTRACT = (1, 1)",
    ),
    (plugin(contract=(2, 0)), "it was made for contract 2.0, this wan-core has 1.1"),
    (plugin(contract=(1, 9)), "it was made for contract 1.9, this wan-core has 1.1"),
    (
        plugin(wan_condition=hookimpl(lambda request, nonsense: None)),
        "nonsense",
    ),
    (
        plugin(wan_conditoin=hookimpl(lambda request: None)),
        "there is no hook wan_conditoin; did you mean",
    ),
    (plugin("a string"), "wan_register returned 'a string', which is no description"),
    (plugin(Feature), "which is no description"),
    (plugin(attrs.make_class("Own", [], bases=(Feature,))("a", "", "")), "is no description"),
    (plugin(feature("a"), feature("a")), "wan_register returned the feature 'a' twice"),
    (registering(lambda: None), "wan_register returned None, not a list of descriptions"),
    (registering(lambda: "ab"), "wan_register returned 'ab', not a list of descriptions"),
    (
        registering(lambda: [feature(5)]),
        "Feature: name must be a name of visible characters, not 5",
    ),
    (registering(lambda: sys.exit("no")), "SystemExit: no"),
    (registering(unspeakable), "Unspeakable"),
    (unmarked("wan_register"), "wan_register is not marked with @hookimpl"),
    (unmarked("wan_post_process"), "wan_post_process is not marked with @hookimpl"),
]
for stated in ((1,), 1, "1.0", 1.0, (1, 0, 0), (True, 0), (1, -1), ("1", "0"), {1: 0}):
    BROKEN.append((plugin(contract=stated), "state it as WAN_CORE_CONTRACT = (1, 1)"))


@pytest.mark.parametrize(("broken", "says"), BROKEN)
def test_a_broken_plugin_is_named_in_one_line_and_the_others_go_on(broken: Any, says: str) -> None:
    plugins = Plugins([CORE_FOUND, found("bad", broken), found("good", plugin(feature("blur")))])
    (problem,) = plugins.problems
    assert problem.startswith("plugin bad (wan-plugin-bad 1.2.3): ")
    assert says in problem
    assert "\n" not in problem
    assert "blur" in plugins.features
    assert "generate" in plugins.stages


def test_a_plugin_that_is_switched_off_is_not_even_imported() -> None:
    plugins = Plugins([CORE_FOUND, found("bad", AssertionError("imported"))], disabled=["bad"])
    assert not plugins.problems
    assert not plugins.installed[1].enabled


def test_environment_switches_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_CORE_DISABLE", "core, something")
    plugins = Plugins.discover()
    assert plugins.installed[0].enabled, "the core can't be switched off"


def test_modules_are_plugins_that_need_no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blur_here", plugin(feature("blur")))
    plugins = Plugins.discover(modules=["blur_here"])
    assert plugins.owner("blur") == "blur_here"
    assert plugins.installed[-1].distribution == "not installed"
    (problem,) = Plugins.discover(modules=["no.such.module"]).problems
    assert problem.startswith("plugin no.such.module (not installed -): ModuleNotFoundError")


def test_two_plugins_with_one_name_are_in_conflict_until_one_is_off() -> None:
    both = [found("one", plugin(feature("blur"))), found("two", plugin(feature("blur")))]
    plugins = Plugins(both)
    assert plugins.problems == ("feature 'blur' is claimed by plugins one and two",)
    with pytest.raises(PluginError, match="claimed by plugins one and two; switch one of them off"):
        plugins.feature("blur")
    assert Plugins(both, disabled=["two"]).feature("blur").name == "blur"


def test_an_unknown_name_gets_the_nearest_or_the_package() -> None:
    plugins = Plugins([CORE_FOUND])
    with pytest.raises(PluginError, match='did you mean "generate"'):
        plugins.stage("genrate")
    with pytest.raises(PluginError, match="pip install wan-plugin-sharpen"):
        plugins.feature("sharpen")
    broken = Plugins([found("sharpen", ImportError("x"))])
    for name in ("sharpen", "sharpen-more", "sharpen.edges"):
        with pytest.raises(PluginError) as caught:
            broken.feature(name)
        assert str(caught.value) == (
            f'no plugin in use brings the feature "{name}"; plugin sharpen (wan-plugin-sharpen '
            "1.2.3) is installed but broken: ImportError: x."
        )
    with pytest.raises(PluginError, match="not in use are sharpen, see wan-core plugins"):
        broken.feature("blur")


def test_a_name_of_a_plugin_that_is_switched_off_says_so() -> None:
    plugins = Plugins([found("fade", plugin(feature("fade")))], disabled=["fade"])
    says = r"plugin fade \(wan-plugin-fade 1\.2\.3\) is installed but switched off \(by --without"
    with pytest.raises(PluginError, match=says):
        plugins.feature("fade")


@pytest.mark.parametrize("contract", [(1, 0), [1, 0], (1, 1)])
def test_a_contract_is_a_tuple_or_a_list_and_older_ones_are_served(contract: Any) -> None:
    plugins = Plugins([found("one", plugin(contract=contract))])
    assert not plugins.problems
    assert plugins.installed[0].contract == f"{contract[0]}.{contract[1]}"


def test_an_object_that_two_entry_points_name_stays_in_use_under_the_first() -> None:
    @hookimpl
    def wan_condition(request: Any, conditioning: Any) -> str:
        return "answered"

    shared = plugin(feature("blur"), wan_condition=wan_condition)
    plugins = Plugins([found("one", shared), found("two", shared)])
    (problem,) = plugins.problems
    assert problem.startswith("plugin two")
    answer = plugins.call_feature("wan_condition", "blur", request=None, conditioning=None)
    assert answer == "answered"


def test_a_dialect_that_does_not_import_names_the_plugin() -> None:
    plugins = Plugins([found("one", plugin(Dialect("mine", "wan-vae", "nowhere_at_all:x")))])
    with pytest.raises(PluginError, match=r'dialect "mine" of plugin one .* No module named'):
        plugins.dialects_of("wan-vae")


def test_only_the_owner_of_a_feature_is_called() -> None:
    calls: list[str] = []

    def answering(name: str) -> Any:
        @hookimpl
        def wan_condition(request: Any, conditioning: Any) -> Any:
            calls.append(name)
            return f"{conditioning}+{name}"

        return plugin(feature(name), wan_condition=wan_condition)

    plugins = Plugins([found(n, answering(n)) for n in ("one", "two")])
    answer = plugins.call_feature("wan_condition", "two", request=None, conditioning="c")
    assert answer == "c+two"
    assert calls == ["two"]
    assert plugins.call_feature("wan_patch_attention", "two", request=None) is None


@pytest.mark.parametrize("raised", [ZeroDivisionError, SystemExit])
def test_an_exception_in_a_hook_names_the_plugin(raised: type[BaseException]) -> None:
    @hookimpl
    def wan_condition(request: Any, conditioning: Any) -> Any:
        raise raised("oops")

    plugins = Plugins([found("one", plugin(feature("one"), wan_condition=wan_condition))])
    says = (
        rf'feature "one" of plugin one \(wan-plugin-one 1\.2\.3\) failed: {raised.__name__}: oops'
    )
    with pytest.raises(PluginError, match=says):
        plugins.call_feature("wan_condition", "one", request=None, conditioning=None)


def test_what_a_plugin_provides_is_listed() -> None:
    stage = Stage(name="shine", summary="", options="builtins:object", run="builtins:print")
    plugins = Plugins([found("one", plugin(feature("blur"), stage))])
    assert plugins.installed[0].provides == ("feature blur", "stage shine")
