"""What tests of chains share: a plugin with a family and a stage, and workflows on three models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from wan_core.contract.descriptions import Family, Stage
from wan_core.contract.options import source
from wan_core.contract.requests import PlanContext, StageContext, StageNeeds
from wan_core.engine.results import RunResult
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.models.families import TINY_T2V
from wan_core.planning import Library, Plan, make_plan
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.stages import LatentVideo, encode_video
from wan_core.workflow import parse_workflow

SMALL = "width = 32\nheight = 32\nframes = 5\nsteps = 2\nnegative_prompt = ''"


@attrs.frozen
class MixOptions:
    """Options of the stage ``mix``."""

    video: str = source(help="a video")


def plan_mix(context: PlanContext) -> StageNeeds:
    size = context.inputs[context.options.video]
    vae = {"video": "vae"}
    return StageNeeds(context.options, size, gives_latents=vae, takes_latents=vae)


made: list[Any] = []
"""What the stage ``mix`` hands out in place of its video, where a test says so."""


def run_mix(context: StageContext) -> dict[str, Any]:
    """Turns the latents upside down."""
    assert context.components is not None
    latents = encode_video(context).flip(3)
    return {"video": made[0] if made else LatentVideo(context.components, latents, context.emit)}


class Third:
    """A family of another name with components that are the tiny ones', and a stage."""

    WAN_CORE_CONTRACT = (1, 0)

    @hookimpl
    def wan_register(self) -> Sequence[Family | Stage]:
        names = [f"{__name__}:{name}" for name in ("MixOptions", "run_mix", "plan_mix")]
        options, run, plan = names
        return [
            attrs.evolve(TINY_T2V, name="third", stages=("generate", "mix")),
            Stage("mix", "", options, run, plan=plan),
        ]


PLUGINS = Plugins([next(iter(installed_entry_points())), Found("third", "third", "1", Third)])


def stage(name: str, model: str, more: str = "", use: str = "generate") -> str:
    head = f'[[stages]]\nuse = "{use}"\nname = "{name}"\nmodel = "{model}"\n'
    return head + (f'prompt = "a {name}"\n{SMALL}\n' if use == "generate" else "") + more + "\n"


def planned(folder: Path, *stages: str, more: str = "") -> Plan:
    families = {"text": "tiny-t2v", "picture": "tiny-i2v", "light": "third"}
    models = "".join(f'[models.{name}]\nfamily = "{f}"\n' for name, f in families.items())
    output = '[output]\npath = "out.mkv"\noverwrite = true\n'
    text = "format = 1\n" + models + "".join(stages) + more + output
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu", library=Library(()))


FIRST = stage("first", "text")
CHANGED = stage("second", "light", 'video = "first.video"\nstrength = 0.9')
THREE = (
    FIRST,
    stage("moving", "picture", 'image = "first.video"'),
    stage("lit", "light", 'video = "moving.video"\nstrength = 0.9'),
)


def frames(result: RunResult) -> np.ndarray:
    return np.stack(list(read_frames(result.outputs[0])))
