"""Measures of relit videos, against numbers that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from wan_plugin_unilumos.bench import flicker, light, measure, structure
from wan_plugin_unilumos.colour import kang_xy, mccamy, temperature, xy_of, xyz_of

from wan_core.cli import main
from wan_core.media import write_video


@pytest.mark.parametrize(
    ("name", "x", "y", "kelvin"),
    [
        # CIE 15: standard illuminants and their correlated temperatures
        ("A", 0.44757, 0.40745, 2856),
        ("D50", 0.34567, 0.35850, 5003),
        ("D55", 0.33242, 0.34743, 5503),
        ("D65", 0.31271, 0.32902, 6504),
        ("D75", 0.29902, 0.31485, 7504),
        ("E", 1 / 3, 1 / 3, 5455),
        ("F2", 0.37208, 0.37529, 4230),
        ("F7", 0.31292, 0.32933, 6500),
        ("F11", 0.38052, 0.37713, 4000),
    ],
)
def test_temperatures_of_illuminants(name: str, x: float, y: float, kelvin: float) -> None:
    found = temperature(x, y)
    assert found.note == ""
    assert found.kelvin == pytest.approx(kelvin, rel=5e-3), name


@pytest.mark.parametrize("kelvin", [1700, 2000, 2222, 2500, 4000, 4001, 6500, 10_000, 24_000])
def test_the_formula_is_turned_round(kelvin: float) -> None:
    found = temperature(*kang_xy(kelvin)).kelvin
    assert found == pytest.approx(kelvin, rel=1e-6)


def test_kangs_polynomials() -> None:
    # against Planck's locus (CIE 1931, 2 degrees)
    for kelvin, xy in (
        (2000, (0.5267, 0.4133)),
        (3000, (0.4369, 0.4041)),
        (10_000, (0.2807, 0.2884)),
    ):
        assert kang_xy(kelvin) == pytest.approx(xy, abs=6e-4)


def test_beyond_the_range_mccamys_formula_is_named() -> None:
    for x, y in ((0.25, 0.25), (0.6, 0.39)):
        found = temperature(x, y)
        assert found.kelvin == mccamy(x, y)
        assert found.note.startswith("by McCamy's formula, outside of 1667 to 25000 K")


@pytest.mark.parametrize("xy", [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)])
def test_saturated_colours_have_no_temperature(xy: tuple[float, float]) -> None:
    found = temperature(*xy)
    assert found.kelvin is None and "too far from white" in found.note


def test_light_is_measured_as_the_bench_does() -> None:
    white = light(np.array([1.0, 1.0, 1.0]))
    assert white.illuminance == pytest.approx(1)
    assert white.xy == pytest.approx((0.3127, 0.3290), abs=1e-4)
    assert white.kelvin == pytest.approx(6504, rel=2e-3)
    # no gamma is undone: half the values are half the light, of the same colour
    grey = light(np.array([0.5, 0.5, 0.5]))
    assert grey.illuminance == pytest.approx(0.5) and grey.xy == pytest.approx(white.xy)
    warm, cool = light(np.array([0.8, 0.6, 0.4])), light(np.array([0.5, 0.6, 0.8]))
    assert warm.kelvin and cool.kelvin and warm.kelvin < 5000 < 8000 < cool.kelvin
    black = light(np.zeros(3))
    assert (black.xy, black.kelvin, black.illuminance) == (None, None, 0)
    xyz = xyz_of(np.array([0.2, 0.4, 0.6]))
    assert xyz == pytest.approx([0.33382, 0.37192, 0.62184], abs=1e-5)
    assert xy_of(xyz) == pytest.approx((0.25145, 0.28015), abs=1e-5)


def test_flicker() -> None:
    assert flicker([0.5, 0.5, 0.5]) == 0
    assert flicker([0.2, 0.4, 0.3]) == pytest.approx(0.15)
    assert flicker([0.7]) == 0


def shapes(seed: int) -> np.ndarray:
    """A picture with things in it, ``[64, 64, 3]`` in 0…1."""
    small = np.random.default_rng(seed).random((8, 8, 1)).repeat(8, 0).repeat(8, 1)
    return np.roll(np.repeat(0.3 + 0.4 * small, 3, axis=2), 3 * seed, (0, 1))


def test_structure_sees_through_light_and_not_through_other_things() -> None:
    everywhere = np.ones((64, 64), bool)
    one = shapes(0)
    assert structure(one, one, everywhere) == pytest.approx(1, abs=1e-3)
    shade = np.linspace(0.4, 1.2, 64)[None, :, None]
    warm = one * shade * np.array([1.0, 0.8, 0.6])
    relit, other = structure(warm, one, everywhere), structure(shapes(1), one, everywhere)
    assert relit is not None and other is not None
    assert relit > 0.9 and other < 0.2
    # only the subject counts
    half = everywhere.copy()
    half[:, 32:] = False
    mixed = np.concatenate([one[:, :32], shapes(1)[:, 32:]], axis=1)
    inside, outside = structure(mixed, one, half), structure(mixed, one, ~half)
    assert inside is not None and outside is not None and inside > 0.97 and outside < 0.2
    flat = np.full((64, 64, 3), 0.5)
    assert structure(one, flat, everywhere) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ground = (shapes(0) * 255).round().astype(np.uint8)
    clip = np.stack([ground] * 5)
    relit = (clip * np.array([1.0, 0.8, 0.6])).astype(np.uint8)
    relit[1::2] = relit[1::2] * 0.9
    write_video(tmp_path / "foreground.mkv", [clip], 8)
    write_video(tmp_path / "relit.mkv", [relit], 8)
    write_video(tmp_path / "brief.mkv", [clip[:2]], 8)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def test_a_video(folder: Path) -> None:
    found = measure(
        folder / "relit.mkv",
        folder / "foreground.mkv",
        folder / "mask.png",
        folder / "foreground.mkv",
    )
    assert found.frames == 5 and found.notes == ()
    assert found.light.rgb[0] > found.light.rgb[1] > found.light.rgb[2]
    assert found.light.kelvin and found.light.kelvin < 5000
    # every second frame is a tenth darker
    assert found.flicker == pytest.approx(found.light.illuminance * 0.1, rel=0.05)
    assert found.flicker_of_foreground == pytest.approx(0, abs=1e-4)
    assert found.structure is not None and found.structure > 0.9
    assert found.background is not None and 0.05 < found.background < 0.2
    same = measure(folder / "foreground.mkv", folder / "foreground.mkv", folder / "mask.png",
                   folder / "foreground.mkv")  # fmt: skip
    assert same.background == 0 and same.structure == pytest.approx(1, abs=1e-3)


def test_what_can_not_be_compared_is_said(folder: Path) -> None:
    found = measure(folder / "relit.mkv", folder / "brief.mkv", None, folder / "foreground.mkv")
    assert found.background is None
    assert any("no mask says" in note for note in found.notes)
    assert any("its 2 frames are fewer than 5" in note for note in found.notes)


def test_videos_at_another_rate_are_compared_at_the_results_times(folder: Path) -> None:
    moving = np.stack([(np.roll(shapes(0), 4 * k, 1) * 255).astype(np.uint8) for k in range(10)])
    masks = np.zeros((10, 64, 64, 3), np.uint8)
    for k in range(10):
        masks[k, :, 4 * k : 4 * k + 24] = 255
    write_video(folder / "slow.mkv", [moving[::2]], 8)
    for name, clip in (("own", moving), ("masks", masks)):
        write_video(folder / f"{name}.mkv", [clip], 16)
        write_video(folder / f"{name}-slow.mkv", [clip[::2]], 8)
    found, plain = (
        measure(
            folder / "slow.mkv",
            folder / f"own{at}.mkv",
            folder / f"masks{at}.mkv",
            folder / f"own{at}.mkv",
        )
        for at in ("", "-slow")
    )
    assert found == plain
    assert found.structure == pytest.approx(1, abs=1e-3) and found.background == 0


@pytest.mark.parametrize(
    ("level", "note"),
    [
        (0, "structure: not compared, because the mask is black"),
        (255, "background: not compared, because the mask leaves nothing of it"),
    ],
)
def test_masks_of_nothing_and_of_all(folder: Path, level: int, note: str) -> None:
    Image.fromarray(np.full((64, 64), level, np.uint8)).save(folder / "even.png")
    clip = folder / "foreground.mkv"
    assert measure(clip, clip, folder / "even.png", clip).notes == (note,)


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["unilumos", "bench", str(folder / "relit.mkv")]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "illuminance" in shown and " K" in shown
    more = ["--foreground", str(folder / "foreground.mkv"), "--mask", str(folder / "mask.png")]
    assert main([*arguments, *more, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == 5 and told["structure"] > 0.9 and told["background"] is None
    assert main(["unilumos"]) == 0
    assert "bench" in capsys.readouterr().out
