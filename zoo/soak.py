"""The long check of the bundled weights: every figure that is promised, through the product, on the CPU.

Work is cut into small tasks for a few processes of one thread each, which is faster than one process
of many threads with networks this small.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs
import torch

from wan_core.models.vae import WanVAE
from zoo import soak_pictures, soak_tracks, soak_unilumos
from zoo.checks import FULL, QUICK, Check, Extent, Figures, Pool, session_of
from zoo.judge import Verdict, judge
from zoo.measures import extents, score, shuffled, variety
from zoo.product import bundled_vae, video_of
from zoo.soak_pictures import check_pictures
from zoo.soak_tracks import check_tracks
from zoo.soak_unilumos import check_light
from zoo.train_vae import KINDS_SEEN, UNSEEN, summary, unseen_psnr
from zoo.training import say
from zoo.world import FRAMES, HEIGHT, KINDS, WIDTH, render
from zoo.world.captions import sentence
from zoo.world.heldout import combinations, evaluation_combinations
from zoo.world.kinds.plain import scenes_of
from zoo.world.words import ATTRIBUTES

CPU = torch.device("cpu")
SIZE = (FRAMES, HEIGHT, WIDTH)
FIRST_SEED = 1000
MOST_WORKERS = 4

RIGHT = {"colour": 0.95, "shape": 0.90, "size": 0.90, "background": 0.95, "motion": 0.95}
SHORTEST_MOVE, BRIGHTEST_BLACK = 0.30, 30.0
PSNR = dict.fromkeys(KINDS_SEEN, 30.0) | {"plain": 34.0}
JUDGE_RIGHT = 0.99
ALIKE_DB = 40.0


# -- tasks, each run in some process of the pool ---------------------------------------------------


def _one_thread() -> None:
    torch.set_num_threads(1)


@cache
def _vae() -> WanVAE:
    return bundled_vae()


def _judge_prompt(folder: Path, row: Sequence[int], seed: int) -> Verdict:
    session, own = session_of(folder)
    return judge(video_of(session, sentence(row), seed, own))


def _judge_truth(rows: torch.Tensor, seed: int) -> list[Verdict]:
    scenes = scenes_of(rows, torch.Generator().manual_seed(seed))
    return [judge(clip) for clip in render(KINDS["plain"], scenes)]


def _psnr(kind: str, start: int, count: int) -> list[float]:
    return unseen_psnr(_vae(), kind, start, count, CPU, SIZE)


# -- what is checked ---------------------------------------------------------------------------------


def check_prompts(pool: Pool, extent: Extent, folder: Path) -> Figures:
    """Held-out prompts through the product: what the judge reads from the video files."""
    truth = evaluation_combinations(extent.prompts)
    seeds = range(FIRST_SEED, FIRST_SEED + extent.prompts)
    verdicts = list(pool.map(partial(_judge_prompt, folder), truth.tolist(), seeds))
    figures = score(verdicts, truth) | extents(verdicts, truth)
    checks = [
        Check(f"{name} right", 100 * figures["accuracy"][name], least=100 * least, unit="%")
        for name, least in RIGHT.items()
    ]
    checks += [
        Check("shortest move", 100 * figures["shortest_move"], 100 * SHORTEST_MOVE, unit="%"),
        Check("brightest black", figures["brightest_black"], most=BRIGHTEST_BLACK, unit="/255"),
    ]
    return figures, checks


def check_vae(pool: Pool, extent: Extent, folder: Path) -> Figures:
    """PSNR of the VAE, as the product loads it, on unseen clips of every kind."""
    tasks = {
        kind: [
            pool.submit(_psnr, kind, start, min(UNSEEN, extent.clips - start))
            for start in range(0, extent.clips, UNSEEN)
        ]
        for kind in PSNR
    }
    figures = {
        kind: summary([value for part in parts for value in part.result()])
        for kind, parts in tasks.items()
    }
    checks = [
        Check(f"VAE, {kind}", figures[kind]["mean"], least=least, unit="dB")
        for kind, least in PSNR.items()
    ]
    return figures, checks


def check_judge(pool: Pool, extent: Extent, folder: Path) -> Figures:
    """The judge on rendered truth of all combinations, and against other clips' words."""
    truth = torch.cat([combinations(heldout=True), combinations(heldout=False)])[:: extent.stride]
    parts = torch.split(truth, 4)
    found = pool.map(_judge_truth, parts, range(len(parts)), chunksize=4)
    verdicts = [verdict for part in found for verdict in part]
    figures = score(verdicts, truth) | {"shuffled": shuffled(verdicts, truth)}
    checks = [
        Check(f"judge, {name}", 100 * share, least=100 * JUDGE_RIGHT, unit="%")
        for name, share in figures["accuracy"].items()
    ]
    for name, words in ATTRIBUTES.items():
        chance = 1 / len(words)
        spread = 3 * (chance * (1 - chance) / len(truth)) ** 0.5
        share, least, most = figures["shuffled"][name], chance - spread, chance + spread
        checks.append(Check(f"judge, {name} shuffled", 100 * share, 100 * least, 100 * most, "%"))
    return figures, checks


def check_variety(pool: Pool, extent: Extent, folder: Path) -> Figures:
    """No two of many clips are nearly the same."""
    each = partial(pool.map, chunksize=16)
    figures = variety(["plain"], extent.variety, ALIKE_DB, CPU, each)
    name = f"pairs of {extent.variety:,} clips above {ALIKE_DB:.0f} dB"
    return figures, [Check(name, figures["pairs_above_limit"], most=0)]


PARTS: dict[str, Callable[[Pool, Extent, Path], Figures]] = {
    "prompts": check_prompts,
    "vae": check_vae,
    "judge": check_judge,
    "variety": check_variety,
    **({"pictures": check_pictures} if soak_pictures.is_there() else {}),
    **({"tracks": check_tracks} if soak_tracks.is_there() else {}),
    **({"light": check_light} if soak_unilumos.is_there() else {}),
}


def soak(
    *, quick: bool = False, workers: int | None = None, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Measure everything.

    Args:
        quick: only a small part of everything, held against the same bounds.
        only: names of ``PARTS``, if not all of them.
        workers: processes; None = one a core, at most ``MOST_WORKERS``.

    Returns:
        the figures of each part, ``"checks"``, ``"seconds"`` by part, and ``"ok"``.
    """
    extent = QUICK if quick else FULL
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    figures: dict[str, Any] = {"extent": attrs.asdict(extent), "workers": workers}
    checks: list[Check] = []
    seconds: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Pool(workers, multiprocessing.get_context("spawn"), _one_thread) as pool,
    ):
        for name, part in PARTS.items():
            if only and name not in only:
                continue
            start = time.monotonic()
            figures[name], found = part(pool, extent, Path(folder))
            checks += found
            seconds[name] = round(time.monotonic() - start, 1)
            say(f"{name}: {seconds[name]:.0f} s")
    figures["checks"] = [attrs.asdict(check) | {"ok": check.ok} for check in checks]
    figures["seconds"] = seconds | {"total": round(sum(seconds.values()), 1)}
    figures["ok"] = all(check.ok for check in checks)
    return figures


def table(figures: Mapping[str, Any]) -> str:
    """The checks as lines of text, with the judge's disagreements below."""
    lines = [f"{'':<38}{'measured':>12}   wanted"]
    for check in figures["checks"]:
        bounds = {">=": check["least"], "<=": check["most"]}
        wanted = ", ".join(
            f"{sign} {bound:.4g}" for sign, bound in bounds.items() if bound is not None
        )
        value = f"{check['value']:.4g} {check['unit']}".rstrip()
        lines.append(
            f"{check['name']:<38}{value:>12}   {wanted:<20}{'ok' if check['ok'] else 'MISSED'}"
        )
    lines += [
        f"not as told: {mistake}" for mistake in figures.get("prompts", {}).get("mistakes", ())
    ]
    lines.append(f"{figures['seconds']['total']:.0f} s with {figures['workers']} processes")
    return "\n".join(lines)
