"""The numbers, against a second implementation: loops in double precision, written from the formulas alone."""

from __future__ import annotations

import io
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from wan_plugin_ati.clip import Layout, Window, lay_out, processed
from wan_plugin_ati.files import read_tracks
from wan_plugin_ati.motion import edit
from wan_plugin_ati.splines import read_splines
from wan_plugin_ati.steps import leads, parts, spans

from wan_core.contract import StepRange

Floats = NDArray[np.float64]
CLOSE = 2e-6


def edited(y: Floats, tracks: Floats, temperature: float, topk: int) -> Floats:
    """The conditioning with the tracks in it, cell by cell."""
    _, frames, height, width = y.shape
    short = min(height, width)
    a_x, a_y = width / short, height / short
    columns, rows = spaced(a_x, width), spaced(a_y, height)
    features = [under(y[4:, 0], track[1] / a_x, track[2] / a_y) for track in tracks[0]]
    new = y.copy()
    new[:4, 0] = 1
    for k in range(1, frames):
        centres = [centre(tracks[4 * k - 3 : 4 * k + 1, n]) for n in range(tracks.shape[1])]
        for i, j in np.ndindex(height, width):
            weights = [
                math.exp(-temperature * ((x - columns[j]) ** 2 + (y_ - rows[i]) ** 2))
                * min(count, 1)
                for x, y_, count in centres
            ]
            strongest = sorted(range(len(weights)), key=lambda n: -weights[n])[:topk]
            total = sum(weights[n] for n in strongest)
            pasted = sum((weights[n] * features[n] for n in strongest), np.zeros(16))
            new[4:, k, i, j] = pasted + y[4:, k, i, j] * (1 - min(total, 1))
            new[:4, k, i, j] = total
    return new


def spaced(end: float, count: int) -> list[float]:
    """Equally spaced from -end to end, both included."""
    return [-end + 2 * end * i / max(count - 1, 1) for i in range(count)]


def centre(group: Floats) -> tuple[float, float, float]:
    """Mean place of the seen samples of a group of four, and how many they are."""
    seen = [min(max(v, 0.0), 1.0) for v in group[:, 3]]
    count = sum(seen)
    x, y = (sum(s * p for s, p in zip(seen, group[:, axis], strict=True)) for axis in (1, 2))
    return x / (count + 1e-5), y / (count + 1e-5), count


def under(latent: Floats, x: float, y: float) -> Floats:
    """Bilinear, -1 and 1 are the outer borders of the outermost cells, and beyond their centres is nothing."""
    _, height, width = latent.shape
    at_x = ((min(max(x, -1), 1) + 1) * width - 1) / 2
    at_y = ((min(max(y, -1), 1) + 1) * height - 1) / 2
    left, top = math.floor(at_x), math.floor(at_y)
    value = np.zeros(len(latent))
    for column in (left, left + 1):
        for row in (top, top + 1):
            if 0 <= column < width and 0 <= row < height:
                value += (1 - abs(at_x - column)) * (1 - abs(at_y - row)) * latent[:, row, column]
    return value


def sample_of(frame: int, frames: int) -> int:
    """Which of 121 samples a frame takes."""
    if frames == 121:
        return frame
    divisor = math.gcd(120, frames - 1)
    a, b = 120 // divisor, (frames - 1) // divisor
    return 0 if frame == 0 else 1 + (1 + a * (frame - 1)) // b


def told(array: Floats, width: int, height: int, frames: int) -> Tensor:
    """The processed form of ``[tracks, 121, (x, y, visible)]``."""
    result = np.zeros((frames, len(array), 4))
    for m, n in np.ndindex(frames, len(array)):
        sample = sample_of(m, frames)
        x, y, visible = array[n, sample]
        short = min(width, height)
        place = (x - width / 2) * 2 / short, (y - height / 2) * 2 / short
        result[m, n] = (-1 + sample / 60, *place, 2 * visible - 1)
    return torch.from_numpy(result).float()


def drawn(path_or_text: Any, width: int, height: int, frames: int) -> Tensor:
    """The processed form as the plugin has it, short tracks filled with zeros."""
    drawing = (
        read_tracks(path_or_text) if isinstance(path_or_text, Path) else read_splines(path_or_text)
    )
    window = Window(float(width), float(height))
    laid = lay_out(drawing, Layout((width, height), window, frames, padding="zeros"))
    return torch.from_numpy(processed(laid, window))


@pytest.mark.parametrize("seed", range(24))
def test_the_edit(seed: int) -> None:
    dice, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    height, width = dice.randint(1, 12), dice.randint(1, 12)
    frames, count, topk = dice.choice([1, 2, 3, 6]), dice.randint(1, 7), dice.choice([1, 2, 3, 20])
    y = torch.randn(20, frames, height, width, generator=generator)
    tracks = torch.rand(4 * (frames - 1) + 1, count, 4, generator=generator) * 4 - 2
    share = dice.choice([0.0, 0.1, 0.5, 0.9])
    hidden = torch.rand(tracks.shape[:2], generator=generator) < share
    tracks[..., 3] = 1 - 2 * hidden.float()
    if count > 1:  # two that meet everywhere but at the start
        tracks[1:, 1, 1:3] = tracks[1:, 0, 1:3] * 1.001
    temperature = dice.choice([1.0, 7.0, 60.0, 220.0, 1000.0])
    want = edited(y.double().numpy(), tracks.double().numpy(), temperature, topk)
    got = edit(y, tracks, temperature=temperature, topk=topk).double().numpy()
    assert np.abs(got - want).max() <= CLOSE * np.abs(want).max()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "form", ["flat", "nested", "texts", "single quotes", "text of texts", "batch"]
)
def test_texts_of_spline_editors(form: str, seed: int) -> None:
    dice = random.Random(f"{form} {seed}")
    width, height = dice.choice([(832, 480), (480, 832), (640, 640), (13, 900)])
    count = 1 if form == "flat" else dice.randint(1, 20)
    number = dice.choice(
        [lambda most: dice.randint(-most, 2 * most), lambda most: dice.gauss(0, most)]
    )
    tracks = [
        [
            {"x": number(width), "y": number(height)}
            for _ in range(dice.choice([1, 2, 81, 121, 150]))
        ]
        for _ in range(count)
    ]
    texts: dict[str, Any] = {
        "flat": json.dumps(tracks[0]),
        "nested": json.dumps(tracks, indent=dice.choice([None, 2])),
        "texts": [json.dumps(track) for track in tracks],
        "single quotes": str(tracks),
        "text of texts": str([json.dumps(track) for track in tracks]),
        "batch": json.dumps([tracks]),
    }
    array = np.zeros((count, 121, 3))
    for one, track in zip(array, tracks, strict=True):
        for row, point in zip(one, track, strict=False):
            row[:] = (point["x"], point["y"], 1)
    for frames in (81, *dice.sample(range(5, 162, 4), 2)):
        want = told(array, width, height, frames)
        got = drawn(texts[form], width, height, frames)
        assert (got - want).abs().max() <= CLOSE * want.abs().max(), frames


@pytest.mark.parametrize("kind", ["float32", "uint16"])
@pytest.mark.parametrize("seed", range(6))
def test_published_files(kind: str, seed: int, tmp_path: Path) -> None:
    random_state = np.random.default_rng(seed)
    width, height = [(832, 480), (724, 1086), (1024, 1024)][seed % 3]
    count = int(random_state.integers(1, 21))
    array = random_state.uniform(0 if kind == "uint16" else -width, 2 * width, (count, 121, 1, 3))
    array[..., 2] = random_state.random(array.shape[:3]) < 0.7
    stored = (array * 8).astype(kind)
    stored[::3, 60:] = 0  # as the editor fills short ones up
    stream = io.BytesIO()
    (np.savez_compressed if seed % 2 else np.savez)(stream, array=stored)
    path = tmp_path / "t.pth"
    torch.save(stream.getvalue(), path, _use_new_zipfile_serialization=seed != 3)
    want = told(stored[:, :, 0].astype(np.float64) / 8, width, height, 81)
    assert (drawn(path, width, height, 81) - want).abs().max() <= CLOSE * want.abs().max()


def test_the_steps_of_runs_of_any_length() -> None:
    """The rule in its own words, for shares that are steps of this run, of another, and none."""
    dice = random.Random(0)
    for steps in range(1, 61):
        shares = [
            0.0,
            1.0,
            1e-9,
            *(i / steps for i in range(steps)),
            *(dice.random() for _ in range(9)),
        ]
        for _ in range(40):
            start, end = sorted(dice.choices(shares, k=2))
            rule = [
                start <= i / steps <= end or (end > 0 and i == 0 and i / steps >= start)
                for i in range(steps)
            ]
            assert [leads(i, steps, start, end) for i in range(steps)] == rule
            made = spans(steps, start, end)
            assert [[led for led, s in made if s.holds(i, steps)] for i in range(steps)] == [
                [r] for r in rule
            ]
            whole = StepRange(1 / 3, 2 / 3)
            held = [
                [led for led, s in parts(whole, made) if s.holds(i, steps)] for i in range(steps)
            ]
            assert held == [[r] if whole.holds(i, steps) else [] for i, r in enumerate(rule)]
