"""Where the files that a workflow names are: as it says, or in the library."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import attrs

from wan_core.contract.descriptions import Family
from wan_core.contract.errors import PluginError, WeightsError, WorkflowError
from wan_core.contract.options import show
from wan_core.planning.fitting import bundled
from wan_core.planning.library import Library
from wan_core.weights import printable
from wan_core.weights.places import exists


@attrs.frozen
class Places:
    """The places where files of a workflow may be.

    Attributes:
        library: the folders of this machine.
        folder: that of the workflow.
        assume: the outline of a published file stands in for one that is not here.
        packaged: folders of the files that came with installed packages: whoever trusts these reads them.
    """

    library: Library
    folder: Path
    assume: bool = False
    packaged: set[Path] = attrs.field(factory=set, init=False)

    def bundled(self, name: str, where: str) -> Path:
        """A file that comes with an installed package, as a family names it.

        Args:
            where: the place in the workflow that asks for the family, for messages.

        Raises:
            PluginError: it is not there.
        """
        try:
            path = bundled(name)
        except PluginError as error:
            error.place(where)
            raise
        self.packaged.add(Path(os.path.realpath(path if path.is_dir() else path.parent)))
        return path

    def locate(self, family: Family, path: Path, where: str) -> Path:
        """The file or folder that a workflow names.

        Args:
            family: of the model that it is for.
            path: as the workflow gives it, from the workflow's folder.
            where: its place in the workflow, for messages.

        Raises:
            WorkflowError: several files have the name.
            WeightsError: none has; or it must not be used (:meth:`allow`).
        """
        if exists(path):
            self.allow(path, where)
            return path
        name = self._name(path)
        try:
            found = self.library.find(name) if name else None
        except WorkflowError as error:
            error.where = where
            raise
        if found is None:
            if _leads_nowhere(path):
                raise WeightsError(
                    f"{show(path)} is a link that leads nowhere",
                    where=where,
                    remedy="download the file again, or correct the link",
                )
            raise WeightsError(
                f"{printable(str(path))} does not exist{self._searched(name)}",
                where=where,
                remedy=self._remedy(family, path.name, bool(name)),
            )
        self.allow(found, where)
        return found

    def allow(self, path: Path, where: str) -> None:
        """Refuse a file outside the folders of a confined library.

        Raises:
            WeightsError: it lies outside.
        """
        if not self.library.confined or Path(os.path.realpath(path)).parent in self.packaged:
            return
        if not self.library.contains(path):
            raise WeightsError(
                f"{show(path)} lies outside the model folders, which --untrusted allows alone",
                where=where,
                remedy="name its folder in [paths] models of the configuration if it is yours",
            )

    def _name(self, path: Path) -> str:
        """The path as the workflow writes it, when that is a name the library may know."""
        if ".." in path.parts or not path.is_relative_to(self.folder):
            return ""
        return path.relative_to(self.folder).as_posix()

    def _searched(self, name: str) -> str:
        if not name:
            return ""
        folders = [str(show(one)) for one in self.library.folders if one.is_dir()]
        if not folders:
            return ", and there are no model folders to look in"
        return f", and nothing in {', '.join(folders)} is called so"

    def _remedy(self, family: Family, name: str, searched: bool) -> str:
        published = {
            PurePosixPath(file.path).name
            for part in family.components.values()
            for file in part.published
        }
        if name in published:
            return f"run wan-core models pull {family.name}, or correct the path"
        close = self.library.nearest(name) if searched else ""
        return f"did you mean {show(close)}" if close else "correct the path"


def _leads_nowhere(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False
