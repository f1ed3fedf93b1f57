"""The long check of the weights that relight: ``python -m zoo.soak_unilumos``, through the product, on the CPU.

Clips of held-out combinations are rendered and given as a user gives them, as video files; the result is read
back from a file that keeps every pixel. Exits 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

import wan_core
from wan_core.models.vae import WanVAE
from zoo.checks import Check, Pool, session_of
from zoo.light_judge import Reading, read
from zoo.product import bundled_vae, read_clip
from zoo.relight_measures import FLICKER, OUTLINE, RIGHT, brightness, relit
from zoo.relight_test import FIRST_SEED, SIZE, TASKS, Case, case_of, coded
from zoo.training import note, say

FAMILY, STAGE = "tiny-unilumos", "unilumos"
CPU = torch.device("cpu")
MOST_WORKERS = 4


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
    torch.set_num_threads(1)
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


def checks_of(task: str, figures: dict[str, Any]) -> list[Check]:
    """The figures that are promised of one task.

    A foreground on another background changes otherwise from frame to frame: there the truth is what counts.
    """
    steady = "truth" if task == "new background" else "input"
    return [
        Check(f"{task}: light right", 100 * figures["right"], least=100 * RIGHT, unit="%"),
        Check(f"{task}: outline", figures["outline"]["mean"], least=OUTLINE),
        Check(f"{task}: flicker", figures["flicker"][steady], most=FLICKER, unit="x"),
    ]


def soak(
    clips: int = 64, tasks: Sequence[str] = TASKS, workers: int | None = None
) -> dict[str, Any]:
    """Relight ``clips`` clips of each task; returns figures by task, ``"checks"`` and ``"ok"``."""
    figures: dict[str, Any] = {}
    checks: list[Check] = []
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    with (
        tempfile.TemporaryDirectory() as folder,
        Pool(workers, multiprocessing.get_context("spawn")) as pool,
    ):
        for task in tasks:
            case = _case(task, clips)
            one = partial(relight, Path(folder), task, clips)
            given, drawn, truth = zip(*pool.map(one, range(clips)), strict=True)
            steady = {} if case.behind is None else {"truth": torch.stack(truth)}
            figures[task] = relit(given, drawn, case.light, steady)
            checks += checks_of(task, figures[task])
            say(f"{task}: {figures[task]}")
    figures["checks"] = [attrs.asdict(check) | {"ok": check.ok} for check in checks]
    figures["ok"] = all(check.ok for check in checks)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and exit 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--task", choices=TASKS, action="append", help="only this one")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--json", type=Path, help="keep the figures here")
    options = parser.parse_args(arguments)
    figures = soak(options.clips, options.task or TASKS, options.workers)
    if options.json:
        note(options.json, figures)
    for check in figures["checks"]:
        say(f"{check['name']:<32} {check['value']:.4g} {'ok' if check['ok'] else 'MISSED'}")
    raise SystemExit(0 if figures["ok"] else 1)


if __name__ == "__main__":
    main()
