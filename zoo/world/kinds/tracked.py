"""One object or two, each on a path of its own, and where exactly they are: the world of tracks.

The column "motion" of the attributes says nothing here; it stands still, so that the rule of held-out
combinations applies to the other words.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.world.draw import (
    Canvas,
    Scenes,
    coverage,
    over,
    per_clip,
    shape_distance,
    shape_extents,
    uniform,
)
from zoo.world.heldout import combinations
from zoo.world.kinds import plain
from zoo.world.kinds.kind import Kind
from zoo.world.paths import at_times, draw_forms, draw_laws, fit, paths
from zoo.world.words import (
    ATTRIBUTES,
    BACKGROUND_RGB,
    COLOUR_RGB,
    MARGIN,
    MOTIONS,
)

_STILL = MOTIONS.index("stays still")
WHICH = ("first", "second")
#: how often there are two
PAIRS = 0.45
#: how often a path leads out of the picture, and how far out
LEAVES, OUTSIDE = 0.04, 0.4
#: the largest radius of one object of two
PAIR_RADIUS = 0.135
#: colours of one picture are at least so far apart, in levels of 0..1 and as directions from the background
APART, TURNED = 0.6, 0.45
#: candidates for the second object's path, of which one keeps away from the first
CANDIDATES = 24

ONE = (
    "a {size} {colour} {shape} follows the drawn path on a {background} background",
    "a {size} {colour} {shape} follows the track on a {background} background",
    "a {size} {colour} {shape} follows a curved path on a {background} background",
    "a {size} {colour} {shape} moves on a {background} background",
    "a {size} {colour} {shape} on a {background} background",
    "a {colour} {shape} moves on a {background} background",
)
TWO = (
    "a {colour} {shape} and a {colour2} {shape2} follow curved paths on a {background} background",
    "a {colour} {shape} and a {colour2} {shape2} move on a {background} background",
    "a {colour2} {shape2} and a {colour} {shape} follow curved paths on a {background} background",
    "a {colour} {shape} and a {colour2} {shape2} on a {background} background",
)


def rows(*, heldout: bool) -> Tensor:
    """The combinations ``[rows, 5]`` that an object may have, or those kept for evaluation."""
    every = combinations(heldout=heldout)
    return every[every[:, 3] == _STILL]


def sample(count: int, generator: torch.Generator) -> Scenes:
    """``count`` scenes of combinations that are not held out."""
    return scenes_of(count, generator, leaves=LEAVES)


def scenes_of(
    count: int,
    generator: torch.Generator,
    *,
    heldout: bool = False,
    leaves: float = 0.0,
    numbers: Tensor | None = None,
    forms: Tensor | None = None,
    laws: Tensor | None = None,
) -> Scenes:
    """Scenes with everything at random that is not given.

    Args:
        leaves: how often a path leads out of the picture.
        numbers: objects of each scene, ``[count]``, 1 or 2.
        forms, laws: of the paths (``zoo.world.paths``), ``[count]``.
    """
    if numbers is None:
        numbers = 1 + (torch.rand(count, generator=generator) < PAIRS).long()
    allowed = rows(heldout=heldout)
    partners = _partners(allowed)
    chances = torch.ones(count, len(allowed))
    chances[numbers == 2] *= partners.any(1).float()
    one = torch.multinomial(chances, 1, generator=generator)[:, 0]
    chances = torch.where(numbers[:, None] == 2, partners[one].float(), 1.0)
    other = torch.multinomial(chances, 1, generator=generator)[:, 0]
    first, second = allowed[one], allowed[other]
    scenes: Scenes = {"numbers": numbers}
    for which, attributes in zip(WHICH, (first, second), strict=True):
        own = plain.scenes_of(attributes, generator)
        small = uniform(count, 0.085, PAIR_RADIUS, generator)
        own["radius"] = torch.where(numbers == 2, small, own["radius"])
        scenes |= {f"{which}_{name}": value for name, value in own.items()}
    out = torch.rand(count, generator=generator) < leaves
    scenes["first_places"] = _places(scenes, "first", generator, out, forms, laws)
    options = torch.stack(
        [_places(scenes, "second", generator, out, forms, laws) for _ in range(CANDIDATES)]
    )
    distance = (options - scenes["first_places"]).norm(dim=-1).amin(-1)
    need = 1.5 * (scenes["first_radius"] + scenes["second_radius"])
    fine = (distance > need).float()
    best = torch.where(fine.amax(0) > 0, fine.argmax(0), distance.argmax(0))
    scenes["second_places"] = options[best, torch.arange(count)]
    return scenes


def _partners(allowed: Tensor) -> Tensor:
    """Whether two rows go together: on one background, of colours that can be told apart."""
    background, colour = allowed[:, 4], allowed[:, 1]
    apart = _apart()[background[:, None], colour[:, None], colour[None]]
    return apart & (background[:, None] == background[None])


def _apart() -> Tensor:
    """Whether two colours are told apart on a background: ``[backgrounds, colours, colours]``."""
    colours = torch.tensor(list(COLOUR_RGB.values()))
    grounds = torch.tensor(list(BACKGROUND_RGB.values()))
    way = colours[None] - grounds[:, None]
    cosine = torch.nn.functional.cosine_similarity(way[:, :, None], way[:, None], dim=-1)
    turned = (1 - cosine.square()).clamp(min=0).sqrt() > TURNED
    return turned & (torch.cdist(colours, colours) > APART)[None]


def _places(
    scenes: Scenes,
    which: str,
    generator: torch.Generator,
    out: Tensor,
    forms: Tensor | None,
    laws: Tensor | None,
) -> Tensor:
    radius = scenes[f"{which}_radius"]
    count = len(radius)
    forms = draw_forms(count, generator) if forms is None else forms
    laws = draw_laws(count, generator) if laws is None else laws
    across, up, down = shape_extents(scenes[f"{which}_attributes"][:, 2])
    low = MARGIN + radius[:, None] * torch.stack([across, up], -1)
    high = 1 - MARGIN - radius[:, None] * torch.stack([across, down], -1)
    further = torch.where(out, OUTSIDE, 0.0)[:, None]
    places = fit(paths(forms, laws, generator), low - further, high + further)
    # what leaves begins inside
    start = places[:, 0].clone()
    return places + (torch.minimum(torch.maximum(start, low), high) - start)[:, None]


def render(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1; the second object is in front."""
    parts = {which: _part(scenes, which) for which in WHICH}
    picture = plain.ground_of(parts["first"], canvas)
    for which, own in parts.items():
        centre = at_times(own["places"], canvas.t[0])
        dx, dy = canvas.x - per_clip(centre[..., 0]), canvas.y - per_clip(centre[..., 1])
        radius = per_clip(own["radius"])
        mask = coverage(shape_distance(own["attributes"][:, 2], dx, dy, radius), canvas.edge)
        if which == "second":
            mask = mask * per_clip((scenes["numbers"] == 2).float())
        picture = over(picture, mask, plain.object_of(own, dx, dy, radius))
    return picture


def _part(scenes: Scenes, which: str) -> Scenes:
    start = f"{which}_"
    return {n.removeprefix(start): v for n, v in scenes.items() if n.startswith(start)}


def tracks_of(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """Where the objects' centres are: ``[batch, frames, 2, 3]``, x and y in pixels and 1 where it is seen.

    An object that a scene has not is never seen.
    """
    side = min(height, width)
    centres = torch.stack(
        [at_times(scenes[f"{which}_places"], torch.linspace(0, 1, frames)) for which in WHICH], 2
    )
    pixels = centres * side
    limits = torch.tensor([float(width), float(height)])
    seen = ((pixels >= 0) & (pixels <= limits)).all(-1)
    there = scenes["numbers"][:, None] > torch.arange(len(WHICH))
    return torch.cat([pixels, (seen & there[:, None]).float()[..., None]], dim=-1)


def captions(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """One of a few ways to tell each scene; none says where an object goes."""
    told = []
    for number, one, two in zip(
        scenes["numbers"].tolist(),
        scenes["first_attributes"].tolist(),
        scenes["second_attributes"].tolist(),
        strict=True,
    ):
        templates = ONE if number == 1 else TWO
        pick = int(torch.randint(len(templates), (), generator=generator))
        told.append(tell(templates[pick], one, two))
    return told


def tell(template: str, one: list[int], two: list[int]) -> str:
    """A template with the words of the first object and, where it has such slots, of the second."""
    words = {name: options[one[n]] for n, (name, options) in enumerate(ATTRIBUTES.items())}
    words |= {
        f"{name}2": options[two[n]]
        for n, (name, options) in enumerate(ATTRIBUTES.items())
        if name in ("colour", "shape")
    }
    return template.format(**words)


TRACKED = Kind("tracked", sample, render, captions)
