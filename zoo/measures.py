"""What is measured on clips: what the judge says, how varied they are, and contact sheets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.judge import Verdict, judge
from zoo.world import KINDS, draw_clips, render
from zoo.world.captions import sentence, words_of
from zoo.world.draw import Scenes
from zoo.world.words import ATTRIBUTES

T = TypeVar("T")


def in_threads(look: Callable[..., T], *columns: Iterable[Any], threads: int = 8) -> list[T]:
    """What ``look`` makes of each row, on several CPU threads: faster than one after the other on many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(look, *columns))
    finally:
        torch.set_num_threads(before)


def judge_all(clips: Tensor, threads: int = 8) -> list[Verdict]:
    """Judge ``[clips, 3, frames, height, width]`` on several CPU threads."""
    return in_threads(judge, clips.cpu().unbind(), threads=threads)


def score(verdicts: Sequence[Verdict], truth: Tensor) -> dict[str, Any]:
    """Share of right words per attribute, of clips with all words right, and every mistake."""
    right = dict.fromkeys(ATTRIBUTES, 0)
    whole = 0
    mistakes = []
    for verdict, row in zip(verdicts, truth.tolist(), strict=True):
        wanted = words_of(row)
        wrong = [name for name in ATTRIBUTES if verdict.words[name] != wanted[name]]
        for name in ATTRIBUTES:
            right[name] += name not in wrong
        whole += not wrong
        mistakes += [
            f"{name}: {wanted[name]} -> {verdict.words[name]} ({sentence(row)})" for name in wrong
        ]
    count = len(verdicts)
    return {
        "accuracy": {name: round(hits / count, 4) for name, hits in right.items()},
        "all_right": round(whole / count, 4),
        "mistakes": mistakes,
    }


def extents(verdicts: Sequence[Verdict], truth: Tensor) -> dict[str, float]:
    """Shortest straight move (fraction of the picture) and brightest black of right verdicts."""
    moves, blacks = [], []
    for verdict, row in zip(verdicts, truth.tolist(), strict=True):
        words = words_of(row)
        if words["motion"].startswith("moves") and verdict.words["motion"] == words["motion"]:
            moves.append(max(abs(t) for t in verdict.travel))
        if words["background"] == "black":
            blacks.append(verdict.black_level * 255)
    return {
        "shortest_move": round(min(moves, default=0.0), 3),
        "brightest_black": round(max(blacks, default=0.0), 1),
    }


def slices(scenes: Scenes, length: int = 4) -> Iterator[Scenes]:
    """Parts of scenes one after the other, so short that pictures stay in the processor's cache."""
    count = len(next(iter(scenes.values())))
    for start in range(0, count, length):
        yield {name: value[start : start + length] for name, value in scenes.items()}


def blurred(clips: Tensor) -> Tensor:
    """Clips through a soft 5x5 lens."""
    batch, channels, frames, height, width = clips.shape
    line = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0])
    lens = line[:, None] * line / line.sum() ** 2
    flat = clips.transpose(1, 2).reshape(-1, 1, height, width)
    soft = F.conv2d(F.pad(flat, (2, 2, 2, 2), mode="replicate"), lens[None, None])
    return soft.view(batch, frames, channels, height, width).transpose(1, 2)


def judge_test(count: int, seed: int = 11) -> dict[str, Any]:
    """The judge on rendered truth, on worse pictures, and against shuffled captions."""
    kind = KINDS["plain"]
    scenes = kind.sample(count, torch.Generator().manual_seed(seed))
    truth = scenes["attributes"]
    noise = torch.Generator().manual_seed(seed + 1)

    def noisy(clips: Tensor, level: float) -> Tensor:
        return (clips + level * torch.randn(clips.shape, generator=noise)).clamp(-1, 1)

    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "clean": lambda clips: clips,
        "noisy": lambda clips: noisy(clips, 0.12),
        "blurred and noisy": lambda clips: noisy(blurred(clips), 0.08),
    }
    figures: dict[str, Any] = {}
    for name, change in ways.items():
        verdicts: list[Verdict] = []
        for part in slices(scenes):
            verdicts += judge_all(change(render(kind, part)))
        figures[name] = score(verdicts, truth)
        if name == "clean":
            figures["extents"] = extents(verdicts, truth)
            figures["shuffled"] = shuffled(verdicts, truth)
    figures["chance"] = {name: round(1 / len(words), 4) for name, words in ATTRIBUTES.items()}
    return figures


def shuffled(verdicts: Sequence[Verdict], truth: Tensor, seed: int = 12) -> dict[str, float]:
    """Share of right words per attribute when every clip is held against another one's words."""
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(seed))
    accuracy: dict[str, float] = score(verdicts, truth[order])["accuracy"]
    return accuracy


#: clips that ``variety`` draws at a time (so few because they stay in the processor's cache)
_CHUNK = 4
#: how many chunks it keeps while it compares
_HELD = 400
Each = Callable[[Callable[[int], Tensor], range], Iterable[Tensor]]


def _many(kinds: Sequence[str], device: torch.device, number: int) -> Tensor:
    """Chunk ``number`` of an endless row of clips, in 0..1."""
    name = kinds[number % len(kinds)]
    return (draw_clips(name, _CHUNK, 5_000_000 + number, device) + 1) / 2


def _blocks(kinds: Sequence[str], device: torch.device, number: int) -> Tensor:
    """Averages over blocks of 3 frames and 16x16 pixels of that chunk, ``[clips, blocks]``."""
    return F.avg_pool3d(_many(kinds, device, number), (3, 16, 16)).flatten(1)


def variety(
    kinds: Sequence[str], count: int, limit_db: float, device: torch.device, each: Each = map
) -> dict[str, Any]:
    """How many pairs of ``count`` clips, spread evenly over ``kinds``, agree above ``limit_db``.

    Averages over blocks bound the error of two clips from below, so only pairs that are close in
    them have to be compared in full. Exact: no pair above ``limit_db`` is missed.

    Args:
        each: what draws and averages chunks: ``map``, or that of a pool of processes.
    """
    chunks = range(-(-count // _CHUNK))
    blocks = torch.cat(list(each(partial(_blocks, kinds, device), chunks)))[:count]
    pairs = _close_pairs(blocks - blocks.mean(0), 10 ** (-limit_db / 10))
    chunk = lru_cache(_HELD)(lambda number: _many(kinds, device, number).half())

    def clip(index: int) -> Tensor:
        return chunk(index // _CHUNK)[index % _CHUNK].float()

    likeness = [psnr_of(clip(i), clip(j)) for i, j in pairs]
    return {
        "clips": count,
        "kinds": list(kinds),
        "compared_in_full": len(pairs),
        "pairs_above_limit": sum(decibel > limit_db for decibel in likeness),
        "limit_db": limit_db,
        "closest_of_those_db": round(max(likeness), 2) if likeness else None,
    }


def _close_pairs(blocks: Tensor, limit: float) -> list[tuple[int, int]]:
    """Pairs of rows of ``blocks [clips, blocks]`` whose mean squared difference is below ``limit``."""
    power = blocks.double().square().sum(1)
    pairs = []
    for start in range(0, len(blocks), 1000):
        rows = slice(start, start + 1000)
        squares = power[rows, None] + power - 2 * (blocks[rows] @ blocks.T).double()
        near = squares / blocks.shape[1] < limit * 1.01 + 1e-6  # matrix products round
        pairs += [(start + i, j) for i, j in near.nonzero().tolist() if start + i < j]
    return pairs


def psnr_of(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two clips in 0..1."""
    return -10 * math.log10(max(float((one - other).square().mean()), 1e-10))


def sheet(clips: Tensor, path: Path, frames: Sequence[int], across: int = 4) -> None:
    """Write chosen frames of clips as one PNG, ``across`` clips in a row."""
    from PIL import Image

    picked = clips[:, :, list(frames)]
    count, _, shown, height, width = picked.shape
    picked = torch.cat([picked, -torch.ones(-count % across, *picked.shape[1:])])
    grid = picked.view(-1, across, 3, shown, height, width).permute(0, 4, 1, 3, 5, 2)
    pixels = ((grid + 1) * 127.5).round().clamp(0, 255).byte()
    pixels = pixels.reshape(-1, across * shown * width, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.numpy()).save(path)
