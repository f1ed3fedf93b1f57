"""Every failure as one sentence and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress
from typing import TextIO

import click

from wan_core.contract.errors import (
    Cancelled,
    ResourceError,
    WanCoreError,
    WorkflowError,
    nearest,
)
from wan_core.contract.options import show
from wan_core.weights.places import printable

INTERNAL_ERROR = 1
BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE has ended

LONGEST_WORD = 400
LONGEST_SENTENCE = 1200


def explain(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code for an error."""
    sentence, code = _explain(error)
    return presentable(sentence), code


def presentable(sentence: str) -> str:
    """A sentence as one line of bounded length that does nothing to a terminal.

    It may hold names out of files and arguments: control characters are written out, and what is much
    longer than any path is shortened in its middle.
    """
    words = [_shortened(word, LONGEST_WORD) for word in printable(sentence).split(" ")]
    return _shortened(" ".join(words), LONGEST_SENTENCE)


def _shortened(text: str, longest: int) -> str:
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, click.ClickException):
        error = _of_usage(error)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        error = Cancelled("stopped")
    if isinstance(error, MemoryError):
        error = ResourceError("this machine has no more memory", remedy="use a smaller size")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error = ResourceError("the disk is full", remedy="free some space")
    if isinstance(error, WanCoreError):
        return str(error), error.exit_code
    brief = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": .")
    return f"internal error: {brief}; run again with --debug and report", INTERNAL_ERROR


def _of_usage(error: click.ClickException) -> WorkflowError:
    """What click says of the command line, in our form."""
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
    remedy = f"see {path or 'wan-core'} --help"
    problem = error.format_message().rstrip(".")
    problem = problem[:1].lower() + problem[1:]
    if isinstance(error, click.NoSuchOption):
        problem = f"there is no option {show(error.option_name)}"
        close = nearest(error.option_name, error.possibilities or ())
        remedy = close if close.startswith("did you mean") else remedy
    return WorkflowError(problem, where=path, remedy=remedy)


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


def tell_traceback(error: BaseException) -> None:
    """What ``--debug`` shows of an error."""
    tell("".join(traceback.format_exception(error)).rstrip(), sys.stderr)


def tell_sentence(sentence: str) -> None:
    """Say what went wrong, in red on a terminal."""
    tell(click.style(sentence, fg="red") if sys.stderr.isatty() else sentence, sys.stderr)


def silence(stream: TextIO) -> None:
    """Let what is still buffered, and can't be written, vanish without a word."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
