"""The part of the soak about videos that are lit anew, with the plugin UniLumos as users have it.

Clips of held-out combinations are rendered and given as a user gives them, as video files; the result is read
back from a file that keeps every pixel.
"""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import wan_core
from wan_core.models.vae import WanVAE
from wan_core.plugins import Plugins
from zoo.checks import Check, Extent, Figures, Pool, session_of
from zoo.light_judge import Reading, read
from zoo.product import bundled_vae, read_clip
from zoo.relight_measures import FLICKER, OUTLINE, RIGHT, brightness, relit
from zoo.relight_test import FIRST_SEED, SIZE, TASKS, Case, case_of, coded

FAMILY, STAGE = "tiny-unilumos", "unilumos"
#: clips below which the mean of their flicker says little: it differs much from clip to clip
FEWEST = 32
CPU = torch.device("cpu")


def is_there() -> bool:
    """Whether the plugin is installed and brings its model along."""
    return FAMILY in Plugins.discover().families


@cache
def _vae() -> WanVAE:
    return bundled_vae()


@cache
def _case(task: str, count: int) -> Case:
    return case_of(task, count, CPU, SIZE)


def write_lossless(path: Path, clip: Tensor, fps: int = 12) -> None:
    """A clip ``[3, frames, height, width]`` in -1..1 as a video that keeps every pixel."""
    from wan_core.media import write_video

    levels = ((clip.clamp(-1, 1) + 1) * 127.5).round().byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, [levels.permute(1, 2, 3, 0).contiguous().numpy()], fps)


def workflow_text(prompt: str, seed: int, behind: bool) -> str:
    """One stage ``unilumos``."""
    keys: dict[str, Any] = {"prompt": prompt, "seed": seed, "video": "foreground.mkv"}
    if behind:
        keys["background"] = "background.mkv"
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
    return (
        f'format = 1\nmodel = {{ family = "{FAMILY}" }}\n'
        'output = { path = "relit.mkv", overwrite = true }\n'
        f'[[stages]]\nuse = "{STAGE}"\n{lines}\n'
    )


def relight(
    folder: Path, task: str, count: int, number: int
) -> tuple[Reading, Reading, Tensor | None]:
    """Give one clip to the product, as the VAE gives it back: a rendered one does not flicker at all.

    A new background comes with the noise in it already.

    Returns:
        what the judge reads from the foreground's file and from the result's, and the brightness of the truth
        where the background is new.
    """
    session, own = session_of(folder)
    case = _case(task, count)
    write_lossless(own / "foreground.mkv", coded(_vae(), case.given[number : number + 1])[0])
    if case.behind is not None:
        write_lossless(own / "background.mkv", case.behind[number])
    text = workflow_text(case.captions[number], FIRST_SEED + number, case.behind is not None)
    workflow = wan_core.parse_workflow(text, folder=own)
    (path,) = session.run(workflow).outputs
    truth = None
    if case.behind is not None:
        truth = brightness(coded(_vae(), case.wanted[number : number + 1]))[0]
    return read(read_clip(own / "foreground.mkv")), read(read_clip(Path(path))), truth


def checks_of(task: str, figures: dict[str, Any], count: int) -> list[Check]:
    """The figures that are promised of one task.

    A foreground on another background changes otherwise from frame to frame: there the truth is what counts.
    """
    steady = "truth" if task == "new background" else "input"
    checks = [
        Check(f"{task}: light right", 100 * figures["right"], least=100 * RIGHT, unit="%"),
        Check(f"{task}: outline", figures["outline"]["mean"], least=OUTLINE),
    ]
    if count < FEWEST:
        return checks
    return [*checks, Check(f"{task}: flicker", figures["flicker"][steady], most=FLICKER, unit="x")]


def check_light(pool: Pool, extent: Extent, folder: Path) -> Figures:
    """Clips of each task relit through the product."""
    figures: dict[str, Any] = {}
    checks: list[Check] = []
    count = extent.lights
    for task in TASKS:
        found = pool.map(partial(relight, folder, task, count), range(count))
        given, drawn, truth = zip(*found, strict=True)
        case = _case(task, count)
        steady = {} if case.behind is None else {"truth": torch.stack(truth)}
        figures[task] = relit(given, drawn, case.light, steady)
        checks += checks_of(task, figures[task], count)
    return figures, checks
