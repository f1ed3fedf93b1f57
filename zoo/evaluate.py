"""Measure the toy world and what was trained on it: ``python -m zoo.evaluate COMMAND``.

* ``judge``: the judge against rendered ground truth (clean, noisy, blurred) and shuffled captions
* ``variety``: no two of many clips agree above 40 dB
* ``vae``: PSNR of the tiny VAE on unseen clips of every kind
* ``t2v``: what the judge says about clips of held-out combinations; writes contact sheets
* ``sheet``: a contact sheet of the world itself
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.judge import Verdict, judge
from zoo.training import note, prepare, say
from zoo.world import FRAMES, HEIGHT, KINDS, WIDTH, draw_clips, render
from zoo.world.captions import sentence, words_of
from zoo.world.heldout import evaluation_combinations, is_heldout
from zoo.world.words import ATTRIBUTES

SIZE = (FRAMES, HEIGHT, WIDTH)


def judge_all(clips: Tensor, threads: int = 8) -> list[Verdict]:
    """Judge ``[clips, 3, frames, height, width]`` on several CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(judge, clips.cpu().unbind()))
    finally:
        torch.set_num_threads(before)


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
        for start in range(0, count, 64):
            part = {key: value[start : start + 64] for key, value in scenes.items()}
            verdicts += judge_all(change(render(kind, part)))
        figures[name] = score(verdicts, truth)
        if name == "clean":
            figures["extents"] = extents(verdicts, truth)
            order = torch.randperm(count, generator=noise)
            figures["shuffled"] = score(verdicts, truth[order])["accuracy"]
    figures["chance"] = {name: round(1 / len(words), 4) for name, words in ATTRIBUTES.items()}
    return figures


def variety(
    kinds: Sequence[str], count: int, limit_db: float, device: torch.device
) -> dict[str, Any]:
    """The two most similar of ``count`` clips, spread evenly over ``kinds``.

    Averages over blocks bound the error of two clips from below, so only pairs that are close in
    them have to be compared in full. Exact: no pair above ``limit_db`` is missed.
    """
    chunk = 50
    limit = 10 ** (-limit_db / 10)

    def clips_of(number: int) -> Tensor:
        name = kinds[number % len(kinds)]
        return (draw_clips(name, chunk, 5_000_000 + number, device) + 1) / 2

    features = []
    for number in range(-(-count // chunk)):
        clips = clips_of(number)
        features.append(F.avg_pool3d(clips, (3, 16, 16)).flatten(1))
    blocks = torch.cat(features)[:count]
    blocks = blocks - blocks.mean(0)
    power = blocks.double().square().sum(1)
    pairs: list[tuple[int, int]] = []
    for start in range(0, count, 1000):
        rows = blocks[start : start + 1000]
        distance = power[start : start + 1000, None] + power - 2 * (rows @ blocks.T).double()
        near = distance / blocks.shape[1] < limit * 1.01 + 1e-6
        for i, j in near.nonzero().tolist():
            if start + i < j:
                pairs.append((start + i, j))
    held: dict[int, Tensor] = {}

    def clip(index: int) -> Tensor:
        number = index // chunk
        if number not in held:
            if len(held) > 40:
                held.pop(next(iter(held)))
            held[number] = clips_of(number).half()
        return held[number][index % chunk].float()

    closest, above = 0.0, 0
    for i, j in pairs:
        error = float((clip(i) - clip(j)).square().mean().clamp(min=1e-10))
        decibel = float(-10 * torch.log10(torch.tensor(error)))
        closest = max(closest, decibel)
        above += decibel > limit_db
    return {
        "clips": count,
        "kinds": list(kinds),
        "compared_in_full": len(pairs),
        "pairs_above_limit": above,
        "limit_db": limit_db,
        "closest_of_those_db": round(closest, 2),
    }


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


def t2v_test(
    tiny: Path, video: Path, out: Path, settings: Sequence[dict[str, Any]], prompts: int, seed: int
) -> dict[str, Any]:
    """Draw held-out combinations with each setting and let the judge look."""
    from zoo import train_text, train_vae, train_video
    from zoo.sample import first_noise, sample

    device = prepare()
    truth = evaluation_combinations(prompts)
    assert bool(is_heldout(truth).all())
    words, ids = train_text.load(tiny, device)
    rows = train_text.embed(words, ids, ["", *(sentence(row) for row in truth.tolist())])
    vae = train_vae.load(tiny / "vae.safetensors", device)
    model = train_video.load(video / "t2v.safetensors", device)
    noise = first_noise(range(seed, seed + prompts), SIZE)
    results = []
    for number, setting in enumerate(settings):
        start = time.monotonic()
        clips = sample(
            model,
            vae,
            rows[1:],
            rows[0],
            noise,
            **setting,
            batch=64 if device.type == "cuda" else 4,
        )
        drawn = time.monotonic() - start
        verdicts = judge_all(clips)
        result: dict[str, Any] = {"setting": setting, "seconds_a_clip": round(drawn / prompts, 3)}
        result |= score(verdicts, truth) | extents(verdicts, truth)
        results.append(result)
        say(
            f"{setting} {result['accuracy']} all {result['all_right']} "
            f"move {result['shortest_move']} black {result['brightest_black']} {drawn:.0f} s"
        )
        if number == 0:
            for mistake in result["mistakes"]:
                say(f"  {mistake}")
            half = prompts // 2
            shown = [0, 4, 10, 16, 24, 32]
            sheet(clips[:half], out / "t2v-1.png", shown)
            sheet(clips[half:], out / "t2v-2.png", shown)
        note(out / "t2v.json", {"prompts": prompts, "first_seed": seed, "results": results})
    return {"results": results}


def sweep() -> list[dict[str, Any]]:
    """Settings worth comparing; the first is the preset."""
    base = {"steps": 24, "shift": 3.0, "guidance": 4.0, "solver": "euler"}
    changes: list[dict[str, Any]] = [
        {},
        {"guidance": 1.0},
        {"guidance": 2.0},
        {"guidance": 3.0},
        {"guidance": 6.0},
        {"steps": 16},
        {"steps": 40},
        {"shift": 2.0},
        {"shift": 5.0},
        {"solver": "unipc"},
        {"solver": "unipc", "guidance": 3.0},
        {"solver": "dpm++"},
    ]
    return [base | change for change in changes]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("judge", "variety", "vae", "t2v", "sheet"))
    parser.add_argument("--tiny", type=Path, default=Path("wan_core/models/tiny"))
    parser.add_argument("--video", type=Path, help="folder of t2v.safetensors (default: --tiny)")
    parser.add_argument("--out", type=Path, default=Path("outputs/zoo"))
    parser.add_argument("--count", type=int, help="clips, or prompts")
    parser.add_argument("--kinds", nargs="+", default=["plain"])
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--solver", default="euler")
    parser.add_argument("--sweep", action="store_true", help="compare many settings")
    options = parser.parse_args(arguments)
    device = prepare()
    if options.command == "judge":
        figures = judge_test(options.count or 640)
    elif options.command == "variety":
        figures = variety(options.kinds, options.count or 10_000, 40.0, device)
    elif options.command == "vae":
        from zoo import train_vae

        vae = train_vae.load(options.tiny / "vae.safetensors", device)
        figures = {"psnr": train_vae.measure(vae, device, options.count or 32, SIZE)}
    elif options.command == "t2v":
        setting = {
            "steps": options.steps,
            "shift": options.shift,
            "guidance": options.guidance,
            "solver": options.solver,
        }
        settings = sweep() if options.sweep else [setting]
        figures = t2v_test(
            options.tiny,
            options.video or options.tiny,
            options.out,
            settings,
            options.count or 64,
            options.seed,
        )
    else:
        for name in [*KINDS, "lowres"]:
            clips = draw_clips(name, options.count or 12, options.seed, device).cpu()
            sheet(clips, options.out / f"world-{name}.png", [0, 8, 16, 24, 32])
        figures = {"written": str(options.out)}
    note(options.out / f"{options.command}.json", figures)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
