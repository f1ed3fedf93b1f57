"""What it takes to read a table of a workflow: the plugins, and errors that name the place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from wan_core.contract.descriptions import Feature, Stage
from wan_core.contract.errors import PluginError, WanCoreError, WorkflowError
from wan_core.contract.lazy import resolve
from wan_core.contract.options import show
from wan_core.workflow.lines import KeyPath, write_key
from wan_core.workflow.source import Source
from wan_core.workflow.structure import REPORT, MisfitError, Structurer, options_of

if TYPE_CHECKING:
    from wan_core.plugins import Plugins

_T = TypeVar("_T")


class Reader:
    """Reads values of one document. Every method takes the path of what it reads."""

    def __init__(self, plugins: Plugins, source: Source) -> None:
        self.plugins = plugins
        self.source = source
        outputs = {name for stage in plugins.stages.values() for name in stage.outputs}
        self._structurer = Structurer(source.folder, outputs)

    def table(self, path: KeyPath, raw: object) -> dict[str, Any]:
        """``raw``, which has to be a table."""
        if not isinstance(raw, dict):
            title = self.title(path)
            remedy = "in single brackets" if isinstance(raw, list) else "and its keys below it"
            problem = f"{title} must be a table, not {show(raw)}"
            self.refuse(path, problem, f"write {title} {remedy}")
        return raw

    def tables(self, path: KeyPath, raw: object) -> list[dict[str, Any]]:
        """``raw``, which has to be a list of tables (``[[stages]]``)."""
        header = ".".join(part for part in path if isinstance(part, str))
        remedy = f"begin each with [[{header}]], in double brackets"
        if not isinstance(raw, list):
            name = write_key(path)
            self.refuse(path, f"{name} must be a list of tables, not {show(raw)}", remedy)
        for index, one in enumerate(raw):
            if not isinstance(one, dict):
                place = (*path, index)
                self.refuse(place, f"{write_key(place)} must be a table, not {show(one)}", remedy)
        return raw

    def value(self, path: KeyPath, raw: object, kind: Any) -> Any:
        """``raw`` as what the annotation ``kind`` says."""
        with self.at(path):
            return self._structurer.value(raw, kind)

    def known(self, path: KeyPath, raw: object, sort: str) -> str:
        """``raw``, which has to be the name of something of this sort that a plugin brings."""
        name: str = self.value(path, raw, str)
        if not name.isprintable():
            self.refuse(path, f"{show(name)} is no name")
        with self.at(path):
            getattr(self.plugins, sort)(name)
        return name

    def structure(
        self,
        path: KeyPath,
        raw: object,
        cls: type[_T],
        *,
        title: str = "",
        given: Mapping[str, Any] | None = None,
        also: AbstractSet[str] = frozenset(),
    ) -> _T:
        """A table as an instance of ``cls``; names of things that plugins bring are checked.

        Args:
            title: the table in words; its header when left out.
            given: attributes that are known already.
            also: keys that somebody else reads.
        """
        table = self.table(path, raw)
        title = title or self.title(path)
        with self.at(path):
            result = self._structurer.table(table, cls, title, given=given, also=also)
        for key, field in options_of(cls).items():
            sort, name = field.metadata.get("registry"), getattr(result, field.name)
            if sort and name is not None:
                self.known((*path, key), name, sort)
        return result

    def options_class(
        self, path: KeyPath, description: Stage | Feature, reserved: AbstractSet[str]
    ) -> type[Any]:
        """The class of a description's options. It is a plugin's code, so anything may go wrong.

        Args:
            reserved: keys that mean something else, so that no option can be called like them.
        """
        name = show(description.name)
        with self.at(path):
            try:
                cls: type[Any] = resolve(description.options)
            except Exception as error:
                problem = f"the options of {name} can't be imported ({error!r})"
                raise PluginError(problem, remedy=REPORT) from error
            if taken := sorted(reserved & options_of(cls).keys()):
                problem = f"{name} has options called {', '.join(taken)}, which mean something else"
                raise PluginError(problem, remedy=REPORT)
        return cls

    def title(self, path: KeyPath) -> str:
        """A table as its header says it: ``[models.main]``."""
        return f"[{write_key(self.source.written(path))}]"

    def refuse(self, path: KeyPath, problem: str, remedy: str = "") -> NoReturn:
        """Raise a :class:`WorkflowError` that names the place."""
        raise WorkflowError(problem, where=self.source.where(path), remedy=remedy)

    @contextmanager
    def at(self, path: KeyPath) -> Iterator[None]:
        """Name the place in errors that don't know it."""
        try:
            yield
        except MisfitError as misfit:
            place = (*path, *misfit.path)
            self.refuse(place, misfit.said_of(self.source.written(place)), misfit.remedy)
        except RecursionError:
            self.refuse(path, "lists or tables are nested too deeply", "flatten them")
        except WanCoreError as error:
            error.where = error.where or self.source.where(path)
            raise
