"""Discovery of plugins: who is installed, what each brings, and who is broken.

Plugins are found by entry points of the group ``wan_core``. A plugin that fails (import error, wrong hook
signature, other contract version) is named in one line with its distribution and switched off; the others
are not affected. The core registers its own families, stages and solvers through the same hook.
"""

from __future__ import annotations

import importlib
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, TypeVar

import attrs
import pluggy

from wan_core import hookspecs
from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import (
    AttentionBackend,
    Command,
    Description,
    Dialect,
    Family,
    Feature,
    GoldenKinds,
    Solver,
    Stage,
)
from wan_core.contract.errors import PluginError, WanCoreError, nearest
from wan_core.contract.lazy import resolve
from wan_core.kernels import is_shortage

CORE = "core"
DISABLE_VARIABLE = "WAN_CORE_DISABLE"
_SORTS: Mapping[type, str] = {
    Family: "family",
    Stage: "stage",
    Feature: "feature",
    Solver: "solver",
    AttentionBackend: "attention backend",
    Dialect: "dialect",
    Command: "command",
}
_D = TypeVar("_D")


@attrs.frozen
class InstalledPlugin:
    """One plugin as ``wan-core plugins`` lists it.

    Attributes:
        name: of the entry point; what ``--without`` takes.
        distribution, version: of the package that brought it.
        provides: ``"family wan2.1-t2v-14b"``, ``"stage generate"`` …
        problem: why it is not in use, or None.
        enabled: False when it is broken or switched off.
        contract: version of the contract that it was made for, ``"1.0"``; ``""`` = not known, as it was not
            imported or does not say so.
    """

    name: str
    distribution: str
    version: str
    provides: tuple[str, ...] = ()
    problem: str | None = None
    enabled: bool = True
    contract: str = ""


@attrs.frozen
class Found:
    """A plugin object before registration; ``load`` imports it."""

    name: str
    distribution: str
    version: str
    load: Callable[[], Any]


def installed_entry_points() -> Iterator[Found]:
    """The core itself, then every entry point of the group, sorted by name."""
    yield Found(CORE, "wan-core", own_version(), lambda: resolve("wan_core.builtin:plugin"))
    for point in sorted(
        metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP), key=lambda p: p.name
    ):
        distribution = point.dist
        yield Found(
            point.name,
            distribution.name if distribution else "unknown distribution",
            distribution.version if distribution else "?",
            point.load,
        )


def _of_module(name: str) -> Found:
    return Found(name, "not installed", "-", lambda: importlib.import_module(name))


def own_version() -> str:
    """The version of wan-core."""
    try:
        return metadata.version("wan-core")
    except metadata.PackageNotFoundError:
        return "0+source"


class Plugins:
    """The plugins in use and everything they registered, by name.

    Build it with :meth:`discover`; hand a list of :class:`Found` to the constructor in tests.
    """

    def __init__(self, found: Iterable[Found], *, disabled: Iterable[str] = ()) -> None:
        self._manager = pluggy.PluginManager("wan_core")
        self._manager.add_hookspecs(hookspecs)
        self._registry: dict[tuple[type, str], tuple[Any, str]] = {}
        self._conflicts: dict[tuple[type, str], tuple[str, ...]] = {}
        self._golden: list[str] = []
        off = set(disabled) - {CORE}
        self.installed = tuple(self._admit(one, off) for one in found)

    @classmethod
    def discover(cls, disabled: Iterable[str] = (), *, modules: Iterable[str] = ()) -> Plugins:
        """Find what is installed; ``disabled`` and ``$WAN_CORE_DISABLE`` (commas) switch plugins off.

        Args:
            modules: plugins that are not installed, by the names of their modules.
        """
        from_environment = os.environ.get(DISABLE_VARIABLE, "").replace(" ", "").split(",")
        found = [*installed_entry_points(), *map(_of_module, modules)]
        return cls(found, disabled={*disabled, *filter(None, from_environment)})

    # -- what is there ------------------------------------------------------------------------------

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each broken plugin and each name that two plugins claim."""
        broken = [
            f"plugin {p.name} ({p.distribution} {p.version}): {p.problem}"
            for p in self.installed
            if p.problem
        ]
        claimed = [
            f"{_SORTS[sort]} {name!r} is claimed by plugins {' and '.join(owners)}"
            for (sort, name), owners in self._conflicts.items()
        ]
        return tuple(broken + claimed)

    @property
    def families(self) -> Mapping[str, Family]:
        return self._all(Family)

    @property
    def stages(self) -> Mapping[str, Stage]:
        return self._all(Stage)

    @property
    def features(self) -> Mapping[str, Feature]:
        return self._all(Feature)

    @property
    def solvers(self) -> Mapping[str, Solver]:
        return self._all(Solver)

    @property
    def attention_backends(self) -> Mapping[str, AttentionBackend]:
        return self._all(AttentionBackend)

    @property
    def dialects(self) -> Mapping[str, Dialect]:
        return self._all(Dialect)

    def dialects_of(self, component: str) -> tuple[Any, ...]:
        """The :class:`wan_core.weights.Dialect` objects that plugins bring for a component kind."""
        found = []
        for one in self.dialects.values():
            if one.component == component:
                with self.attributed(one):
                    found.append(resolve(one.rules))
        return tuple(found)

    @property
    def commands(self) -> Mapping[str, Command]:
        return self._all(Command)

    @property
    def golden_handlers(self) -> tuple[str, ...]:
        """Import strings of ``{kind: handler}`` for the golden runner."""
        return tuple(self._golden)

    def family(self, name: str) -> Family:
        """The family of that name, or an error that says where it could come from."""
        return self._one(Family, name)

    def stage(self, name: str) -> Stage:
        """The stage of that name, or an error that says where it could come from."""
        return self._one(Stage, name)

    def feature(self, name: str) -> Feature:
        """The feature of that name, or an error that says where it could come from."""
        return self._one(Feature, name)

    def solver(self, name: str) -> Solver:
        """The solver of that name, or an error that says where it could come from."""
        return self._one(Solver, name)

    def attention_backend(self, name: str) -> AttentionBackend:
        """The attention backend of that name, or an error that says where it could come from."""
        return self._one(AttentionBackend, name)

    def owner(self, feature: str) -> str:
        """Name of the plugin that brought the feature."""
        self.feature(feature)
        return self._registry[Feature, feature][1]

    # -- calling hooks ------------------------------------------------------------------------------

    def call_feature(self, hook: str, feature: str, **arguments: Any) -> Any:
        """Call a feature hook of the one plugin that brought the feature.

        Returns None when that plugin does not answer the hook.

        Raises:
            PluginError: the hook raised something that is no :class:`WanCoreError`.
        """
        owner = self.owner(feature)
        others = [p for name, p in self._manager.list_name_plugin() if name != owner and p]
        caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
        with self.attributed(self.feature(feature)):
            answers = caller(**arguments)
        return answers[0] if answers else None

    @contextmanager
    def attributed(self, one: Description) -> Iterator[None]:
        """A region that runs a plugin's code: what goes wrong in it is told as the plugin's.

        Raises:
            PluginError: something that is no :class:`WanCoreError` was raised in a plugin that is not
                the core.
        """
        try:
            yield
        except (WanCoreError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            # running out of memory is the machine's, whoever asked for it
            if self.is_core(one) or is_shortage(error):
                raise
            raise PluginError(
                f"{self.title_of(one)} failed: {brief(error)}",
                remedy="run again with --debug and report it to the plugin's author",
            ) from error

    def title_of(self, one: Description) -> str:
        """A description with its plugin: ``feature "fade" of plugin fade (wan-plugin-fade 1.0)``."""
        sort, name = _SORTS.get(type(one), "part"), getattr(one, "name", "")
        return f'{sort} "{name}" of {self._title(self._owner_of(one))}'

    def is_core(self, one: Description) -> bool:
        """Whether the core itself brought it."""
        return self._owner_of(one) == CORE

    def _owner_of(self, one: Description) -> str:
        entry = self._registry.get((type(one), getattr(one, "name", "")))
        return entry[1] if entry else CORE

    def observers(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """Every answer to ``wan_on_event``, with the plugin and its distribution."""
        hooks = self._manager.hook.wan_on_event.get_hookimpls()
        return [(self._title(one.plugin_name), one.function) for one in hooks]

    # -- registration -------------------------------------------------------------------------------

    def _admit(self, found: Found, off: set[str]) -> InstalledPlugin:
        listed = InstalledPlugin(found.name, found.distribution, found.version)
        if found.name in off:
            return attrs.evolve(listed, enabled=False)
        # an object that another entry point brought, too, stays registered for that one
        registered: Any = None
        try:
            plugin = found.load()
            listed = attrs.evolve(listed, contract=_contract(plugin))
            _check_contract(listed.contract)
            self._check_hooks(plugin)
            self._manager.register(plugin, name=found.name)
            registered = plugin
            descriptions = self._describe(plugin)
        except (Exception, SystemExit) as error:
            if registered is not None:
                self._manager.unregister(registered)
            return attrs.evolve(listed, enabled=False, problem=brief(error))
        return attrs.evolve(
            listed, provides=tuple(self._enter(one, found.name) for one in descriptions)
        )

    def _describe(self, plugin: Any) -> list[Description]:
        for answer in self._manager.hook.wan_register.get_hookimpls():
            if answer.plugin is plugin:
                given: Any = answer.function()
                if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
                    raise TypeError(
                        f"wan_register returned {reprlib.repr(given)}, not a list of descriptions"
                    )
                return _checked(given)
        return []

    def _enter(self, one: Description, owner: str) -> str:
        if isinstance(one, GoldenKinds):
            self._golden.append(one.handlers)
            return f"reference cases {one.handlers}"
        key = (type(one), one.name)
        if key in self._registry:
            earlier = self._conflicts.get(key, (self._registry[key][1],))
            self._conflicts[key] = (*earlier, owner)
        else:
            self._registry[key] = (one, owner)
        return f"{_SORTS[type(one)]} {one.name}"

    def _check_hooks(self, plugin: Any) -> None:
        hooks = [name for name in dir(hookspecs) if name.startswith("wan_")]
        for name in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, name)
            if options is not None:
                hook = options.get("specname") or name
                if hook not in hooks:
                    raise TypeError(f"there is no hook {hook}; {nearest(hook, hooks)}")
            elif name in hooks:
                raise TypeError(f"{name} is not marked with @hookimpl")

    # -- look-up ------------------------------------------------------------------------------------

    def _all(self, sort: type[_D]) -> Mapping[str, _D]:
        return {
            name: entry[0]
            for (kind, name), entry in sorted(self._registry.items(), key=lambda i: i[0][1])
            if kind is sort and (kind, name) not in self._conflicts
        }

    def _one(self, sort: type[_D], name: str) -> _D:
        if owners := self._conflicts.get((sort, name)):
            raise PluginError(
                f'{_SORTS[sort]} "{name}" is claimed by plugins {" and ".join(owners)}',
                remedy=f"switch one of them off with --without {owners[-1]}",
            )
        known = self._all(sort)
        if name in known:
            return known[name]
        raise PluginError(
            f'no plugin in use brings the {_SORTS[sort]} "{name}"',
            remedy=self._hint(sort, name, known),
        )

    def _hint(self, sort: type, name: str, known: Iterable[str]) -> str:
        """Where something that is not there could come from."""
        root = name.split("-")[0].split(".")[0]
        unused = [p for p in self.installed if not p.enabled]
        for one in unused:
            if {one.name, one.distribution} & {
                name,
                root,
                f"wan-plugin-{name}",
                f"wan-plugin-{root}",
            }:
                return f"{self._title(one.name)} is installed but {_why_unused(one)}"
        hint = nearest(name, known)
        if not hint.startswith("did you mean"):
            if sort in (Stage, Feature):
                hint = f"is its package installed? Try pip install wan-plugin-{root}"
            if unused:
                hint += (
                    f"; not in use are {', '.join(p.name for p in unused)}, see wan-core plugins"
                )
        return hint

    def _title(self, name: str) -> str:
        for one in self.installed:
            if one.name == name:
                return f"plugin {name} ({one.distribution} {one.version})"
        return f"plugin {name}"


def _why_unused(one: InstalledPlugin) -> str:
    if one.problem:
        return f"broken: {one.problem}"
    return f"switched off (by --without or {DISABLE_VARIABLE})"


def _checked(given: Iterable[Any]) -> list[Description]:
    """What ``wan_register`` returned, when it is descriptions with a name each."""
    descriptions: list[Description] = []
    seen: set[tuple[type, Any]] = set()
    for one in given:
        if type(one) not in (*_SORTS, GoldenKinds):
            raise TypeError(f"wan_register returned {reprlib.repr(one)}, which is no description")
        named = (type(one), getattr(one, "name", one))
        if named in seen:
            what = _SORTS.get(type(one), "reference cases")
            raise TypeError(f"wan_register returned the {what} {named[1]!r} twice")
        seen.add(named)
        descriptions.append(one)
    return descriptions


def _contract(plugin: Any) -> str:
    """The version of the contract that a plugin states, as ``"1.0"``."""
    stated = f"state it as WAN_CORE_CONTRACT = {CONTRACT_VERSION}"
    wanted = getattr(plugin, "WAN_CORE_CONTRACT", None)
    if wanted is None:
        raise TypeError(f"it does not state its contract version; {stated}")
    if (
        not isinstance(wanted, tuple | list)
        or len(wanted) != 2
        or not all(type(part) is int and part >= 0 for part in wanted)
    ):
        raise TypeError(
            f"its contract version {reprlib.repr(wanted)} is not major and minor; {stated}"
        )
    return ".".join(map(str, wanted))


def _check_contract(theirs: str) -> None:
    wanted, ours = tuple(map(int, theirs.split("."))), ".".join(map(str, CONTRACT_VERSION))
    if wanted[0] != CONTRACT_VERSION[0] or wanted > CONTRACT_VERSION:
        raise TypeError(f"it was made for contract {theirs}, this wan-core has {ours}")


def brief(error: BaseException) -> str:
    """An exception on one line, the way a user can act on it, without a final full stop."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a plugin's own class may fail at this, too
        text = ""
    if isinstance(error, WanCoreError | TypeError) and text:
        return text.removesuffix(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
