"""The pictures that the examples begin with: ``python -m zoo.example_pictures [--out examples/pictures]``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from zoo.product import write_picture
from zoo.world import KINDS, render
from zoo.world.captions import indices_of
from zoo.world.kinds.plain import scenes_of

SEED = 1
Place = tuple[float, float]

#: name -> what is seen, and where its middle is (fractions of the picture from the top left corner)
STILLS: dict[str, tuple[str, Place]] = {
    "middle.png": ("a small orange circle stays still on a navy background", (0.5, 0.5)),
    "corner.png": ("a large cyan triangle stays still on a brown background", (0.28, 0.70)),
    "first.png": ("a large green square stays still on a black background", (0.27, 0.68)),
    "last.png": ("a large green square stays still on a black background", (0.70, 0.68)),
}


def still(caption: str, middle: Place) -> Tensor:
    """A picture of one shape, ``[3, height, width]`` uint8."""
    scenes = scenes_of(torch.tensor([indices_of(caption)]), torch.Generator().manual_seed(SEED))
    clips = render(KINDS["plain"], scenes | {"middle": torch.tensor([middle])})
    return ((clips[0, :, 0] + 1) * 127.5).round().byte()


def right_half() -> Tensor:
    """A mask: white in the right half."""
    mask = torch.zeros(3, 96, 96, dtype=torch.uint8)
    mask[:, :, 48:] = 255
    return mask


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("examples/pictures"))
    out: Path = parser.parse_args(arguments).out
    for name, (caption, middle) in STILLS.items():
        write_picture(out / name, still(caption, middle))
    write_picture(out / "right-half.png", right_half())


if __name__ == "__main__":
    main()
