"""Every failure as one sentence and an exit code."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TextIO

import click

from wan_core.contract.errors import Cancelled, ResourceError, WanCoreError, WorkflowError
from wan_core.weights.places import printable

INTERNAL_ERROR = 1
BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE has ended


def explain(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code for an error."""
    if isinstance(error, click.ClickException):
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        problem = error.format_message().rstrip(".")
        problem = problem[:1].lower() + problem[1:]
        error = WorkflowError(problem, where=path, remedy=f"see {path or 'wan-core'} --help")
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        error = Cancelled("stopped")
    if isinstance(error, MemoryError):
        error = ResourceError("this machine has no more memory", remedy="use a smaller size")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error = ResourceError("the disk is full", remedy="free some space")
    if isinstance(error, WanCoreError):
        # a name out of a file or a folder must not move the cursor, or add a line
        return printable(str(error)), error.exit_code
    brief = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": .")
    return f"internal error: {printable(brief)}; run again with --debug and report", INTERNAL_ERROR


def tell(text: str, stream: TextIO) -> bool:
    """Write a line; when that is not possible silence the stream, and return False.

    The reader of a run may go away, its log disk fill up, its terminal close: none of it ends a run.
    """
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):
        silence(stream)
        return False
    return True


def silence(stream: TextIO) -> None:
    """Let what is still buffered, and can't be written, vanish without a word."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
