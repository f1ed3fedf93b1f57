"""Discovery of plugins: who is installed, what each brings, and who is broken.

Plugins are found by entry points of the group ``wan_core``. A plugin that fails (import error, wrong hook
signature, other contract version) is named in one line with its distribution and switched off; the others
are not affected. The core registers its own families, stages and solvers through the same hook.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, TypeVar, cast

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
    """

    name: str
    distribution: str
    version: str
    provides: tuple[str, ...] = ()
    problem: str | None = None
    enabled: bool = True


@attrs.frozen
class Found:
    """A plugin object before registration; ``load`` imports it."""

    name: str
    distribution: str
    version: str
    load: Callable[[], Any]


def installed_entry_points() -> Iterator[Found]:
    """The core itself, then every entry point of the group, sorted by name."""
    yield Found(CORE, "wan-core", _own_version(), lambda: resolve("wan_core.builtin:plugin"))
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


def _own_version() -> str:
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
    def discover(cls, disabled: Iterable[str] = ()) -> Plugins:
        """Find what is installed; ``disabled`` and ``$WAN_CORE_DISABLE`` (commas) switch plugins off."""
        from_environment = os.environ.get(DISABLE_VARIABLE, "").replace(" ", "").split(",")
        return cls(installed_entry_points(), disabled={*disabled, *filter(None, from_environment)})

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
        return tuple(resolve(d.rules) for d in self.dialects.values() if d.component == component)

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
        except Exception as error:
            owner = self._owner_of(one)
            # running out of memory is the machine's, whoever asked for it
            if owner == CORE or type(error).__name__ == "OutOfMemoryError":
                raise
            name = getattr(one, "name", "")
            raise PluginError(
                f'{_SORTS.get(type(one), "part")} "{name}" of {self._title(owner)} failed: '
                f"{_brief(error)}",
                remedy="run again with --debug and report it to the plugin's author",
            ) from error

    def title_of(self, one: Description) -> str:
        """The plugin that brought a description, with its distribution and version."""
        return self._title(self._owner_of(one))

    def _owner_of(self, one: Description) -> str:
        entry = self._registry.get((type(one), getattr(one, "name", "")))
        return entry[1] if entry else CORE

    def observers(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """Every answer to ``wan_on_event``, with the plugin's name."""
        hooks = self._manager.hook.wan_on_event.get_hookimpls()
        return [(one.plugin_name, one.function) for one in hooks]

    # -- registration -------------------------------------------------------------------------------

    def _admit(self, found: Found, off: set[str]) -> InstalledPlugin:
        listed = InstalledPlugin(found.name, found.distribution, found.version)
        if found.name in off:
            return attrs.evolve(listed, enabled=False)
        plugin: Any = None
        try:
            plugin = found.load()
            _check_contract(plugin)
            self._check_hooks(plugin)
            self._manager.register(plugin, name=found.name)
            descriptions = self._describe(plugin)
        except (Exception, SystemExit) as error:
            if plugin is not None and self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            return attrs.evolve(listed, enabled=False, problem=_brief(error))
        return attrs.evolve(
            listed, provides=tuple(self._enter(one, found.name) for one in descriptions)
        )

    def _describe(self, plugin: Any) -> list[Description]:
        for answer in self._manager.hook.wan_register.get_hookimpls():
            if answer.plugin is plugin:
                descriptions: list[Description] = list(cast("Any", answer.function()))
                for one in descriptions:
                    if not isinstance(one, (*_SORTS, GoldenKinds)):
                        raise TypeError(f"wan_register returned {one!r}, which is no description")
                return descriptions
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
        for name in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, name)
            if options is not None and not hasattr(hookspecs, options.get("specname") or name):
                hooks = [n for n in dir(hookspecs) if n.startswith("wan_")]
                raise TypeError(f"there is no hook {name}; {nearest(name, hooks)}")

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
        broken = [p.name for p in self.installed if p.problem]
        hint = nearest(name, known)
        if not hint.startswith("did you mean"):
            root = name.split("-")[0].split(".")[0]
            if root in broken:
                hint = f"plugin {root} is installed but broken, see wan-core plugins"
            elif sort in (Stage, Feature):
                hint = f"is its package installed? Try pip install wan-plugin-{root}"
        raise PluginError(f'no installed plugin brings the {_SORTS[sort]} "{name}"', remedy=hint)

    def _title(self, name: str) -> str:
        for one in self.installed:
            if one.name == name:
                return f"plugin {name} ({one.distribution} {one.version})"
        return f"plugin {name}"


def _check_contract(plugin: Any) -> None:
    wanted = getattr(plugin, "WAN_CORE_CONTRACT", None)
    ours = ".".join(map(str, CONTRACT_VERSION))
    if wanted is None:
        raise TypeError(
            f"it does not state its contract version (WAN_CORE_CONTRACT = {CONTRACT_VERSION})"
        )
    theirs = ".".join(map(str, wanted))
    if wanted[0] != CONTRACT_VERSION[0] or tuple(wanted) > CONTRACT_VERSION:
        raise TypeError(f"it was made for contract {theirs}, this wan-core has {ours}")


def _brief(error: BaseException) -> str:
    """An exception on one line, the way a user can act on it."""
    text = " ".join(str(error).split())
    if isinstance(error, WanCoreError | TypeError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
