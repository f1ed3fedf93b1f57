"""The plugins of this repository on a GPU: a picture, a drawn path, a new light; the pictures of the CPU.

Skipped where there is no CUDA device.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wan_core import Session, load_workflow

EXAMPLE = Path(__file__).parents[2] / "examples" / "drawn-path-relit.toml"
MODELS = ("draw", "move", "light")


def drawn(folder: Path, device: str, settings: Sequence[str]) -> np.ndarray:
    """``[frames, height, width, 3]`` uint8, from PNG files."""
    path = folder / "%05d.png"
    steps = [f"stages.{number}.steps=4" for number in range(2)]
    workflow = load_workflow(EXAMPLE, [*steps, *settings, f"output.path={path}"])
    with Session(device=device, cache=folder.with_name("cache")) as session:
        session.run(workflow)
    files = sorted(folder.glob("*.png"))
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def compared(folder: Path, other: str, settings: Sequence[str] = ()) -> np.ndarray:
    """How far each value of the pictures is from the CPU's in float32, in levels of 255."""
    here = drawn(folder / "here", "cpu", ())
    there = drawn(folder / "there", other, settings)
    assert here.shape == there.shape == (33, 96, 96, 3)
    assert here.std() > 10
    return np.abs(here.astype(int) - there)


def in_precision(name: str) -> list[str]:
    return [f"models.{model}.precision={name}" for model in MODELS]


def test_the_comparison_runs_anywhere(tmp_path: Path) -> None:
    assert compared(tmp_path, "cpu").max() == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "mean"), [("float32", 0.1), ("bfloat16", 2.0)])
def test_tracks_and_light_on_a_gpu(precision: str, mean: float, tmp_path: Path) -> None:
    assert compared(tmp_path, "cuda", in_precision(precision)).mean() < mean


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_swapped_and_compiled_on_a_gpu(tmp_path: Path) -> None:
    swapped = [*in_precision("float32"), "memory.blocks_to_swap=4"]
    compiled = [f"models.{model}.compile=true" for model in MODELS]
    assert compared(tmp_path, "cuda", [*swapped, *compiled]).mean() < 0.1
