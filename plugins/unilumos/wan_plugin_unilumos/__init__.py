"""UniLumos: a video is lit anew, by words or by a new background."""

from __future__ import annotations

from collections.abc import Sequence

from wan_core.contract import Description
from wan_core.hookspecs import hookimpl

WAN_CORE_CONTRACT = (1, 0)


@hookimpl
def wan_register() -> Sequence[Description]:
    """What this plugin brings."""
    return []
