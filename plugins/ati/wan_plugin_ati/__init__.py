"""ATI: objects of a picture follow trajectories that the user draws. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from wan_core.contract import (
    ChunkSource,
    Command,
    Conditioning,
    ConditioningRequest,
    Description,
    Feature,
    GoldenKinds,
    PostProcessRequest,
)
from wan_core.hookspecs import hookimpl
from wan_plugin_ati.families import FAMILIES, FEATURE, FITTING

WAN_CORE_CONTRACT = (1, 1)


@hookimpl
def wan_register() -> Sequence[Description]:
    """What this plugin brings."""
    return [
        *FAMILIES,
        Feature(
            name=FEATURE,
            summary="points of the picture follow tracks that you draw (ATI)",
            options="wan_plugin_ati.options:AtiOptions",
            families=tuple(family.name for family in (*FAMILIES, *FITTING)),
            writes=("concat", "post"),
            replaces=("concat", "post"),  # it edits what is there, and draws over it
            check="wan_plugin_ati.checking:check",
        ),
        Command(
            FEATURE,
            "Draw tracks over their picture (ati preview).",
            "wan_plugin_ati.command:run",
        ),
        GoldenKinds("wan_plugin_ati.golden:HANDLERS"),
    ]


@hookimpl
def wan_condition(request: ConditioningRequest, conditioning: Conditioning) -> Conditioning | None:
    """The picture's channels with the tracks in them, for the steps that are asked for."""
    from wan_plugin_ati.conditioning import condition

    return condition(request, conditioning)


@hookimpl
def wan_post_process(source: ChunkSource, request: PostProcessRequest) -> ChunkSource | None:
    """The video with the tracks drawn over it, where that is asked for."""
    if not request.options.overlay:
        return None
    from wan_plugin_ati.overlay import overlaid

    drawn: ChunkSource = overlaid(source, request)
    return drawn
