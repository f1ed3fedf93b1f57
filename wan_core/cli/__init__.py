"""The command ``wan-core``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["main"]

# Threads of torch that wait by spinning take the cores that the others need to finish: on two cores
# shared with another busy program a video of 8 seconds takes minutes. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see docs/guide/command-line.md).

    Without ``arguments`` this is the program itself, which does nothing more afterwards: from the
    moment its exit code is known it is deaf to Ctrl-C.
    """
    try:
        # Ctrl-C may come while this is imported, too
        from wan_core.cli.app import run_command_line

        return run_command_line(arguments)
    except KeyboardInterrupt:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write("stopped.\n")
        return 130
