"""Tracks drawn over pictures: where each point has been, and where it is. Imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wan_plugin_ati.clip import Laid, Window
from wan_plugin_ati.tracks import Floats

COLOURS = (
    (255, 59, 48), (52, 199, 89), (0, 122, 255), (255, 204, 0), (175, 82, 222),
    (255, 149, 0), (90, 200, 250), (255, 45, 140), (162, 222, 60), (160, 130, 100),
)  # fmt: skip
"""Of tracks, one after another."""
OUTLINE = (0, 0, 0)
FAINT, SOLID = 170, 255
"""Opacity of the path that is still to come, and of all else."""
PARTS = 8
"""Of the clip, each with a dot at its end."""
SMALL = 2**17
"""Pixels of a picture over which it is drawn three times finer, for smooth edges; over larger ones twice."""

Colour = tuple[int, int, int]
Picture = NDArray[np.uint8]
Layer = NDArray[np.uint8]


def on_picture(laid: Laid, window: Window, width: int, height: int) -> Floats:
    """The points in pixels of a picture that shows the window, ``[frames, tracks, 2]``."""
    scale = np.asarray((width / window.width, height / window.height), np.float32)
    placed: Floats = (laid.points - np.asarray((window.left, window.top), np.float32)) * scale
    return placed


def layer_of(points: Floats, seen: NDArray[np.bool_], frame: int, width: int, height: int) -> Layer:
    """What is drawn over one frame, ``[height, width, 4]``: red, green, blue, opacity.

    Behind each point is its way so far, before it thinner the way to come, with a dot for each part of the
    clip: where they are far apart the point is fast. A hidden point is a ring.

    Args:
        points: in pixels of the picture, ``[frames, tracks, 2]``.
        seen: ``[frames, tracks]``.
    """
    fine = 3 if width * height <= SMALL else 2
    image = Image.new("RGBA", (width * fine, height * fine), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    thick = max(1.0, min(width, height) / 200) * fine
    # no line is drawn across a distance that nobody sees
    reach = 4 * max(width, height)
    places = np.clip(points, -reach, reach) * fine
    dots = [round(share * (len(points) - 1) / PARTS) for share in range(1, PARTS + 1)]
    tracks = [
        (places[:, index], seen[:, index], COLOURS[index % len(COLOURS)])
        for index in range(points.shape[1])
    ]
    for way, shown, colour in tracks:
        _line(draw, way[frame:], shown[frame:], colour, thick, FAINT)
        for place in way[[dot for dot in dots if dot > frame and shown[dot]]]:
            _dot(draw, place, 1.5 * thick, thick / 2, colour)
        _line(draw, way[: frame + 1], shown[: frame + 1], colour, 2 * thick, SOLID)
    for way, shown, colour in tracks:
        _dot(draw, way[frame], 5 * thick, thick, colour, filled=bool(shown[frame]))
    return np.array(image.resize((width, height), Image.Resampling.BOX))


def draw_over(picture: Picture, layer: Layer) -> Picture:
    """A picture ``[height, width, 3]`` with a layer over it."""
    opacity = layer[..., 3:].astype(np.float32) / 255
    mixed = picture * (1 - opacity) + layer[..., :3] * opacity
    return np.rint(mixed).astype(np.uint8)


def _line(
    draw: ImageDraw.ImageDraw,
    way: Floats,
    shown: NDArray[np.bool_],
    colour: Colour,
    thick: float,
    opacity: int,
) -> None:
    """The stretches of a way on which the point is seen, with a dark rim."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]])))
    for first, last in edges.reshape(-1, 2):
        stretch = [(float(x), float(y)) for x, y in way[first:last]]
        if len(stretch) > 1:
            for shade, width in ((OUTLINE, 2 * thick), (colour, thick)):
                draw.line(stretch, fill=(*shade, opacity), width=round(width), joint="curve")


def _dot(
    draw: ImageDraw.ImageDraw,
    place: Floats,
    radius: float,
    rim: float,
    colour: Colour,
    *,
    filled: bool = True,
) -> None:
    x, y = float(place[0]), float(place[1])
    box = (x - radius, y - radius, x + radius, y + radius)
    width = max(1, round(rim))
    if filled:
        draw.ellipse(box, fill=(*colour, SOLID), outline=(*OUTLINE, SOLID), width=width)
    else:
        draw.ellipse(box, outline=(*colour, SOLID), width=width)
