"""The part of the soak about the bundled image-to-video model: given frames come back, and move as told.

Frames are given as a user gives them, pictures as PNG and a clip to continue as MP4; the video is read back
from a file that keeps every pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from wan_core.models.families import FAMILIES
from zoo.checks import Check, Extent, Figures, Pool, session_of
from zoo.judge import Verdict, judge
from zoo.measures import score
from zoo.product import read_clip, video_of, write_clip, write_picture
from zoo.train_vae import summary
from zoo.training import psnr
from zoo.world import FRAMES, HEIGHT, KINDS, WIDTH, render
from zoo.world.captions import sentence
from zoo.world.continued import continued
from zoo.world.heldout import evaluation_combinations
from zoo.world.kinds.plain import scenes_of

FAMILY = "tiny-i2v"
SIZE = (FRAMES, HEIGHT, WIDTH)
FIRST_SEED = 2000
OVERLAP = 9
TASKS = ("first", "ends", "continued")

#: what is promised: PSNR in dB of given frames (mean over clips), and the share of right motions
FIRST_DB, LAST_DB, MOTION = 30.0, 28.0, 0.90


def is_there() -> bool:
    """Whether the package brings the model along."""
    return any(family.name == FAMILY for family in FAMILIES)


@attrs.frozen
class Outcome:
    """One clip: PSNR in dB of what was given, and what the judge read."""

    psnr: dict[str, float]
    verdict: Verdict


def decibels(drawn: Tensor, wanted: Tensor) -> float:
    """PSNR of two pictures or clips ``[3, ...]`` uint8."""
    one, other = (levels.float()[None] / 127.5 - 1 for levels in (drawn, wanted))
    return float(psnr(one, other))


def truth_of(task: str, row: Sequence[int], seed: int) -> Tensor:
    """The clip from which frames are given, ``[3, frames, height, width]`` uint8."""
    generator = torch.Generator().manual_seed(seed)
    scenes = scenes_of(torch.tensor([row]), generator)
    if task == "continued":
        clips = continued(scenes, OVERLAP, generator, "cpu", SIZE)
    else:
        clips = render(KINDS["plain"], scenes)
    return ((clips[0] + 1) * 127.5).round().byte()


def give(task: str, truth: Tensor, folder: Path) -> tuple[dict[str, Any], dict[int, Tensor]]:
    """Write the given frames to files.

    Returns:
        options of the stage, and the given frames by their number in the video.
    """
    if task == "continued":
        write_clip(folder / "given.mp4", truth[:, :OVERLAP])
        frames = read_clip(folder / "given.mp4")
        options = {"continues": "given.mp4", "overlap": OVERLAP}
        return options, dict(enumerate(frames.unbind(1)))
    write_picture(folder / "first.png", truth[:, 0])
    if task == "first":
        return {"image": "first.png"}, {0: truth[:, 0]}
    write_picture(folder / "last.png", truth[:, -1])
    options = {"image": "first.png", "last_image": "last.png"}
    return options, {0: truth[:, 0], FRAMES - 1: truth[:, -1]}


def draw(folder: Path, task: str, row: Sequence[int], seed: int) -> Outcome:
    """Give frames of one clip to the product and look at what comes out."""
    session, own = session_of(folder)
    options, given = give(task, truth_of(task, row, seed), own)
    output = "clip.mkv"
    clip = video_of(session, sentence(row), seed, own, family=FAMILY, output=output, **options)
    likeness = {
        "first": decibels(clip[:, 0], given[0]),
        "given": decibels(clip[:, list(given)], torch.stack(list(given.values()), 1)),
    }
    if task == "ends":
        likeness["last"] = decibels(clip[:, -1], given[FRAMES - 1])
    # of a continued clip, what is told begins with the last given frame
    return Outcome(likeness, judge(clip[:, OVERLAP - 1 :] if task == "continued" else clip))


def check_pictures(pool: Pool, extent: Extent, folder: Path) -> Figures:
    """Held-out combinations from given frames, through the product."""
    figures: dict[str, Any] = {}
    checks = []
    for task in TASKS:
        count = extent.first if task == "first" else extent.others
        truth = evaluation_combinations(count)
        seeds = range(FIRST_SEED, FIRST_SEED + count)
        found = list(pool.map(partial(draw, folder, task), truth.tolist(), seeds))
        figures[task] = score([outcome.verdict for outcome in found], truth) | {
            "psnr": {
                name: summary([outcome.psnr[name] for outcome in found]) for name in found[0].psnr
            }
        }
        motion = figures[task]["accuracy"]["motion"]
        checks.append(Check(f"{task}: motion right", 100 * motion, 100 * MOTION, unit="%"))
        for name, least in (("first", FIRST_DB), ("last", LAST_DB)):
            if name in figures[task]["psnr"]:
                value = figures[task]["psnr"][name]["mean"]
                checks.append(Check(f"{task}: {name} frame", value, least, unit="dB"))
    return figures, checks
