"""What the tiny image-to-video model makes of given frames, measured in batches on the training device.

Clips of held-out combinations are rendered, some of their frames are given, and the rest is drawn: how well the
given frames come back, and what the judge reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from wan_core.models.vae import WanVAE
from zoo import given, image_model, tiny_clip, train_text, train_vae
from zoo.measures import extents, judge_all, score, sheet
from zoo.sample import Size, first_noise, sample
from zoo.train_vae import summary
from zoo.training import prepare, psnr, say
from zoo.world import FRAMES, HEIGHT, KINDS, WIDTH, render
from zoo.world.captions import sentence
from zoo.world.continued import continued
from zoo.world.heldout import evaluation_combinations
from zoo.world.kinds.plain import scenes_of

SIZE = (FRAMES, HEIGHT, WIDTH)
FIRST_SEED = 2000
PRESET: dict[str, Any] = {"steps": 24, "shift": 3.0, "guidance": 3.0, "solver": "unipc"}
#: what is measured -> what is given; "continued" begins with the end of another clip
TASKS = {
    "first": "first",
    "ends": "ends",
    "opening": "opening of 9",
    "continued": "opening of 9",
    "nothing": "nothing",
}
#: of these, contact sheets are written
SHEETS = ("first", "ends", "continued")
#: frames that show what a clip is about
SHOWN = (0, 4, 8, 16, 24, 32)


def sweep() -> Iterator[tuple[str, dict[str, Any]]]:
    """Tasks and settings, the most telling ones first."""
    for task in TASKS:
        yield task, PRESET
    for guidance in (2.0, 1.0, 4.0):
        for task in TASKS:
            yield task, PRESET | {"guidance": guidance}
    for change in ({"solver": "dpm++"}, {"solver": "euler"}, {"steps": 16}, {"steps": 12}):
        for task in ("first", "ends"):
            yield task, PRESET | change


@attrs.frozen(eq=False)
class Task:
    """What is given of each clip, as the model takes it.

    Attributes:
        clips: the rendered truth, ``[clips, 3, frames, height, width]`` on the CPU.
        frames: numbers of the given frames.
        channels: ``[clips, 20, f, h, w]``.
        tokens: image tokens; None where nothing is given.
    """

    clips: Tensor
    frames: tuple[int, ...]
    channels: Tensor
    tokens: Tensor | None


@torch.no_grad()
def prepared(
    name: str, truth: Tensor, vae: WanVAE, tower: Any, device: torch.device, size: Size
) -> Task:
    """Draw clips of the combinations ``truth [clips, 5]`` and encode what is given of them."""
    generator = torch.Generator().manual_seed(81)
    scenes = scenes_of(truth, generator)
    kind = given.NAMES.index(TASKS[name])
    if name == "continued":
        clips = continued(scenes, given.OPENINGS[kind], generator, device, size)
    else:
        clips = render(KINDS["plain"], scenes, device, size)
    kinds = torch.full((len(truth),), kind)
    parts = torch.split(given.only_given(clips, kinds), 16)
    latents = torch.cat([vae.encode(part)[0] for part in parts])
    mask = given.masks(size[0])[kinds].to(device)
    tokens = tiny_clip.tokens_of(tower, tiny_clip.pixels_of(given.shown(clips, kinds)))
    return Task(
        clips.cpu(),
        given.GIVEN[TASKS[name]](size[0]),
        given.channels(mask, latents),
        None if kind == given.NOTHING else tokens,
    )


def likeness(drawn: Tensor, task: Task) -> dict[str, dict[str, float]]:
    """PSNR of given frames in dB, mean and worst: the first, the last, and all of an opening."""
    figures = {}
    for frame in sorted({*task.frames[:1], *task.frames[-1:]}):
        values = psnr(drawn[:, :, frame], task.clips[:, :, frame])
        figures[f"frame {frame}"] = summary(values.tolist())
    if len(task.frames) > 2:
        picked = list(task.frames)
        values = psnr(drawn[:, :, picked], task.clips[:, :, picked])
        figures["all given"] = summary(values.tolist())
    return figures


def measured(name: str, drawn: Tensor, task: Task, truth: Tensor) -> dict[str, Any]:
    """All figures of one task; of a continued clip the judge sees what comes after the opening."""
    seen = drawn[:, :, task.frames[-1] :] if name == "continued" else drawn
    verdicts = judge_all(seen)
    return {"psnr": likeness(drawn, task)} | score(verdicts, truth) | extents(verdicts, truth)


def image_test(
    tiny: Path,
    image: Path,
    out: Path,
    *,
    plan: Iterable[tuple[str, dict[str, Any]]] | None = None,
    prompts: int = 64,
    seconds: float = 1e9,
    size: Size = SIZE,
) -> list[dict[str, Any]]:
    """Measure each task with each setting until ``seconds`` are over; sheets of the first ones go to ``out``.

    Args:
        tiny: folder of VAE and text encoder.
        image: folder of the transformer and the image encoder.
        plan: tasks and settings; None = ``sweep()``.
        prompts: clips; 0 = nothing is measured.
    """
    start, results = time.monotonic(), []
    if not prompts:
        return []
    device = prepare()
    truth = evaluation_combinations(prompts)
    words, ids = train_text.load(tiny, device)
    rows = train_text.embed(words, ids, ["", *(sentence(row) for row in truth.tolist())])
    vae = train_vae.load(tiny / "vae.safetensors", device)
    model = image_model.load(image / image_model.FILE, device)
    tower = tiny_clip.load(image / tiny_clip.FILE, device)
    noise = first_noise(range(FIRST_SEED, FIRST_SEED + prompts), size)
    tasks: dict[str, Task] = {}
    for name, setting in sweep() if plan is None else plan:
        if time.monotonic() - start > seconds:
            say("no time for more settings")
            break
        fresh = name not in tasks
        if fresh:
            tasks[name] = prepared(name, truth, vae, tower, device, size)
        task, begun = tasks[name], time.monotonic()
        drawn = sample(
            model,
            vae,
            rows[1:],
            rows[0],
            noise,
            channels=task.channels,
            image_tokens=task.tokens,
            batch=64 if device.type == "cuda" else 4,
            **setting,
        )
        result = {"task": name, "setting": setting} | measured(name, drawn, task, truth)
        results.append(result)
        say(
            f"{name} {setting} {result['psnr']} {result['accuracy']} all {result['all_right']} "
            f"move {result['shortest_move']} {time.monotonic() - begun:.0f} s"
        )
        if fresh:
            for mistake in result["mistakes"][:8]:
                say(f"  {mistake}")
            if name in SHEETS:
                picked = [frame for frame in SHOWN if frame < size[0]]
                sheet(drawn[:32], out / f"image-{name}.png", picked)
    return results
