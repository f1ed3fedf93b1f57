"""UniLumos: a video is lit anew, by words or by a new background."""

from __future__ import annotations

from collections.abc import Sequence

from wan_core.contract import Command, Description, GoldenKinds, Stage
from wan_core.hookspecs import hookimpl
from wan_plugin_unilumos.family import NAME, UNILUMOS_1_3B
from wan_plugin_unilumos.tiny import TINY_UNILUMOS

WAN_CORE_CONTRACT = (1, 1)


@hookimpl
def wan_register() -> Sequence[Description]:
    """What this plugin brings."""
    return [
        UNILUMOS_1_3B,
        TINY_UNILUMOS,
        Stage(
            name=NAME,
            summary="light a video anew, by words or by a new background (UniLumos)",
            options=f"{__name__}.options:RelightOptions",
            plan=f"{__name__}.planning:plan",
            run=f"{__name__}.stage:run",
        ),
        Command(NAME, "Measure the light of a relit video.", f"{__name__}.command:run"),
        GoldenKinds(f"{__name__}.golden:HANDLERS"),
    ]
