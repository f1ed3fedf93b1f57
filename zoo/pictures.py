"""The pictures of the documentation: ``python -m zoo.pictures [--out docs/images] [--only NAME]``.

Each is a column of captioned strips: nine frames of a clip, every fourth of its 33. What was given to the model
has a ring around it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import wan_core
from zoo.product import read_clip, video_of
from zoo.world import KINDS, coarsen, render
from zoo.world.captions import sentence
from zoo.world.heldout import evaluation_combinations

if TYPE_CHECKING:
    from PIL.Image import Image

#: the README's four videos
HELLO = (
    ("a large red circle moves right on a black background", 1),
    ("a small cyan triangle circles around on a navy background", 2),
    ("a large yellow square zooms out on a teal background", 1),
    ("a small white circle moves up on a brown background", 2),
)
#: examples that begin with something: file, what that is, numbers of the given frames
EXAMPLES: tuple[tuple[str, str, Collection[int]], ...] = (
    ("image", "a picture", (0,)),
    ("first-and-last", "two pictures", (0, 32)),
    ("continue", "the end of another video", range(9)),
    ("change", "a video with a red circle, made anew in the right half", ()),
)
#: of the evaluation of relighting: task, number of its clip, lights that are asked for
RELIT = (("even", 3, ("top left", "bottom right")), ("new background", 5, ("right",)))
#: scenes of the evaluation of tracks: a line, a curve, one with stops, and two objects
TRACKED = (28, 9, 14, 51)
EVERY = 4
FIRST_SEED = 31
GAP, LINE, MARGIN, CORNER = 4, 26, 12, 6
PAPER, INK, RING = (255, 255, 255), (31, 35, 40), (220, 60, 130)

Row = tuple[str, Tensor]


def strips(rows: Sequence[Row], *, given: Sequence[Collection[int]] = (), coarse: int = 1) -> Image:
    """Captions above strips of frames, one below the other.

    Args:
        rows: caption and clip ``[3, frames, height, width]`` uint8; of each clip every fourth frame
            is shown.
        given: of each clip the numbers of the frames that get a ring.
        coarse: pixel values are rounded to multiples of this, which makes a PNG small.
    """
    from PIL import Image, ImageDraw, ImageFont

    _, frames, height, width = rows[0][1].shape
    shown = len(range(0, frames, EVERY))
    size = (
        2 * MARGIN + shown * (width + GAP) - GAP,
        len(rows) * (LINE + height + MARGIN) + MARGIN // 2,
    )
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    # frames with round corners, drawn large and reduced so that they are smooth
    mask = Image.new("L", (4 * width, 4 * height), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *mask.size), 4 * CORNER, 255)
    mask = mask.resize((width, height), Image.Resampling.LANCZOS)
    for number, (caption, clip) in enumerate(rows):
        top = MARGIN // 2 + number * (LINE + height + MARGIN)
        draw.text((MARGIN, top + LINE // 2), caption, INK, font, anchor="lm")
        for place, frame in enumerate(clip[:, ::EVERY].permute(1, 2, 3, 0)):
            left = MARGIN + place * (width + GAP)
            rounded = (frame.float() / coarse).round().mul(coarse).clamp(0, 255).byte()
            if given and place * EVERY in given[number]:
                box = (left - 2, top + LINE - 2, left + width + 1, top + LINE + height + 1)
                draw.rounded_rectangle(box, CORNER + 2, RING)
            picture.paste(Image.fromarray(rounded.numpy()), (left, top + LINE), mask)
    return picture


def generated(prompts: Sequence[tuple[str, int]]) -> list[Row]:
    """Prompts with their seeds, through the product."""
    with tempfile.TemporaryDirectory() as name, wan_core.Session(device="cpu") as session:
        return [(text, video_of(session, text, seed, Path(name))) for text, seed in prompts]


def examples() -> list[Row]:
    """What the examples make that begin with pictures or with a video."""
    rows = []
    with tempfile.TemporaryDirectory() as name, wan_core.Session(device="cpu") as session:
        for example, source, _ in EXAMPLES:
            output = f"output.path={Path(name) / example}.mkv"
            workflow = wan_core.load_workflow(f"examples/{example}.toml", [output])
            (path,) = session.run(workflow).outputs
            told = workflow.stages[-1].options.prompt
            rows.append((f"from {source}: {told}", read_clip(path)))
    return rows


def heldout_prompts() -> list[tuple[str, int]]:
    """Eight held-out sentences that use all words about equally, in the order of the motions."""
    rows = sorted(evaluation_combinations(8).tolist(), key=lambda row: row[3])
    return [(sentence(row), 1) for row in rows]


def world() -> list[Row]:
    """One clip of every kind of the world."""
    rows: list[Row] = []
    for seed, (name, kind) in enumerate(KINDS.items(), FIRST_SEED):
        generator = torch.Generator().manual_seed(seed)
        scenes = kind.sample(1, generator)
        caption = kind.captions(scenes, generator)[0]
        rows.append((f"{name}: {caption}", render(kind, scenes)))
        if name == "textured":
            lowres = coarsen(rows[-1][1], 3, blocks=True)
    rows.append(("lowres: any of these through a coarse camera", lowres))
    return [(caption, ((clip[0] + 1) * 127.5).round().byte()) for caption, clip in rows]


def along_tracks() -> list[Row]:
    """A scene of each group of the evaluation of tracks, through the product, its track drawn over."""
    from PIL import Image, ImageDraw

    from zoo.soak_tracks import film, scene_of
    from zoo.track_test import SIZE, sentences
    from zoo.world.kinds.tracked import tracks_of

    rows = []
    with tempfile.TemporaryDirectory() as name, wan_core.Session(device="cpu") as session:
        for number in TRACKED:
            scene = scene_of(64, number)
            (clip,) = film(session, Path(name), scene, number, (True,))
            frames = []
            for frame in clip.permute(1, 2, 3, 0):
                picture = Image.fromarray(frame.contiguous().numpy())
                pen = ImageDraw.Draw(picture)
                for track in tracks_of(scene, *SIZE)[0].unbind(1)[: int(scene["numbers"][0])]:
                    pen.line([(x, y) for x, y, _ in track.tolist()], RING)
                levels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
                frames.append(levels.view(*SIZE[1:], 3))
            drawn = torch.stack(frames).permute(3, 0, 1, 2)
            rows.append((sentences(scene)[0], drawn))
    return rows


def relit() -> list[Row]:
    """Clips of the evaluation of relighting as they are given, and as the product lights them."""
    from zoo.relight_test import SIZE, case_of
    from zoo.soak_unilumos import CPU, write_lossless
    from zoo.soak_unilumos import workflow_text as relighting

    rows = []
    with tempfile.TemporaryDirectory() as name, wan_core.Session(device="cpu") as session:
        folder = Path(name)
        for task, number, lights in RELIT:
            case = case_of(task, number + 1, CPU, SIZE)
            write_lossless(folder / "foreground.mkv", case.given[number])
            behind = "" if case.behind is None else ", for a new background"
            rows.append((f"given{behind}", read_clip(folder / "foreground.mkv")))
            if case.behind is not None:
                write_lossless(folder / "background.mkv", case.behind[number])
            scene, _, _ = case.captions[number].partition(", lit from")
            for light in lights:
                prompt = f"{scene}, lit from the {light}"
                text = relighting(prompt, FIRST_SEED, case.behind is not None)
                (path,) = session.run(wan_core.parse_workflow(text, folder=folder)).outputs
                rows.append((prompt, read_clip(path)))
    return rows


PICTURES: dict[str, Callable[[], Image]] = {
    "hello": lambda: strips(generated(HELLO)),
    "from-picture": lambda: strips(examples(), given=[frames for *_, frames in EXAMPLES], coarse=2),
    "toy-generated": lambda: strips(generated(heldout_prompts()), coarse=2),
    "toy-world": lambda: strips(world()),
    "along-tracks": lambda: strips(along_tracks(), coarse=2),
    "relit": lambda: strips(relit(), coarse=2),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all of them, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", choices=PICTURES, help="make this one")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else PICTURES:
        PICTURES[name]().save(options.out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
