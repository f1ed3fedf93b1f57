"""What the tiny relighting model makes of unseen clips, measured in batches on the training device.

``python -m zoo.relight_test --tiny IN --lora OUT --out OUT`` measures finished weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from wan_core.models.vae import WanVAE
from wan_core.models.wan import WanTransformer
from zoo import relight_model, train_text, train_vae
from zoo.measures import sheet
from zoo.relight_measures import brightness, read_all, relit
from zoo.sample import first_noise, sample
from zoo.train_vae import summary
from zoo.training import command, note, prepare, psnr, say
from zoo.world import FRAMES, HEIGHT, WIDTH
from zoo.world.kinds.plain import scenes_of
from zoo.world.relit import (
    SHOWN,
    Size,
    backgrounds,
    elsewhere,
    foregrounds,
    graded,
    shown_combinations,
    targets,
    targets_on,
    told,
)
from zoo.world.words import LIGHTS

SIZE = (FRAMES, HEIGHT, WIDTH)
FIRST_SEED = 3000
PRESET: dict[str, Any] = {"steps": 20, "shift": 3.0, "guidance": 3.0, "solver": "unipc"}
#: what is relit: an evenly lit clip, one that is lit otherwise, and both on a new background
TASKS = ("even", "lit", "new background")
#: frames that show what a clip is about
PICTURED = (0, 8, 16, 24, 32)


def sweep() -> Iterator[tuple[str, dict[str, Any]]]:
    """Tasks and settings, the most telling ones first."""
    for guidance in (PRESET["guidance"], 2.0, 4.0, 1.0):
        for task in TASKS:
            yield task, PRESET | {"guidance": guidance}
    for change in ({"steps": 16}, {"solver": "dpm++"}, {"steps": 24}, {"solver": "euler"}):
        for task in ("even", "new background"):
            yield task, PRESET | change


@attrs.frozen(eq=False)
class Case:
    """Clips to be relit on the CPU, ``[clips, 3, frames, height, width]`` in -1..1.

    Attributes:
        given: the foregrounds.
        behind: new backgrounds; None = there are none.
        wanted: the rendered truth.
        light: asked lights, ``[clips]``.
        captions: what is told.
    """

    given: Tensor
    behind: Tensor | None
    wanted: Tensor
    light: Tensor
    captions: list[str]


def lights_of(count: int) -> Tensor:
    """Asked lights of ``count`` clips: all equally often, in an order of their own."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(85))
    return order % len(LIGHTS)


def case_of(task: str, count: int, device: torch.device, size: Size) -> Case:
    """Clips of held-out combinations; in the last task that is what they become."""
    generator = torch.Generator().manual_seed(86 + TASKS.index(task))
    scenes = scenes_of(shown_combinations(count), generator, SHOWN)
    light = lights_of(count)
    if task != "new background":
        given = foregrounds(scenes, task == "even", generator, device, size)
        wanted = targets(scenes, light, device, size)
        return Case(given.cpu(), None, wanted.cpu(), light, told(scenes, light))
    new, own = graded(scenes, light, generator), elsewhere(scenes, generator, apart=True)
    # every other foreground is lit
    even, lit = (foregrounds(own, flag, generator, device, size) for flag in (True, False))
    pick = (torch.arange(count, device=device) % 2 == 0)[:, None, None, None, None]
    masked = torch.ones(count, dtype=torch.bool)
    behind = backgrounds(new, masked, generator, device, size)
    return Case(
        torch.where(pick, even, lit).cpu(),
        behind.cpu(),
        targets_on(new, light, device, size).cpu(),
        light,
        told(new, light),
    )


@torch.no_grad()
def channels_of(case: Case, vae: WanVAE, device: torch.device) -> Tensor:
    """Latents of foreground and background, ``[clips, 32, f, h, w]``; a missing one is a grey clip."""

    def encode(clips: Tensor) -> Tensor:
        return torch.cat([vae.encode(part.to(device))[0] for part in torch.split(clips, 16)])

    front = encode(case.given)
    if case.behind is None:
        behind = encode(torch.zeros_like(case.given[:1])).expand_as(front)
    else:
        behind = encode(case.behind)
    return torch.cat([front, behind], dim=1)


@torch.no_grad()
def coded(vae: WanVAE, clips: Tensor) -> Tensor:
    """Clips as the VAE gives them back, which is how videos of the tiny models look; on the CPU."""
    device = next(vae.parameters()).device
    parts = [vae.decode(vae.encode(part.to(device))[0]) for part in torch.split(clips, 16)]
    return torch.cat([part.clamp(-1, 1).cpu() for part in parts])


def rows_of(tiny: Path, captions: Sequence[str], device: torch.device) -> Tensor:
    """Text rows of the empty prompt and of these."""
    words, ids = train_text.load(tiny, device)
    return train_text.embed(words, ids, ["", *captions])


def relight_test(
    tiny: Path,
    model: WanTransformer,
    out: Path,
    *,
    plan: Iterable[tuple[str, dict[str, Any]]] | None = None,
    clips: int = 64,
    seconds: float = 1e9,
    size: Size = SIZE,
) -> list[dict[str, Any]]:
    """Measure each task with each setting until ``seconds`` are over; sheets of the first ones go to ``out``.

    Args:
        tiny: folder of VAE and text encoder.
        model: the relighting transformer.
        plan: tasks and settings; None = ``sweep()``.
        clips: 0 = nothing is measured.
    """
    start, results = time.monotonic(), []
    if not clips:
        return []
    device = next(model.parameters()).device
    vae = train_vae.load(tiny / "vae.safetensors", device)
    noise = first_noise(range(FIRST_SEED, FIRST_SEED + clips), size)
    known: dict[str, tuple[Case, Tensor, Tensor, Any, dict[str, Tensor]]] = {}
    for task, setting in sweep() if plan is None else plan:
        if time.monotonic() - start > seconds:
            say("no time for more settings")
            break
        fresh = task not in known
        if fresh:
            case = case_of(task, clips, device, size)
            # a rendered clip does not flicker at all
            case = attrs.evolve(case, given=coded(vae, case.given))
            rows = rows_of(tiny, case.captions, device)
            channels = channels_of(case, vae, device)
            steady = {"truth": brightness(coded(vae, case.wanted))}
            known[task] = (case, channels, rows, read_all(case.given), steady)
        case, channels, rows, given, steady = known[task]
        begun = time.monotonic()
        drawn = sample(
            model,
            vae,
            rows[1:],
            rows[0],
            noise,
            channels=channels,
            batch=64 if device.type == "cuda" else 4,
            **setting,
        )
        figures = relit(given, read_all(drawn), case.light, steady)
        near = summary(psnr(drawn, case.wanted).tolist())
        results.append({"task": task, "setting": setting, "psnr": near} | figures)
        say(
            f"{task} {setting} right {figures['right']} outline {figures['outline']} "
            f"flicker {figures['flicker']} psnr {near} {time.monotonic() - begun:.0f} s"
        )
        if fresh:
            for mistake in figures["mistakes"][:8]:
                say(f"  {mistake} ({case.captions[int(mistake.split(':')[0])]})")
            name = f"relit-{task.replace(' ', '-')}.png"
            write_sheet(case, drawn, out / name, [f for f in PICTURED if f < size[0]])
    return results


def write_sheet(case: Case, drawn: Tensor, path: Path, frames: Sequence[int]) -> None:
    """Rows of what was given (foreground, background) and, below each, of what came out and what was wanted."""
    given = case.given if case.behind is None else case.behind
    rows = [case.given, given, drawn, case.wanted]
    if case.behind is None:
        del rows[1]
    shown = torch.stack(rows, 1)[:32]
    across = 4
    # the sheet fills row by row: of `across` clips all foregrounds, then what came of them
    shown = shown[: len(shown) // across * across] if len(shown) >= across else shown
    across = min(across, len(shown))
    grouped = shown.view(-1, across, *shown.shape[1:]).transpose(1, 2).flatten(0, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet(grouped, path, frames, across)


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure finished weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", type=Path, required=True, help="folder of the core's weights")
    parser.add_argument("--lora", type=Path, required=True, help="folder of the LoRA")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1e9, help="no further setting after")
    options = parser.parse_args(arguments)
    device = prepare()
    model = relight_model.load(
        options.tiny / "t2v.safetensors", options.lora / relight_model.FILE, device
    )
    results = relight_test(
        options.tiny, model, options.out, clips=options.clips, seconds=options.seconds
    )
    note(options.out / "relit.json", {"command": command(), "drawn": results})
    return results


if __name__ == "__main__":
    main()
