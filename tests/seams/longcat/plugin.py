"""LongCat-Video as a plugin would bring it: a family of random weights and the stage that drives it.

Importing it imports no torch: code is named by import strings.
"""

from __future__ import annotations

from typing import Any

import attrs

from tests.seams.longcat.config import LongCatConfig
from wan_core.contract import (
    Component,
    Family,
    GoldenKinds,
    PlanContext,
    Preset,
    Stack,
    Stage,
    StageNeeds,
    VideoSize,
    WorkflowError,
)
from wan_core.contract.options import flag, integer, number, registered, seed, text
from wan_core.hookspecs import hookimpl
from wan_core.sampling import guidance_field

WAN_CORE_CONTRACT = (1, 0)
HERE = "tests.seams.longcat"
PRESET = "the family's preset"
STRIDE = 4, 8, 8
EXACT = ("*adaLN_modulation.*", "t_embedder.*", "final_layer.*", "*.pre_crs_attn_norm.*")
CONFIG = LongCatConfig(
    in_channels=4,
    out_channels=4,
    hidden_size=32,
    depth=3,
    num_heads=2,
    caption_channels=12,
    adaln_tembed_dim=16,
    frequency_embedding_size=32,
    text_tokens_zero_pad=True,
)


@attrs.frozen
class SegmentsOptions:
    """Options of the stage."""

    prompt: str = text(sweep=True, help="what the video shows")
    negative_prompt: str | None = text(default=None, unset=PRESET, help="what to lead away from")
    segments: int = integer(1, 100, default=2, help="how many segments follow each other")
    condition: int = integer(1, 100, default=1, help="latent frames that a segment continues")
    cache: bool = flag(default=True, help="compute keys and values of condition frames once")
    frames: int | None = integer(1, 1000, default=None, unset=PRESET, help="frames of a segment")
    steps: int | None = integer(1, 1000, default=None, unset=PRESET, help="sampling steps")
    seed: int = seed(default=0, help="of the noise")
    guidance: Any = guidance_field(unset=PRESET, help="how strongly the prompt leads")
    shift: float | None = number(0.01, 100, default=None, unset=PRESET, help="shift of the grid")
    solver: str | None = registered("solver", default=None, unset=PRESET, help="solver")


def plan(context: PlanContext) -> StageNeeds:
    """Defaults, the size of the whole video, and the state of a segment in closed form."""
    assert context.family is not None
    preset = context.family.preset
    given = attrs.asdict(context.options, recurse=False)
    names = [name for name, value in given.items() if value is None]
    options = attrs.evolve(context.options, **{name: getattr(preset, name) for name in names})
    latents = (options.frames - 1) // STRIDE[0] + 1
    if options.condition >= latents:
        raise WorkflowError(
            f"condition {options.condition} leaves nothing of the {latents} latent frames of a segment",
            where=context.where("condition"),
            remedy=f"use at most {latents - 1}, or more frames",
        )
    total = latents + (options.segments - 1) * (latents - options.condition)
    spec = CONFIG.kv_spec(
        options.condition,
        preset.height // STRIDE[1],
        preset.width // STRIDE[2],
        item=4 if context.dtype == "float32" else 2,
    )
    return StageNeeds(
        options=options,
        size=VideoSize(preset.width, preset.height, STRIDE[0] * (total - 1) + 1, preset.fps),
        prompts=(options.prompt, options.negative_prompt),
        branches=2,
        state=(spec,) if options.cache and options.segments > 1 else (),
    )


@hookimpl
def wan_register() -> list[Any]:
    components = {
        slot: Component(kind=kind, load=f"{HERE}.stage:load_{slot}", needs_file=False)
        for slot, kind in (
            ("transformer", "longcat-transformer"),
            ("text_encoder", "umt5-encoder"),
            ("vae", "wan-vae"),
        )
    }
    preset = Preset(
        width=48, height=32, frames=13, fps=8, steps=3, shift=12, guidance=4, solver="euler"
    )
    return [
        Family(
            name="longcat-random",
            title="LongCat-Video with random weights",
            task="text-to-video",
            components=components,
            preset=preset,
            stages=("longcat-segments",),
        ),
        Family(
            name="longcat-stored",
            title="LongCat-Video from a file",
            task="text-to-video",
            components={
                **components,
                "transformer": Component(
                    "longcat-transformer", f"{HERE}.stage:load", stack=Stack(keep_float32=EXACT)
                ),
            },
            preset=preset,
            stages=("longcat-segments",),
        ),
        Stage(
            name="longcat-segments",
            summary="make a video of segments, each continuing the one before",
            options=f"{HERE}.plugin:SegmentsOptions",
            run=f"{HERE}.stage:run",
            plan=f"{HERE}.plugin:plan",
        ),
        GoldenKinds(f"{HERE}.golden:HANDLERS"),
        GoldenKinds(f"{HERE}.golden_loop:HANDLERS"),
    ]
