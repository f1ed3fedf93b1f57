"""Programs on a terminal of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import time

# what would tell a program of the terminal that the tests themselves run on
OTHERS = (
    "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "COLORTERM", "TERM_PROGRAM", "TMUX", "STY",
    "KITTY_WINDOW_ID", "WEZTERM_PANE", "LC_TERMINAL",
)  # fmt: skip


def on_a_terminal(arguments: list[str], columns: int = 80, **variables: str) -> str:
    """What a program writes to a terminal, which its environment's ``variables`` describe."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    others = {name: value for name, value in os.environ.items() if name not in OTHERS}
    environment = {**others, "PYTHONUTF8": "1", "TERM": "xterm-256color", **variables}
    run = subprocess.Popen(arguments, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    run.wait(timeout=20)
    os.close(ours)
    return seen.decode()
