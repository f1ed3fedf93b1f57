"""From a stage's circumstances to a layout: what the tracks were drawn on, and what of it the video shows."""

from __future__ import annotations

from collections.abc import Mapping

from wan_core.contract import VideoSize
from wan_core.stages import nearly
from wan_plugin_ati.clip import Layout, Window
from wan_plugin_ati.options import AtiOptions
from wan_plugin_ati.tracks import Drawing

Size = tuple[int, int]
FIRST = ("image", "continues", "video")
"""What a video begins with, in the order in which it says what the tracks are drawn on."""


def layout_of(
    options: AtiOptions, drawing: Drawing, size: VideoSize, pictures: Mapping[str, Size]
) -> Layout:
    """How a drawing is read in a stage.

    Args:
        size: what the stage makes.
        pictures: what it is given, by option, in its own size.
    """
    picture = picture_size(size, pictures)
    canvas = picture
    if options.width is not None and options.height is not None:
        canvas = (options.width, options.height)
    elif drawing.canvas is not None:
        canvas = drawing.canvas
    return Layout(
        canvas,
        _window(canvas, picture, (size.width, size.height)),
        size.frames,
        size.fps,
        options.units or drawing.units or "pixels",
        options.times or drawing.times or "share",
        options.padding,
    )


def picture_size(size: VideoSize, pictures: Mapping[str, Size]) -> Size:
    """Width and height of the picture that the video begins with; those of the video where it is not known."""
    return next((pictures[name] for name in FIRST if name in pictures), (size.width, size.height))


def _window(canvas: Size, picture: Size, size: Size) -> Window:
    """All of the canvas, but where the picture is cut to the proportions of the video.

    Where it is stretched a little instead, the tracks are read as upstream reads them: by the picture's
    own proportions.
    """
    width, height = map(float, canvas)
    if nearly(picture, size):
        return Window(width, height)
    scale = max(size[0] / picture[0], size[1] / picture[1])
    across, down = size[0] / scale / picture[0], size[1] / scale / picture[1]
    kept = (width * across, height * down)
    return Window(*kept, (width - kept[0]) / 2, (height - kept[1]) / 2)
