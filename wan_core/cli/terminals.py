"""Which pictures a terminal can show, told by its environment: a question to it could hang.

* kitty and Ghostty: images that text stands for (kitty's graphics protocol with Unicode placeholders);
* iTerm2 and WezTerm: iTerm2's inline images;
* others with 24-bit colours, and what runs inside tmux and screen: half blocks, two pixels a character.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from wan_core.contract.lazy import resolve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from wan_core.cli.pictures import Picture

    Draw = Callable[[NDArray[np.uint8], Console], Picture | None]

_INLINE_IMAGES = {"iTerm.app", "WezTerm"}
_KITTY_TERMS = {"xterm-kitty", "xterm-ghostty"}


def is_lively(stream: TextIO) -> bool:
    """Whether a live display can be drawn on a stream."""
    return stream.isatty() and os.environ.get("TERM") not in (None, "dumb", "unknown")


def pictures_on(stream: TextIO, *, any_colours: bool = False) -> Draw | None:
    """What draws pictures on a stream; None where they can't be told from noise.

    Args:
        any_colours: half blocks will do on a terminal that doesn't promise 24-bit colours.
    """
    if not is_lively(stream) or not (stream.encoding or "").lower().startswith("utf"):
        return None
    kind = kind_of_pictures(os.environ, any_colours=any_colours)
    draw: Draw | None = resolve(f"wan_core.cli.pictures:{kind}") if kind else None
    return draw


def kind_of_pictures(environ: Mapping[str, str], *, any_colours: bool = False) -> str | None:
    """``"kitty"``, ``"inline"``, ``"blocks"`` or None, from the variables of the environment."""
    if environ.get("NO_COLOR"):
        return None
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    inside = "TMUX" in environ or "STY" in environ or term.startswith(("tmux", "screen"))
    if not inside:
        # a program inside another inherits its variables: the name of the innermost counts most
        if term in _KITTY_TERMS or program == "ghostty":
            return "kitty"
        if program in _INLINE_IMAGES:
            return "inline"
        if not program and "KITTY_WINDOW_ID" in environ:
            return "kitty"
        if not program and ("WEZTERM_PANE" in environ or environ.get("LC_TERMINAL") == "iTerm2"):
            return "inline"
    if any_colours or environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "blocks"
    return None
