"""Track files of every form give the same points, and points are laid out over clips of any length."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from wan_plugin_ati.clip import Layout, Window, lay_out, picks, processed
from wan_plugin_ati.files import read_tracks
from wan_plugin_ati.splines import read_splines
from wan_plugin_ati.tracks import Drawing, Track

POINTS = [[(10, 20), (30, 25), (50, 60)], [(5, 5), (5, 5), (7, 9)]]
AS_DICTS = [[{"x": x, "y": y} for x, y in track] for track in POINTS]
CANVAS = (64, 48)


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def in_published_form(points: Any) -> Any:
    array = np.ones((len(points), len(points[0]), 1, 3))
    array[:, :, 0, :2] = points
    return array * 8


def published(path: Path, points: Any = POINTS, kind: str = "float32") -> None:
    torch.save(npz(array=in_published_form(points).astype(kind)), path)


def write_npy(path: Path) -> None:
    np.save(path, np.asarray(POINTS, np.int16))


WRITERS: dict[str, Callable[[Path], object]] = {
    "nested.json": lambda p: p.write_text(json.dumps(AS_DICTS)),
    "pairs.json": lambda p: p.write_text(json.dumps(POINTS)),
    "single-quotes.txt": lambda p: p.write_text(str(AS_DICTS)),
    "texts.json": lambda p: p.write_text(json.dumps([json.dumps(one) for one in AS_DICTS])),
    "python-texts.txt": lambda p: p.write_text(str([json.dumps(one) for one in AS_DICTS])),
    "batch.json": lambda p: p.write_text(json.dumps([AS_DICTS])),
    "with-a-mark.json": lambda p: p.write_text("\ufeff" + json.dumps(AS_DICTS), "utf-8"),
    "own.json": lambda p: p.write_text(json.dumps({"tracks": [{"points": t} for t in POINTS]})),
    "own.toml": lambda p: p.write_text(
        "\n".join(f"[[tracks]]\npoints = {json.dumps(track)}" for track in POINTS)
    ),
    "table.csv": lambda p: p.write_text(
        "track,x,y\n" + "".join(f"{i},{x},{y}\n" for i, t in enumerate(POINTS) for x, y in t)
    ),
    "array.npy": write_npy,
    "old-mac.csv": lambda p: p.write_bytes(
        (
            "track,x,y\r" + "".join(f"{i},{x},{y}\r" for i, t in enumerate(POINTS) for x, y in t)
        ).encode()
    ),
    "windows.csv": lambda p: p.write_bytes(
        (
            "\ufefftrack,x,y\r\n"
            + "".join(f"{i},{x},{y}\r\n" for i, t in enumerate(POINTS) for x, y in t)
        ).encode()
    ),
    "archive.npz": lambda p: p.write_bytes(npz(tracks=np.asarray(POINTS, np.float64))),
    "inner.npz": lambda p: p.write_bytes(npz(array=in_published_form(POINTS))),
    "published.pth": published,
    "published-whole-numbers.pth": lambda p: published(p, kind="uint16"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_gives_the_same_points(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    drawing = read_tracks(path)
    assert [track.points.tolist() for track in drawing.tracks] == np.asarray(POINTS).tolist()
    assert all((track.visible == 1).all() for track in drawing.tracks)
    assert all(track.points.dtype == np.float32 for track in drawing.tracks)


@pytest.mark.parametrize("text", [json.dumps(AS_DICTS[0]), str(AS_DICTS[0]), json.dumps(POINTS[0])])
def test_a_flat_list_is_one_track(text: str) -> None:
    (track,) = read_splines(text).tracks
    assert track.points.tolist() == [list(map(float, point)) for point in POINTS[0]]


def test_a_published_array_with_samples_first(tmp_path: Path) -> None:
    array = np.ones((121, 2, 1, 3), np.float32)
    array[:, 1] = 16
    torch.save(npz(array=array * 8), tmp_path / "t.pth")
    first, second = read_tracks(tmp_path / "t.pth").tracks
    assert (first.points == 1).all() and (second.points == 16).all()


def test_names_units_canvas_and_visibility_of_a_drawing(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        'units = "pixels"\nwidth = 640\nheight = 360\ntimes = "frames"\n[[tracks]]\nname = "ball"\n'
        "points = [{ x = 1, y = 2, at = 0 }, { x = 3, y = 4, at = 8, visible = false }]\n"
    )
    drawing = read_tracks(path)
    assert (drawing.units, drawing.canvas, drawing.times) == ("pixels", (640, 360), "frames")
    (track,) = drawing.tracks
    assert track.name == 'track "ball"'
    assert track.times is not None and track.times.tolist() == [0, 8]
    assert track.visible.tolist() == [1, 0]


def test_visibility_of_tables_and_archives(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y,visible,at\n1,2,yes,0\n3,4,0,0.5\n\n5,6,TRUE,1\n")
    (track,) = read_tracks(tmp_path / "t.csv").tracks
    assert track.visible.tolist() == [1, 0, 1]
    visible = np.asarray([[1, 0, 1]], bool)
    (tmp_path / "t.npz").write_bytes(npz(tracks=np.zeros((1, 3, 2)), visible=visible))
    assert read_tracks(tmp_path / "t.npz").tracks[0].visible.tolist() == [1, 0, 1]
    (tmp_path / "one.npz").write_bytes(npz(tracks=np.zeros((3, 2)), visible=visible[0]))
    assert read_tracks(tmp_path / "one.npz").tracks[0].visible.tolist() == [1, 0, 1]


def test_a_point_counts_as_seen_where_the_edit_counts_it() -> None:
    """Of files of others, whose visibility may be any share: v' = 2 v - 1 is above 0 then."""
    result = laid(drawing([[7, 8]] * 3, [0.25, 0.5, 0.75]), 3)
    told = processed(result, Window(64.0, 48.0))
    assert result.seen[:, 0].tolist() == (told[:, 0, 3] > 0).tolist() == [False, False, True]


def test_a_compressed_archive_inside_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, array=np.full((1, 121, 1, 3), 8, np.float32))
    torch.save(stream.getvalue(), tmp_path / "t.pth")
    assert (read_tracks(tmp_path / "t.pth").tracks[0].points == 1).all()


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("array.npy", bytes(80 * 2**20))
    torch.save(stream.getvalue(), tmp_path / "t.pth")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from wan_plugin_ati.files import read_tracks\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_tracks(Path(sys.argv[1]))\n"
        "except Exception as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "t.pth")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, grown = done.stdout.splitlines()
    assert "unpacks to more than" in said
    assert int(grown) < 30_000  # KiB


def test_reading_plain_forms_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(AS_DICTS))
    code = (
        "import sys\nfrom pathlib import Path\nimport wan_plugin_ati.checking, wan_plugin_ati.preview\n"
        "from wan_plugin_ati.files import read_tracks\nread_tracks(Path(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.json")], check=True)


def drawing(points: Any, visible: Any = None, times: Any = None) -> Drawing:
    floats = np.asarray(points, np.float32)
    seen = np.ones(len(floats), np.float32) if visible is None else np.asarray(visible, np.float32)
    at = None if times is None else np.asarray(times, np.float64)
    return Drawing((Track("it", floats, seen, at),), "a test")


def laid(one: Drawing, frames: int, **more: Any) -> Any:
    return lay_out(one, Layout(CANVAS, Window(*map(float, CANVAS)), frames, **more))


def test_the_rule_for_81_frames_is_upstreams() -> None:
    picked = picks(81)
    assert picked is not None and picked.tolist() == [3 * m // 2 for m in range(81)]


@pytest.mark.parametrize("frames", [1, 5, 9, 17, 33, 49, 65, 97, 161, 201])
def test_other_clips_begin_with_the_first_sample_and_stay_inside(frames: int) -> None:
    picked = picks(frames)
    assert picked is not None and picked[0] == 0
    assert (np.diff(picked) >= 0).all() and picked.max() <= 120
    if frames > 1:
        assert picked[-1] >= 120 - 120 // (frames - 1)


@pytest.mark.parametrize("frames", [121, 241])
def test_clips_that_the_rule_can_not_serve_are_interpolated(frames: int) -> None:
    points = np.stack([np.arange(121), np.zeros(121)], axis=1)
    x = laid(drawing(points), frames).points[:, 0, 0]
    np.testing.assert_allclose(x, np.linspace(0, 120, frames), atol=1e-4)


@pytest.mark.parametrize("samples", [2, 3, 33, 50, 200])
def test_other_numbers_of_samples_are_spread_over_the_clip(samples: int) -> None:
    line = np.linspace((0, 40), (60, 10), samples)
    points = laid(drawing(line), 33).points[:, 0]
    np.testing.assert_allclose(points, np.linspace((0, 40), (60, 10), 33), atol=1e-4)


def test_a_single_point_stays() -> None:
    result = laid(drawing([[7, 8]]), 9)
    assert (result.points == (7, 8)).all() and result.seen.all()


def test_as_many_samples_as_frames_are_the_frames() -> None:
    points = np.random.default_rng(0).random((33, 2))
    assert np.array_equal(laid(drawing(points), 33).points[:, 0], points.astype(np.float32))


def test_hidden_samples_pull_nobody() -> None:
    visible = [1, 1, 0, 1, 1]
    points = [[0, 0], [10, 0], [-999, -999], [30, 0], [40, 0]]
    result = laid(drawing(points, visible), 17)
    assert result.points[result.seen].min() >= 0
    assert result.seen[:, 0].tolist() == [True] * 6 + [False] * 4 + [True] * 7


def test_zeros_fill_up_as_upstream_does() -> None:
    result = laid(drawing([[7, 8]] * 30), 81, padding="zeros")
    assert (result.points[:20] == (7, 8)).all() and (result.points[20:] == 0).all()
    assert result.seen[:20].all() and not result.seen[20:].any()
    long = laid(drawing([[7, 8]] * 121 + [[99, 99]] * 30), 81, padding="zeros")
    assert (long.points == (7, 8)).all()


@pytest.mark.parametrize(
    ("times", "unit"), [([0, 0.25, 1], "share"), ([0, 0.5, 2], "seconds"), ([0, 8, 32], "frames")]
)
def test_times_make_uneven_speed(times: list[float], unit: str) -> None:
    one = drawing([[0, 0], [40, 0], [48, 0]], times=times)
    x = laid(one, 33, times=unit, fps=16.0).points[:, 0, 0]
    np.testing.assert_allclose(x[:9], 5 * np.arange(9), atol=1e-4)
    np.testing.assert_allclose(x[8:], 40 + np.arange(25) / 3, atol=1e-4)


def test_before_the_first_time_and_after_the_last_a_point_waits() -> None:
    one = drawing([[0, 0], [10, 0]], times=[4, 8])
    x = laid(one, 13, times="frames").points[:, 0, 0]
    assert x.tolist() == [0] * 4 + [0, 2.5, 5, 7.5] + [10] * 5


def test_a_hidden_time_hides_until_the_next_that_is_seen() -> None:
    one = drawing([[0, 0]] * 4, [1, 0, 1, 1], [0, 4, 8, 12])
    assert (
        laid(one, 13, times="frames").seen[:, 0].tolist() == [True] * 4 + [False] * 4 + [True] * 5
    )


def test_fractions_are_shares_of_the_canvas() -> None:
    result = laid(drawing([[0.5, 0.25]]), 5, units="fractions")
    assert (result.points == (32, 12)).all()


def test_the_processed_form() -> None:
    one = drawing([[0, 0], [64, 48], [32, 24]], [1, 0, 1])
    layout = Layout(CANVAS, Window(64.0, 48.0), 3)
    told = processed(lay_out(one, layout), layout.window)
    assert told.shape == (3, 1, 4) and told.dtype == np.float32
    np.testing.assert_allclose(told[:, 0, 0], [-1, 0, 1])
    np.testing.assert_allclose(told[:, 0, 1], [-4 / 3, 4 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(told[:, 0, 2], [-1, 1, 0])
    np.testing.assert_allclose(told[:, 0, 3], [1, -1, 1])


def test_a_window_is_all_there_is() -> None:
    """Of a canvas that the video shows the middle of, that part is from border to border."""
    one = drawing([[16, 0], [48, 48]])
    told = processed(
        lay_out(one, Layout(CANVAS, Window(32, 48, left=16), 2)), Window(32, 48, left=16)
    )
    np.testing.assert_allclose(told[:, 0, 1:3], [[-1, -1.5], [1, 1.5]])
