"""Measure the toy world and what was trained on it: ``python -m zoo.evaluate COMMAND``.

Without other folders given, the weights that the package brings along are measured.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import wan_core
from wan_core.models.families import TINY_T2V
from zoo.measures import extents, judge_all, judge_test, score, sheet, variety
from zoo.training import note, prepare, say
from zoo.world import FRAMES, HEIGHT, KINDS, WIDTH, draw_clips
from zoo.world.captions import sentence
from zoo.world.heldout import evaluation_combinations, is_heldout

SIZE = (FRAMES, HEIGHT, WIDTH)
BUNDLED = Path(wan_core.__file__).parent / "models" / "tiny"
#: how the product samples the bundled text-to-video model
PRESET: dict[str, Any] = {
    name: getattr(TINY_T2V.preset, name) for name in ("steps", "shift", "guidance", "solver")
}
PICTURES = Path("outputs/zoo")
#: frames that show what a clip is about
SHOWN = (0, 4, 10, 16, 24, 32)


def t2v_test(
    tiny: Path, video: Path, out: Path, settings: Sequence[dict[str, Any]], prompts: int, seed: int
) -> dict[str, Any]:
    """Draw held-out combinations with each setting, in batches, and let the judge look.

    Contact sheets of the first setting and the figures so far are written to ``out``.
    """
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
    batch = 64 if device.type == "cuda" else 4
    results = []
    for number, setting in enumerate(settings):
        start = time.monotonic()
        clips = sample(model, vae, rows[1:], rows[0], noise, **setting, batch=batch)
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
            sheet(clips[:half], out / "t2v-1.png", SHOWN)
            sheet(clips[half:], out / "t2v-2.png", SHOWN)
        note(out / "t2v.json", {"prompts": prompts, "first_seed": seed, "results": results})
    return {"prompts": prompts, "first_seed": seed, "results": results}


def sweep() -> list[dict[str, Any]]:
    """Settings worth comparing: the preset, and Euler on evenly spaced, shifted levels with changes."""
    euler = PRESET | {"solver": "euler"}
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
        {"solver": "dpm++"},
    ]
    return [PRESET, PRESET | {"guidance": 3.0}, *(euler | change for change in changes)]


def run_judge(options: argparse.Namespace) -> dict[str, Any]:
    """the judge against rendered truth (clean, noisy, blurred) and against shuffled captions"""
    return judge_test(options.count)


def run_variety(options: argparse.Namespace) -> dict[str, Any]:
    """no two of many clips agree above 40 dB"""
    return variety(options.kinds, options.count, 40.0, prepare())


def run_vae(options: argparse.Namespace) -> dict[str, Any]:
    """PSNR of the tiny VAE on unseen clips of every kind"""
    from zoo import train_vae

    device = prepare()
    vae = train_vae.load(options.tiny / "vae.safetensors", device)
    return {"psnr": train_vae.measure(vae, device, options.count, SIZE)}


def run_t2v(options: argparse.Namespace) -> dict[str, Any]:
    """what the judge says about clips of held-out combinations; writes contact sheets"""
    setting = {name: getattr(options, name) for name in PRESET}
    settings = sweep() if options.sweep else [setting]
    video = options.video or options.tiny
    return t2v_test(options.tiny, video, options.out, settings, options.count, options.seed)


def run_i2v(options: argparse.Namespace) -> dict[str, Any]:
    """what comes of given frames of held-out combinations; writes contact sheets"""
    from zoo.image_test import SIZE, TASKS, image_test, sweep

    setting = {name: getattr(options, name) for name in PRESET}
    plan = sweep() if options.sweep else [(task, setting) for task in TASKS]
    image = options.image or options.tiny
    results = image_test(
        options.tiny, image, options.out, plan=plan, prompts=options.count, size=SIZE
    )
    return {"prompts": options.count, "results": results}


def run_tracks(options: argparse.Namespace) -> dict[str, Any]:
    """how near objects come to unseen tracks, with a LoRA file of tracks and without tracks; writes sheets"""
    from zoo import tiny_clip, train_ati, train_vae
    from zoo.track_test import sweep, track_test

    device = prepare()
    setting = {name: getattr(options, name) for name in PRESET}
    results = track_test(
        train_ati.load(options.tiny, options.lora, device),
        train_vae.load(options.tiny / "vae.safetensors", device),
        tiny_clip.load(options.tiny / tiny_clip.FILE, device),
        options.tiny,
        options.out,
        count=options.count,
        plan=sweep() if options.sweep else [setting],
    )
    return {"clips": options.count, "results": results}


def run_sheet(options: argparse.Namespace) -> dict[str, Any]:
    """contact sheets of every kind of the world"""
    for name in (*KINDS, "lowres"):
        clips = draw_clips(name, options.count, options.seed, prepare()).cpu()
        sheet(clips, options.out / f"world-{name}.png", SHOWN)
    return {"written": str(options.out)}


def run_soak(options: argparse.Namespace) -> dict[str, Any]:
    """all figures of the bundled models, through the product; exits 1 when one is missed"""
    from zoo.soak import soak, table

    figures = soak(quick=options.quick, workers=options.workers, only=options.only)
    print(table(figures))
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run: Callable[[argparse.Namespace], dict[str, Any]]) -> argparse.ArgumentParser:
        name = run.__name__.removeprefix("run_")
        made = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        made.add_argument("--json", type=Path, help="write the figures to this file")
        made.set_defaults(run=run)
        return made

    judge = command(run_judge)
    judge.add_argument("--count", type=int, default=640, help="clips")

    clips = command(run_variety)
    clips.add_argument("--count", type=int, default=10_000, help="clips")
    clips.add_argument("--kinds", nargs="+", default=["plain"])

    vae = command(run_vae)
    vae.add_argument("--tiny", type=Path, default=BUNDLED, help="folder of the weights")
    vae.add_argument("--count", type=int, default=32, help="clips of each kind")

    t2v = command(run_t2v)
    t2v.add_argument("--tiny", type=Path, default=BUNDLED, help="folder of the weights")
    t2v.add_argument("--video", type=Path, help="folder of t2v.safetensors, if another one")
    t2v.add_argument("--count", type=int, default=64, help="prompts")
    t2v.add_argument("--seed", type=int, default=1000, help="seed of the first prompt")
    for name, value in PRESET.items():
        t2v.add_argument(f"--{name}", type=type(value), default=value)
    t2v.add_argument("--out", type=Path, default=PICTURES, help="folder of the sheets")
    t2v.add_argument("--sweep", action="store_true", help="compare many settings")

    i2v = command(run_i2v)
    i2v.add_argument("--tiny", type=Path, default=BUNDLED, help="folder of the weights")
    i2v.add_argument(
        "--image", type=Path, help="folder of the image-to-video model, if another one"
    )
    i2v.add_argument("--count", type=int, default=64, help="clips of each task")
    for name, value in (PRESET | {"guidance": 3.0}).items():
        i2v.add_argument(f"--{name}", type=type(value), default=value)
    i2v.add_argument("--out", type=Path, default=PICTURES, help="folder of the sheets")
    i2v.add_argument("--sweep", action="store_true", help="compare many settings")

    tracks = command(run_tracks)
    tracks.add_argument("--tiny", type=Path, default=BUNDLED, help="folder of the weights")
    tracks.add_argument("--lora", type=Path, required=True, help="the LoRA file of tracks")
    tracks.add_argument("--count", type=int, default=64, help="clips")
    for name, value in (PRESET | {"steps": 16, "guidance": 2.0}).items():
        tracks.add_argument(f"--{name}", type=type(value), default=value)
    tracks.add_argument("--out", type=Path, default=PICTURES, help="folder of the sheets")
    tracks.add_argument("--sweep", action="store_true", help="compare many settings")

    world = command(run_sheet)
    world.add_argument("--count", type=int, default=12, help="clips of each kind")
    world.add_argument("--seed", type=int, default=1000)
    world.add_argument("--out", type=Path, default=PICTURES, help="folder of the sheets")

    whole = command(run_soak)
    whole.add_argument("--quick", action="store_true", help="a small part of everything")
    whole.add_argument("--only", nargs="+", default=(), help="names of parts, such as tracks")
    whole.add_argument("--workers", type=int, help="processes (default: one a core, at most four)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and print its figures.

    Returns:
        1 when a figure that must be reached is missed, else 0.
    """
    options = _parser().parse_args(arguments)
    with torch.no_grad():
        figures = options.run(options)
    if options.json:
        note(options.json, figures)
    if options.command != "soak":
        print(json.dumps(figures, indent=1))
    return 0 if figures.get("ok", True) else 1


if __name__ == "__main__":
    raise SystemExit(main())
