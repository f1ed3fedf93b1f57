"""A probe: streaming super-resolution as a plugin, with random weights in the smallest shapes.

Registration, options and planning, without torch; what runs is in :mod:`.stage`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from wan_core.contract import (
    Component,
    Description,
    Family,
    GoldenKinds,
    PlanContext,
    Preset,
    Stack,
    Stage,
    StageNeeds,
    StateSpec,
    VideoSize,
    WorkflowError,
)
from wan_core.contract.options import integer, number, seed, source
from wan_core.hookspecs import hookimpl
from wan_core.models.wan import KEEP_FLOAT32

WAN_CORE_CONTRACT = (1, 0)

HERE = __name__.rpartition(".")[0]
NAME = "upscale-probe"
MULTIPLE = 128
"""Width and height of the result are multiples of it."""
LOOK_AHEAD = 4
"""Frames that are read beyond those that are made."""
FEWEST = 21
CUT = "of the {given} frames {made} are made: 8 * n + 5 of them can be"

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "transformer": {
        "dim": 48,
        "ffn_dim": 64,
        "num_heads": 2,
        "num_layers": 2,
        "freq_dim": 16,
        "text_dim": 16,
        "text_len": 8,
    },
    "lq_projection": {"dim": 48, "hidden": (32, 48)},
    "prompt": {"rows": 5, "text_dim": 16},
    "vae": {"dim": 2, "dim_mult": (1, 1, 1, 1), "num_res_blocks": 0},
}


@attrs.frozen
class UpscaleOptions:
    """Options of the stage."""

    video: str = source(help="what is made larger")
    scale: float = number(1, 8, default=4, help="how many times wider and higher")
    seed: int = seed(default=0, help="of the noise")
    sparse_ratio: float = number(0.001, 8, default=2, help="how much tokens see of each other")
    kv_ratio: float = number(1, 8, default=3, help="how much is remembered, in pairs of frames")
    local_range: int = integer(
        1, 63, default=11, help="how far tokens see, in windows of 128 pixels"
    )


@hookimpl
def wan_register() -> Sequence[Description]:
    parts = {
        slot: Component(slot, f"{HERE}.stage:random_{slot}", config=config, needs_file=False)
        for slot, config in CONFIGS.items()
    }
    stored = Component(
        "wan-transformer",
        f"{HERE}.stage:load_transformer",
        config=CONFIGS["transformer"],
        stack=Stack(parts=("text_embedding",), keep_float32=KEEP_FLOAT32),
    )
    random = Family(
        name="upscale-probe-random",
        title="random weights in the smallest shapes",
        task="super-resolution",
        components=parts,
        preset=Preset(
            width=256,
            height=128,
            frames=29,
            frame_step=4,
            fps=8,
            steps=1,
            shift=1,
            guidance=1,
            size_multiple=MULTIPLE,
        ),
        stages=(NAME,),
    )
    return [
        random,
        attrs.evolve(
            random, name="upscale-probe-stored", components={**parts, "transformer": stored}
        ),
        Stage(
            name=NAME,
            summary="make a video larger",
            options=f"{__name__}:UpscaleOptions",
            plan=f"{__name__}:plan",
            run=f"{HERE}.stage:run",
        ),
        GoldenKinds(f"{HERE}.golden:HANDLERS"),
    ]


def plan(context: PlanContext) -> StageNeeds:
    """The size follows from that of the video that is made larger.

    Raises:
        WorkflowError: that is not known, too small or too short.
    """
    options = context.options
    given = context.inputs[options.video]
    if given is None:
        raise WorkflowError(
            f"the size of {options.video} is not known",
            where=context.where("video"),
            remedy="use a stage that says what it makes",
        )
    width, height = (cut(scaled(side, options.scale)) for side in (given.width, given.height))
    if not width or not height:
        raise WorkflowError(
            f"{given.width}x{given.height} made {options.scale:g} times larger has less than "
            f"{MULTIPLE} pixels a side",
            where=context.where("scale"),
            remedy="use a larger scale or a larger video",
        )
    if given.frames < FEWEST:
        raise WorkflowError(
            f"a video of {given.frames} frames is too short",
            where=context.where("video"),
            remedy=f"it needs at least {FEWEST}",
        )
    made = frames_read(given.frames) - LOOK_AHEAD
    notes = () if made == given.frames else (CUT.format(given=given.frames, made=made),)
    size = VideoSize(width, height, made, given.fps)
    item = 4 if context.dtype == "float32" else 2
    return StageNeeds(options, size, notes=notes, state=(state_spec(options, size, item),))


def state_spec(options: UpscaleOptions, size: VideoSize, item: int) -> StateSpec:
    """Keys and values that the blocks keep, in pairs of latent frames: at least 2, at most ``kv_ratio``."""
    sizes = CONFIGS["transformer"]
    pairs = min((size.frames + 3) // 8, max(2, int(options.kv_ratio)))
    tokens = 2 * (size.height // 16) * (size.width // 16)
    numbers = 2 * pairs * tokens * sizes["dim"] * sizes["num_layers"]
    return StateSpec("attention", numbers * item, "run", mutable=True)


def scaled(side: int, scale: float) -> int:
    """Pixels of a side before it is cut."""
    return round(side * scale)


def cut(side: int) -> int:
    """Pixels of a side that are kept."""
    return side // MULTIPLE * MULTIPLE


def frames_read(given: int) -> int:
    """The largest ``8 * n + 1`` frames there are when the last one is repeated for the look-ahead."""
    return (given + LOOK_AHEAD - 1) // 8 * 8 + 1
