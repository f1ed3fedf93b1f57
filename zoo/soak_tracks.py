"""The part of the soak about objects that follow tracks, with the plugin of tracks as users have it.

The first frame is given as a PNG and the tracks as a TOML file; the video is read back from a file that keeps
every pixel. The same clips are drawn again without tracks, from the same seeds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wan_core import Session
from wan_core.plugins import Plugins
from zoo.checks import Check, Extent, Figures, Pool, session_of
from zoo.product import video_of, write_picture
from zoo.track_judge import centres
from zoo.track_test import (
    FARTHEST,
    FIRST_SEED,
    SHARE,
    SIZE,
    Seen,
    colours_of,
    distances,
    scenes_for,
    score,
    sentences,
)
from zoo.world import WIDTH, render
from zoo.world.draw import Scenes
from zoo.world.kinds import tracked

FAMILY, FEATURE = "tiny-ati", "ati"


def is_there() -> bool:
    """Whether the plugin is installed and brings its model along."""
    return FAMILY in Plugins.discover().families


def tracks_text(tracks: Tensor) -> str:
    """A track file (TOML) of centres ``[frames, objects, 3]`` in pixels."""
    lines = ['units = "pixels"']
    for track in tracks.unbind(1):
        points = [[round(x, 3), round(y, 3)] for x, y, _ in track.tolist()]
        lines += ["[[tracks]]", f"points = {json.dumps(points)}"]
    return "\n".join(lines) + "\n"


def film(
    session: Session, own: Path, scene: Scenes, seed: int, ways: Sequence[bool] = (True, False)
) -> list[Tensor]:
    """A scene's first frame set in motion by the product, with its tracks (True) and without.

    Args:
        own: a folder for the files.

    Returns:
        clips ``[3, frames, height, width]`` uint8.
    """
    objects = int(scene["numbers"][0])
    clip = render(tracked.TRACKED, scene, "cpu", (1, *SIZE[1:]))[0]
    write_picture(own / "first.png", ((clip[:, 0] + 1) * 127.5).round().byte())
    truth = tracked.tracks_of(scene, *SIZE)[0, :, :objects]
    (own / "tracks.toml").write_text(tracks_text(truth), encoding="utf-8")
    feature = {"use": FEATURE, "tracks": "tracks.toml"}
    return [
        video_of(
            session,
            sentences(scene)[0],
            seed,
            own,
            family=FAMILY,
            output="clip.mkv",
            image="first.png",
            apply=[feature] if told else [],
        )
        for told in ways
    ]


def scene_of(count: int, number: int) -> Scenes:
    """Scene ``number`` of ``count`` of the evaluation."""
    return {name: value[number : number + 1] for name, value in scenes_for(count).items()}


def draw(folder: Path, count: int, number: int) -> tuple[Tensor, Tensor]:
    """Clip ``number`` of ``count`` with its tracks and without: where the judge sees objects in each."""
    session, own = session_of(folder)
    scene = scene_of(count, number)
    with_them, alone = film(session, own, scene, FIRST_SEED + number)
    (colours,) = colours_of(scene)
    return centres(with_them, colours)[0], centres(alone, colours)[0]


def check_tracks(pool: Pool, extent: Extent, folder: Path) -> Figures:
    """Unseen tracks through the product, and the same clips without them."""
    count = extent.tracks
    found = list(pool.map(partial(draw, folder, count), range(count)))
    truth = tracked.tracks_of(scenes_for(count), *SIZE)
    with_them, alone = (
        distances(Seen(list(places), [torch.ones(0)] * count), truth)
        for places in zip(*found, strict=True)
    )
    figures: dict[str, Any] = score(with_them, alone, WIDTH)
    figures["clips"] = [round(float(value) / WIDTH, 4) for value in with_them]
    checks = [
        Check("tracks: mean distance", 100 * figures["mean"], most=100 * FARTHEST, unit="%"),
        Check("tracks: of that without", 100 * figures["ratio"], most=100 * SHARE, unit="%"),
    ]
    return figures, checks
