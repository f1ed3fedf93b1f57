"""Relighting pairs: one object and one motion under two lights, and on two backgrounds.

A *foreground* shows the object as some camera saw it: evenly lit, or lit from anywhere and however strongly.
The *target* shows it under the light that the words ask for, whose strengths are always the same, on its own
background or on a new one. A *background* shows the new one without the object; where that will be may be
noise. So whatever the target shows is told by the foreground, the background or the words.

Clips are ``[batch, 3, frames, height, width]`` in -1..1 on the device that is asked for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.world import captions as text
from zoo.world.draw import Scenes, canvas, uniform
from zoo.world.heldout import combinations, evaluation_combinations, is_heldout
from zoo.world.kinds import lit, plain
from zoo.world.words import BACKGROUND_RGB, BACKGROUNDS, COLOURS, LIGHTS, RADIUS

Size = tuple[int, int, int]

#: strengths of the asked light: how far the object bulges, shines, shades, and how far the ground is graded
ASKED = {"bulge": 0.42, "gloss": 0.2, "shadow": 0.3, "grade": 0.18}
#: share of new backgrounds that are graded like the asked light, not from anywhere
AGREEING = 0.5
#: radius of small and large objects: those that are taught, and those that are shown to the judge of light
TAUGHT = {"small": (RADIUS["small"][0], 0.14), "large": RADIUS["large"]}
SHOWN = {"small": (0.125, 0.14), "large": RADIUS["large"]}
#: colours and backgrounds of one hue: in shade they are the same
ALIKE = (("white", "gray"), ("blue", "navy"), ("cyan", "teal"), ("orange", "brown"))
#: how much a new background is graded
GRADES = (0.05, 0.25)

_LIT = ("light", "light_angle", "grade", "grade_angle", "bulge", "gloss", "shadow")


def under(scenes: Scenes, light: Tensor) -> Scenes:
    """Plain scenes under the asked lights ``[batch]``, indices of ``words.LIGHTS``."""
    angle = torch.tensor(lit.LIGHT_ANGLES)[light]
    strengths = {name: torch.full((len(light),), value) for name, value in ASKED.items()}
    return scenes | strengths | {"light": light, "light_angle": angle, "grade_angle": angle}


def under_any(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """Plain scenes lit from anywhere, with any strengths."""
    drawn = lit.sample(len(scenes["radius"]), generator)
    return scenes | {name: drawn[name] for name in _LIT}


def elsewhere(scenes: Scenes, generator: torch.Generator, *, apart: bool = False) -> Scenes:
    """The same objects on other backgrounds; no combination is held out.

    Args:
        apart: no object is of the hue of its new background.
    """
    attributes = scenes["attributes"].clone()
    count, options = len(attributes), len(BACKGROUNDS)
    every = attributes[:, None].repeat(1, options, 1)
    every[..., 4] = torch.arange(options)
    free = ~is_heldout(every) & (every[..., 4] != attributes[:, None, 4])
    if apart:
        free &= ~alike(every)
    attributes[:, 4] = torch.multinomial(free.float(), 1, generator=generator)[:, 0]
    ground = torch.tensor(list(BACKGROUND_RGB.values()))[attributes[:, 4]]
    ground = ground * uniform(count, 0.92, 1.06, generator)[:, None]
    ground = ground + (torch.rand(count, 3, generator=generator) - 0.5) * 0.016
    return scenes | {"attributes": attributes, "ground": ground.clamp(0, 1)}


def alike(attributes: Tensor) -> Tensor:
    """Whether objects are of the hue of their backgrounds, so that shade hides them: ``[...]`` bool."""
    colour, background = attributes[..., 1, None], attributes[..., 4, None]
    pairs = torch.tensor([(COLOURS.index(c), BACKGROUNDS.index(b)) for c, b in ALIKE])
    return ((colour == pairs[:, 0]) & (background == pairs[:, 1])).any(-1)


def shown_combinations(count: int) -> Tensor:
    """Held-out combinations that use all words about equally, none of one hue: ``[count, 5]``."""
    rows = evaluation_combinations(len(combinations(heldout=True)))
    return rows[~alike(rows)][:count]


def graded(scenes: Scenes, light: Tensor, generator: torch.Generator) -> Scenes:
    """New backgrounds, brighter to one side, some of them to that of the asked light."""
    count = len(light)
    agrees = torch.rand(count, generator=generator) < AGREEING
    anywhere = uniform(count, 0, 2 * math.pi, generator)
    angle = torch.where(agrees, torch.tensor(lit.LIGHT_ANGLES)[light], anywhere)
    return scenes | {"grade": uniform(count, *GRADES, generator), "grade_angle": angle}


def foregrounds(
    scenes: Scenes, evenly: bool, generator: torch.Generator, device: torch.device, size: Size
) -> Tensor:
    """Clips to be relit, all evenly lit or each lit from anywhere."""
    board = canvas(*size, device)
    if evenly:
        clips = plain.render(_moved(scenes, device), board)
    else:
        clips = lit.render(_moved(under_any(scenes, generator), device), board)
    return clips.clamp(0, 1) * 2 - 1


def targets(scenes: Scenes, light: Tensor, device: torch.device, size: Size) -> Tensor:
    """The same clips under the asked lights; the ground is graded by the light."""
    clips = lit.render(_moved(under(scenes, light), device), canvas(*size, device))
    return clips.clamp(0, 1) * 2 - 1


def targets_on(scenes: Scenes, light: Tensor, device: torch.device, size: Size) -> Tensor:
    """Clips under the asked lights on the ``graded`` backgrounds of their scenes, which stay as they are."""
    kept = {name: scenes[name] for name in ("grade", "grade_angle")}
    clips = lit.render(_moved(under(scenes, light) | kept, device), canvas(*size, device))
    return clips.clamp(0, 1) * 2 - 1


def outlines(scenes: Scenes, device: torch.device, size: Size) -> Tensor:
    """Soft masks of the objects, ``[batch, frames, height, width]`` in 0..1."""
    return plain.offsets_of(_moved(scenes, device), canvas(*size, device))[3]


def backgrounds(
    scenes: Scenes, masked: Tensor, generator: torch.Generator, device: torch.device, size: Size
) -> Tensor:
    """The backgrounds of scenes without their objects.

    Args:
        masked: whose object's place is filled with noise of the mean and spread of what is around it,
            anew in each frame: ``[batch]`` bool.
        generator: CPU generator; the noise itself is drawn on ``device``.
    """
    moved = _moved(scenes, device)
    ground = plain.ground_of(moved, canvas(*size, device)).expand(-1, -1, size[0], -1, -1)
    hidden = (outlines(scenes, device, size) > 0.5)[:, None].float()
    seen = 1 - hidden
    count = seen.sum(dim=(3, 4), keepdim=True).clamp(min=1)
    mean = (ground * seen).sum(dim=(3, 4), keepdim=True) / count
    spread = ((ground - mean).square() * seen).sum(dim=(3, 4), keepdim=True).div(count).sqrt()
    seed = int(torch.randint(2**31, (), generator=generator))
    draw = torch.Generator(device).manual_seed(seed)
    noise = mean + spread * torch.randn(ground.shape, generator=draw, device=device)
    filled = torch.where((hidden > 0) & masked.to(device)[:, None, None, None, None], noise, ground)
    return filled.clamp(0, 1) * 2 - 1


def told(scenes: Scenes, light: Tensor) -> list[str]:
    """The grammar's sentence with the light behind a comma."""
    rows = zip(scenes["attributes"].tolist(), light.tolist(), strict=True)
    return [f"{text.sentence(row)}, lit from the {LIGHTS[number]}" for row, number in rows]


def retold(scenes: Scenes, light: Tensor, generator: torch.Generator) -> list[str]:
    """The same in other words, or only the light."""
    sentences = []
    for row, number in zip(scenes["attributes"].tolist(), light.tolist(), strict=True):
        told_by = float(torch.rand((), generator=generator))
        scene = text.paraphrase(row, generator) if told_by < 0.3 else ""
        sentences.append(f"{scene}{', ' * bool(scene)}lit from the {LIGHTS[number]}")
    return sentences


def _moved(scenes: Scenes, device: torch.device) -> Scenes:
    return {name: value.to(device) for name, value in scenes.items()}
