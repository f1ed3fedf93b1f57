"""The words of the toy world and what they look like.

The order of every tuple is part of the held-out rule (``heldout.py``): append, never reorder.
Colours are sRGB in 0..1; lengths are fractions of the shorter picture side.
"""

from __future__ import annotations

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white")
SHAPES = ("circle", "square", "triangle")
MOTIONS = (
    "moves right",
    "moves left",
    "moves up",
    "moves down",
    "stays still",
    "circles around",
    "zooms in",
    "zooms out",
)
BACKGROUNDS = ("black", "gray", "navy", "brown", "teal")

#: attribute name -> its words, in the order of the columns of an attribute tensor ``[batch, 5]``
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": SIZES,
    "colour": COLOURS,
    "shape": SHAPES,
    "motion": MOTIONS,
    "background": BACKGROUNDS,
}


def _rgb(*levels: int) -> tuple[float, float, float]:
    red, green, blue = (level / 255 for level in levels)
    return (red, green, blue)


COLOUR_RGB = {
    "red": _rgb(232, 24, 24),
    "green": _rgb(24, 188, 40),
    "blue": _rgb(32, 64, 248),
    "yellow": _rgb(252, 228, 20),
    "purple": _rgb(152, 32, 192),
    "orange": _rgb(252, 138, 8),
    "cyan": _rgb(24, 230, 240),
    "white": _rgb(244, 244, 244),
}
BACKGROUND_RGB = {
    "black": _rgb(6, 6, 6),
    "gray": _rgb(128, 128, 128),
    "navy": _rgb(0, 0, 128),
    "brown": _rgb(139, 69, 19),
    "teal": _rgb(0, 128, 128),
}

#: radius of a circle; squares and triangles are scaled to nearly the same area
RADIUS = {"small": (0.085, 0.101), "large": (0.203, 0.229)}
#: a zoom runs between these multiples of the radius, so that small never reaches large
ZOOM = (0.70, 1.45)
#: how far a move goes and how wide an orbit is (its radius)
TRAVEL = (0.37, 0.46)
ORBIT = (0.18, 0.25)
#: how near an object comes to the edge of the picture
MARGIN = 0.02

LIGHTS = ("left", "right", "top", "bottom", "top left", "top right", "bottom left", "bottom right")
TEXTURES = ("striped", "checkered", "dotted", "speckled")
HAIR = ("black", "brown", "blond", "red", "gray")
EYES = ("brown", "blue", "green", "gray")
MOUTHS = ("talks", "smiles", "sings", "is silent")
