"""Plain clips that go on from another one: the object arrives by some other motion, then does what is told.

This is what a video that continues another one looks like: its first frames are that one's last.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from zoo.world.draw import Canvas, Scenes, canvas, choice, uniform
from zoo.world.kinds.plain import PLAIN, track_of
from zoo.world.words import MARGIN, MOTIONS, ORBIT, TRAVEL

_STILL = MOTIONS.index("stays still")
#: ways to arrive; zooms are none, because they would change the size that the caption tells
ARRIVALS = tuple(n for n, motion in enumerate(MOTIONS) if not motion.startswith("zooms"))


def continued(
    scenes: Scenes,
    opening: int,
    generator: torch.Generator,
    device: torch.device | str,
    size: tuple[int, int, int],
) -> Tensor:
    """Draw scenes that begin where another clip ended: ``[batch, 3, frames, height, width]`` in -1..1.

    Args:
        scenes: plain ones; what they tell takes place in the frames after the opening.
        opening: frames at the beginning that are the other clip's last ones.
        generator: CPU generator.
    """
    frames = size[0]
    board = canvas(*size, device)
    steps = torch.arange(opening - 1, 0, -1, device=device) / (frames - 1)
    before = attrs.evolve(board, t=(1 - steps)[None])
    after = attrs.evolve(board, t=torch.linspace(0, 1, frames - opening + 1, device=device)[None])
    parts = [
        PLAIN.render({name: value.to(device) for name, value in part.items()}, canvas_of)
        for part, canvas_of in (
            (_previous(scenes, opening, frames, generator), before),
            (scenes, after),
        )
        if canvas_of.t.numel()
    ]
    return torch.cat(parts, dim=2).clamp(0, 1) * 2 - 1


def _previous(scenes: Scenes, opening: int, frames: int, generator: torch.Generator) -> Scenes:
    """Scenes that end where ``scenes`` begin, by a motion of their own."""
    count = len(scenes["radius"])
    x, y, radius = track_of(scenes, _moment(0.0))
    motion = torch.tensor(ARRIVALS)[choice(count, len(ARRIVALS), generator)]
    made = scenes | {
        "radius": radius[:, 0],
        "travel": uniform(count, *TRAVEL, generator),
        "orbit": uniform(count, *ORBIT, generator),
        "middle": torch.zeros(count, 2),
    }

    def moving(motion: Tensor) -> Scenes:
        attributes = scenes["attributes"].clone()
        attributes[:, 3] = motion
        around = motion == MOTIONS.index("circles around")
        one = made | {
            "attributes": attributes,
            "orbit": torch.where(around, made["orbit"], 0.0),
        }
        end_x, end_y, _ = track_of(one, _moment(1.0))
        return one | {"middle": torch.cat([x - end_x, y - end_y], dim=1)}

    # who would come from outside of the picture has been there all the time
    start_x, start_y, _ = track_of(moving(motion), _moment(1 - (opening - 1) / (frames - 1)))
    reach = MARGIN + 1.4 * radius
    inside = [(at > reach) & (at < 1 - reach) for at in (start_x, start_y)]
    return moving(torch.where((inside[0] & inside[1])[:, 0], motion, _STILL))


def _moment(t: float) -> Canvas:
    """A canvas of no pixels at one time."""
    return attrs.evolve(canvas(1, 1, 1, "cpu"), t=torch.tensor([[t]]))
