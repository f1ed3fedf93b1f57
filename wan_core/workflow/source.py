"""Where a workflow came from: so that every message can name file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from wan_core.workflow.lines import KeyPath, ancestors, read_where, write_key

LONE_MODEL = ("models", "main")
"""A lone ``[model]`` table is short for this one."""


@attrs.frozen
class Source:
    """The file, its folder, and the lines and overrides that its values came from.

    Attributes:
        name: the file's name.
        folder: the folder that relative paths start from.
        lines: path of a key -> line in the file.
        overrides: path of a key -> the option that overruled it, ``"-s stages.0.seed"``.
        lone_model: the file says ``[model]`` for ``[models.main]``.
        label: of a sweep, which of its runs this is: ``"seed 7"``.
        varied: of a sweep, the swept keys, each with what tells files apart: ``("seed", "7")``.
    """

    name: str = "workflow"
    folder: Path = Path()
    lines: Mapping[KeyPath, int] = attrs.field(factory=dict, repr=False)
    overrides: Mapping[KeyPath, str] = attrs.field(factory=dict, repr=False)
    lone_model: bool = False
    label: str = ""
    varied: tuple[tuple[str, str], ...] = ()

    def where(self, key: str | KeyPath) -> str:
        """Name the place of a key for a message.

        Args:
            key: ``"stages.0.steps"`` or ``("stages", 0, "steps")``.

        Returns:
            ``"hello.toml, line 7, stages.0.steps"``; for a key that the file leaves out, the line
            of the table it would stand in; for an override, ``"-s stages.0.steps"``.
        """
        path = read_where(key) if isinstance(key, str) else key
        for above in ancestors(path):
            if above in self.overrides:
                return self.overrides[above]
        written = self.written(path)
        if written not in self.lines:
            for made, override in self.overrides.items():
                if made[: len(path)] == path:
                    return override
        line = next((self.lines[p] for p in ancestors(written) if p in self.lines), None)
        parts = [self.name, f"line {line}" if line else "", write_key(written)]
        return ", ".join(part for part in parts if part)

    def overruled(self, path: KeyPath, option: str) -> Source:
        """The same, with a key whose value an option of the command line has replaced."""
        return attrs.evolve(self, overrides={**self.overrides, path: option})

    def written(self, path: KeyPath) -> KeyPath:
        """The path as the file spells it: ``model`` for ``models.main`` when it says so."""
        if self.lone_model and path[:2] == LONE_MODEL:
            return ("model", *path[2:])
        return path
