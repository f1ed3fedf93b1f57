"""How well objects follow tracks that were never trained on, measured in batches on the training device.

The same clips are drawn twice, from the same noise: once with the tracks, once without. Contact sheets show the
asked track and where the judge saw the object.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from wan_core.models.vae import WanVAE
from zoo import given, tiny_clip, track_edit
from zoo.measures import in_threads
from zoo.sample import Size, first_noise, sample
from zoo.track_judge import centres
from zoo.train_video import text_rows
from zoo.training import say
from zoo.world import FRAMES, HEIGHT, WIDTH, render
from zoo.world.draw import Scenes
from zoo.world.kinds import tracked
from zoo.world.paths import FORMS, LAWS
from zoo.world.words import COLOURS

SIZE = (FRAMES, HEIGHT, WIDTH)
FIRST_SEED = 3000
#: how the product samples the bundled image-to-video model
PRESET: dict[str, Any] = {"steps": 16, "shift": 3.0, "guidance": 2.0, "solver": "unipc"}
#: what is promised of the mean distance: as a fraction of the width, and of the distance without tracks
FARTHEST, SHARE = 0.05, 1 / 3
#: evaluation scenes: forms of paths, laws of time, objects
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {
    "lines": (("line", "back"), ("steady", "changing"), 1),
    "curves": (("curve", "winding", "arc"), ("steady", "changing"), 1),
    "stops": (("line", "curve"), ("stops",), 1),
    "two objects": (("line", "curve", "winding", "arc"), LAWS, 2),
}
#: frames that show what a clip is about
SHOWN = (0, 6, 12, 18, 25, 32)
#: two objects stay so many radii apart, so that the judge sees both
ROOM = 1.45


def group_of(number: int) -> str:
    """The group of evaluation scene ``number``."""
    return tuple(GROUPS)[number % len(GROUPS)]


def scenes_for(count: int, seed: int = 84) -> Scenes:
    """``count`` scenes of held-out combinations, of each group equally many, in turn."""
    generator = torch.Generator().manual_seed(seed)
    groups = [_scenes(GROUPS[group], -(-count // len(GROUPS)), generator) for group in GROUPS]
    return {
        name: torch.stack([group[name] for group in groups], 1).flatten(0, 1)[:count]
        for name in groups[0]
    }


def _scenes(
    group: tuple[tuple[str, ...], tuple[str, ...], int], count: int, generator: torch.Generator
) -> Scenes:
    names, laws, objects = group

    def numbers(options: Sequence[str], every: Sequence[str]) -> Tensor:
        known = torch.tensor([every.index(name) for name in options])
        return known[torch.randint(len(known), (4 * count,), generator=generator)]

    scenes = tracked.scenes_of(
        4 * count,
        generator,
        heldout=True,
        numbers=torch.full((4 * count,), objects),
        forms=numbers(names, FORMS),
        laws=numbers(laws, LAWS),
    )
    distance = (scenes["first_places"] - scenes["second_places"]).norm(dim=-1).amin(1)
    apart = distance > ROOM * (scenes["first_radius"] + scenes["second_radius"])
    fine = (apart | (scenes["numbers"] == 1)).nonzero()[:count, 0]
    assert len(fine) == count
    return {name: value[fine] for name, value in scenes.items()}


def sentences(scenes: Scenes) -> list[str]:
    """The first of the ways to tell each scene."""
    ends = (scenes[f"{which}_attributes"].tolist() for which in tracked.WHICH)
    return [
        tracked.tell(tracked.ONE[0] if number == 1 else tracked.TWO[0], one, two)
        for number, one, two in zip(scenes["numbers"].tolist(), *ends, strict=True)
    ]


def colours_of(scenes: Scenes) -> list[list[str]]:
    """The colour of each object of each scene."""
    words = torch.stack([scenes[f"{which}_attributes"][:, 1] for which in tracked.WHICH], 1)
    return [
        [COLOURS[colour] for colour in row[:number]]
        for row, number in zip(words.tolist(), scenes["numbers"].tolist(), strict=True)
    ]


@attrs.frozen(eq=False)
class Seen:
    """Where the judge saw the objects of each clip, ``[frames, objects, 2]``, and whether they were there."""

    places: list[Tensor]
    there: list[Tensor]


def look(clips: Tensor, colours: Sequence[Sequence[str]]) -> Seen:
    """Judge ``[clips, 3, frames, height, width]``."""
    found = in_threads(centres, clips.cpu().unbind(), colours)
    return Seen([places for places, _ in found], [there for _, there in found])


def distances(seen: Seen, truth: Tensor) -> Tensor:
    """Mean distance of each clip's objects from their tracks in pixels, all frames but the given one."""
    means = []
    for places, track in zip(seen.places, truth, strict=True):
        wanted = track[1:, : places.shape[1], :2]
        means.append((places[1:] - wanted).norm(dim=-1).mean())
    return torch.stack(means)


def score(distance: Tensor, without: Tensor, width: int) -> dict[str, Any]:
    """Figures of clips' distances with tracks and without, as fractions of the width."""
    with_them, alone = distance / width, without / width
    ratio = float(with_them.mean() / alone.mean().clamp(min=1e-6))
    figures: dict[str, Any] = {
        "mean": round(float(with_them.mean()), 4),
        "worst": round(float(with_them.max()), 4),
        "without": round(float(alone.mean()), 4),
        "ratio": round(ratio, 4),
        "within": round(float((with_them <= FARTHEST).float().mean()), 4),
    }
    groups = torch.arange(len(distance)) % len(GROUPS)
    for number, name in enumerate(GROUPS):
        if bool((groups == number).any()):
            own = groups == number
            figures[name] = {
                "mean": round(float(with_them[own].mean()), 4),
                "worst": round(float(with_them[own].max()), 4),
                "without": round(float(alone[own].mean()), 4),
            }
    figures["ok"] = figures["mean"] <= FARTHEST and ratio <= SHARE
    return figures


def sweep() -> Iterator[dict[str, Any]]:
    """Settings, the preset first."""
    yield PRESET
    for change in ({"guidance": 1.0}, {"guidance": 3.0}, {"steps": 24}, {"solver": "euler"}):
        yield PRESET | change


@attrs.frozen(eq=False)
class Asked:
    """Evaluation scenes as a model takes them.

    Attributes:
        scenes: what is asked.
        truth: tracks in pixels, ``[clips, frames, 2, 3]``.
        with_tracks, without: channels behind the noisy ones, ``[clips, 20, f, h, w]``.
        tokens: image tokens.
    """

    scenes: Scenes
    truth: Tensor
    with_tracks: Tensor
    without: Tensor
    tokens: Tensor


@torch.no_grad()
def asked(count: int, vae: WanVAE, tower: Any, device: torch.device, size: Size) -> Asked:
    """The evaluation scenes with their first frames encoded and their tracks in the conditioning."""
    scenes = scenes_for(count)
    first = given.NAMES.index("first")
    latents, tokens = [], []
    for start in range(0, count, 16):
        part = {name: value[start : start + 16] for name, value in scenes.items()}
        clips = render(tracked.TRACKED, part, device, size)
        kinds = torch.full((len(clips),), first)
        latents.append(vae.encode(given.only_given(clips, kinds))[0].float())
        tokens.append(tiny_clip.tokens_of(tower, tiny_clip.pixels_of(clips[:, :, 0])).float())
    mask = given.masks(size[0])[torch.full((count,), first)].to(device)
    plain = given.channels(mask, torch.cat(latents))
    truth = tracked.tracks_of(scenes, *size)
    processed = track_edit.processed(truth.to(device), *size[1:])
    temperature = track_edit.scaled_temperature(*plain.shape[-2:])
    edited = track_edit.edit(plain, processed, temperature)
    return Asked(scenes, truth, edited, plain, torch.cat(tokens))


def track_test(
    model: nn.Module,
    vae: WanVAE,
    tower: Any,
    tiny: Path,
    out: Path,
    *,
    count: int = 64,
    seconds: float = 1e9,
    size: Size = SIZE,
    plan: Iterable[Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Measure with each setting until ``seconds`` are over, with one at least; its sheets go to ``out``.

    Args:
        model: velocity of latents.
        tiny: folder of the text encoder.
        plan: settings; None = ``sweep()``.
    """
    if not count:
        return []
    start = time.monotonic()
    results: list[dict[str, Any]] = []
    device = next(model.parameters()).device
    wanted = asked(count, vae, tower, device, size)
    rows = text_rows(tiny, ["", *sentences(wanted.scenes)], device)
    colours = colours_of(wanted.scenes)
    noise = first_noise(range(FIRST_SEED, FIRST_SEED + count), size)
    for number, setting in enumerate(sweep() if plan is None else plan):
        if results and time.monotonic() - start > seconds:
            say("no time for more settings")
            break
        drawn = [
            sample(
                model,  # type: ignore[arg-type]
                vae,
                rows[1:],
                rows[0],
                noise,
                channels=channels,
                image_tokens=wanted.tokens,
                batch=64 if device.type == "cuda" else 4,
                **setting,
            )
            for channels in (wanted.with_tracks, wanted.without)
        ]
        seen = [look(clips, colours) for clips in drawn]
        found, alone = (distances(one, wanted.truth) for one in seen)
        result = {"setting": dict(setting)} | score(found, alone, size[2])
        result["clips"] = [round(float(value) / size[2], 4) for value in found]
        result["clips_without"] = [round(float(value) / size[2], 4) for value in alone]
        results.append(result)
        say(f"{setting}: { {k: v for k, v in result.items() if not k.startswith('clips')} }")
        if number == 0:
            for name, clips, one in zip(("with", "without"), drawn, seen, strict=True):
                sheet(clips, wanted.truth, one, wanted.scenes, out / f"tracks-{name}.png")
    return results


def sheet(
    clips: Tensor, truth: Tensor, seen: Seen, scenes: Scenes, path: Path, across: int = 3
) -> None:
    """Some frames of each clip with its tracks drawn over: asked so far in white, seen as a black dot."""
    from PIL import Image, ImageDraw

    scale = 2
    frames, height, width = clips.shape[2:]
    shown = [frame for frame in SHOWN if frame < frames]
    cell = (width * scale * len(shown), height * scale)
    whole = Image.new("RGB", (cell[0] * across, cell[1] * -(-len(clips) // across)))
    for number, clip in enumerate(clips):
        objects = int(scenes["numbers"][number])
        for place, frame in enumerate(shown):
            levels = ((clip[:, frame] + 1) * 127.5).round().clamp(0, 255).byte()
            picture = Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
            picture = picture.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            pen = ImageDraw.Draw(picture)
            for one in range(objects):
                line = (truth[number, : frame + 1, one, :2] * scale).tolist()
                points = [(x, y) for x, y in line]
                if frame:
                    pen.line(points, fill=(255, 255, 255), width=1)
                _dot(pen, points[-1], 3, (255, 255, 255))
                x, y = (seen.places[number][frame, one] * scale).tolist()
                _dot(pen, (x, y), 2, (0, 0, 0))
            left = number % across * cell[0] + place * width * scale
            whole.paste(picture, (left, number // across * cell[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path)


def _dot(pen: Any, at: tuple[float, float], radius: int, colour: tuple[int, int, int]) -> None:
    x, y = at
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
