"""What tests of the command line with the real engine share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

TEXT = """\
format = 1
[model]
family = "tiny-random"
[[stages]]
use = "generate"
prompt = "a circle"
{stage}
[output]
path = "{path}"
{output}
"""


@attrs.frozen
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]
Write = Callable[..., Path]
