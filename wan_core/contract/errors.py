"""Errors a user can cause. Each is one sentence: what is wrong, where, what to do.

The command line prints ``str(error)`` and exits with ``error.exit_code``; a traceback is shown only
with ``--debug``. The exit codes are documented in ``docs/guide/command-line.md``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class WanCoreError(Exception):
    """Base of every error that a user, a file or a machine can cause.

    Args:
        problem: what is wrong, as a sentence without a final full stop.
        where: file, line and key, e.g. ``"hello.toml, line 7, stages.0.steps"``; may be empty.
        remedy: what to do about it, as a phrase without a final full stop; may be empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, where: str = "", remedy: str = "") -> None:
        self.problem = problem
        self.where = where
        self.remedy = remedy
        super().__init__(problem)

    def place(self, where: str) -> None:
        """Put a place in front of the error's own: that of what led to it."""
        self.where = ", ".join(dict.fromkeys(filter(None, (where, self.where))))

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}; {self.remedy}." if self.remedy else f"{text}."


class WorkflowError(WanCoreError):
    """The workflow file (or an override) says something that cannot be meant."""

    exit_code = 2


class WeightsError(WanCoreError):
    """A weight file is missing, damaged, or not what its slot needs."""

    exit_code = 3


class PluginError(WanCoreError):
    """A plugin is missing, broken, or in conflict with another."""

    exit_code = 4


class ResourceError(WanCoreError):
    """The machine lacks something: memory, disk, a device, a permission."""

    exit_code = 5


class DeadLatentsError(WanCoreError):
    """Sampling went wrong in a way that would have given a black or broken video."""

    exit_code = 6


class MediaError(WanCoreError):
    """A picture, video or sound cannot be read or written."""

    exit_code = 7


class Cancelled(WanCoreError):
    """The user stopped the run."""

    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy naming the known word closest to ``word``, or all of them when none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'.rstrip("?")
    return "known are: " + ", ".join(known) if known else ""
