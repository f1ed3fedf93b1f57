"""Drawing tools: signed distances, soft coverage, noise, all on whole batches of clips.

Pictures are ``[batch, 3, frames, height, width]`` in 0..1, masks ``[batch, frames, height, width]``.
Lengths are fractions of the shorter side; x goes right, y goes down, the origin is the top left.
Time goes from 0 (first frame) to 1 (last frame).
"""

from __future__ import annotations

import math

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

Scenes = dict[str, Tensor]

#: width of the soft edge of everything drawn, in pixels of a 96-pixel picture
EDGE = 1.2 / 96


@attrs.frozen
class Canvas:
    """Where to draw: pixel centres and frame times.

    Attributes:
        x: ``[1, 1, 1, width]``; y: ``[1, 1, height, 1]``; t: ``[1, frames]``.
        edge: width of soft edges, as a fraction of the shorter side.
    """

    x: Tensor
    y: Tensor
    t: Tensor
    edge: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height, width."""
        return self.t.shape[1], self.y.shape[2], self.x.shape[3]


def canvas(frames: int, height: int, width: int, device: torch.device | str) -> Canvas:
    """A canvas of the given size; its shorter side has length 1."""
    side = min(height, width)
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / side
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / side
    t = torch.linspace(0, 1, frames, device=device)
    return Canvas(x[None, None, None], y[None, None, :, None], t[None], max(EDGE, 1.0 / side))


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """``[count]`` numbers between ``low`` and ``high``."""
    return torch.rand(count, generator=generator) * (high - low) + low


def choice(count: int, options: int, generator: torch.Generator) -> Tensor:
    """``[count]`` int64 numbers in 0..options-1."""
    return torch.randint(options, (count,), generator=generator)


def per_clip(value: Tensor) -> Tensor:
    """``[batch]`` -> ``[batch, 1, 1, 1]`` or ``[batch, frames]`` -> ``[batch, frames, 1, 1]``."""
    return value[:, None, None, None] if value.ndim == 1 else value[:, :, None, None]


def solid(rgb: Tensor) -> Tensor:
    """``[batch, 3]`` -> ``[batch, 3, 1, 1, 1]``."""
    return rgb[:, :, None, None, None]


def shape_distance(shape: Tensor, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Signed distance (negative inside) to a circle, square or upright triangle.

    Args:
        shape: ``[batch]`` index into ``words.SHAPES``.
        x, y: offsets from the centroid, ``[batch, frames, height, width]`` when broadcast.
        radius: ``[batch, frames, 1, 1]``.
    """
    parts = shape_parts(x, y, radius)
    index = per_clip(shape)
    return torch.where(index == 0, parts[0], torch.where(index == 1, parts[1], parts[2]))


#: half side of the square and circumscribed radius of the triangle, in units of the radius
SQUARE = 0.88
TRIANGLE = 1.38


def shape_parts(x: Tensor, y: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Signed distances to the circle, the square and the triangle (see ``shape_distance``)."""
    circle = torch.sqrt(x * x + y * y) - radius
    square = torch.maximum(x.abs(), y.abs()) - SQUARE * radius
    inner = TRIANGLE / 2 * radius
    slope = math.cos(math.pi / 6) * x.abs() - 0.5 * y
    triangle = torch.maximum(slope, y.expand_as(slope)) - inner
    return circle, square, triangle


def shape_extents(shape: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far a shape of radius 1 reaches from its centroid: sideways, up and down; ``[batch]``."""
    half = torch.tensor([1.0, SQUARE, TRIANGLE * math.cos(math.pi / 6)], device=shape.device)
    up = torch.tensor([1.0, SQUARE, TRIANGLE], device=shape.device)
    down = torch.tensor([1.0, SQUARE, TRIANGLE / 2], device=shape.device)
    return half[shape], up[shape], down[shape]


def coverage(distance: Tensor, edge: float | Tensor) -> Tensor:
    """Soft mask 0..1 from a signed distance."""
    return (0.5 - distance / edge).clamp(0, 1)


def over(below: Tensor, mask: Tensor, above: Tensor) -> Tensor:
    """Paint ``above`` over ``below`` where ``mask [batch, frames, height, width]`` says so."""
    return torch.lerp(below, above, mask[:, None])


def ellipse(x: Tensor, y: Tensor, half_width: Tensor, half_height: Tensor) -> Tensor:
    """Approximate signed distance to an ellipse around the origin."""
    scaled = torch.sqrt((x / half_width) ** 2 + (y / half_height) ** 2 + 1e-9)
    return (scaled - 1) * torch.minimum(half_width, half_height)


def smooth_field(seed: Tensor, size: int, grid: Tensor) -> Tensor:
    """Smooth noise in about -1..1, looked up at moving points.

    Args:
        seed: ``[batch]`` int64; the same seed gives the same field.
        size: cells along a side of the repeating field.
        grid: ``[batch, frames, height, width, 2]`` positions (x, y) in units of the field's side;
            positions outside 0..1 wrap around.

    Returns:
        ``[batch, frames, height, width]``.
    """
    cells = torch.arange(size * size, device=seed.device, dtype=torch.float64)
    mixed = torch.frac(
        torch.sin(cells[None] * 12.9898 + seed[:, None].double() * 78.233) * 43758.5453
    )
    field = (mixed.abs().float() * 2 - 1).view(-1, 1, size, size)
    field = F.pad(field, (2, 2, 2, 2), mode="circular")
    batch, frames, height, width, _ = grid.shape
    wrapped = torch.remainder(grid, 1.0) * size + 2
    normal = wrapped / (size + 4) * 2 - 1
    value = F.grid_sample(
        field,
        normal.reshape(batch, frames * height, width, 2),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return value.view(batch, frames, height, width)


def points(canvas: Canvas, scale: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """Field positions of all pixels, ``[batch, frames, height, width, 2]``.

    Args:
        canvas: the canvas.
        scale: ``[batch]`` repeats of the field over the picture.
        shift_x, shift_y: ``[batch, frames]`` movement, as fractions of the picture.
    """
    frames, height, width = canvas.shape
    x = (canvas.x - per_clip(shift_x)) * per_clip(scale)
    y = (canvas.y - per_clip(shift_y)) * per_clip(scale)
    full = (scale.shape[0], frames, height, width)
    return torch.stack([x.expand(full), y.expand(full)], dim=-1)
