"""Whatever is wrong with tracks is one sentence at planning, with file, line and key, and exit code 2."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from wan_plugin_ati.checking import check
from wan_plugin_ati.families import ATI_14B
from wan_plugin_ati.options import AtiOptions

from wan_core.cli import main
from wan_core.contract import FeatureCheck, VideoSize, WorkflowError

GOOD = [[{"x": 20, "y": 30}, {"x": 70, "y": 60}]]
TRACKS = 'tracks = "t.json"'
Writer = Callable[[Path], object]


class Code:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("it-ran",)


def text(content: Any) -> Writer:
    return lambda path: path.write_text(
        content if isinstance(content, str) else json.dumps(content)
    )


def saved(content: Any) -> Writer:
    return lambda path: torch.save(content, path)


def archive(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def array(*shape: int, fill: float = 8) -> Any:
    return np.full(shape, fill, np.float32)


def header(shape: str, kind: str = "<f4") -> Writer:
    """A .npy file whose header claims a shape and which has no numbers."""

    def write(path: Path) -> None:
        told = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(told).to_bytes(2, "little") + told)

    return write


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Code()))


def cut_short(path: Path) -> None:
    torch.save(archive(array=array(1, 121, 1, 3)), path)
    path.write_bytes(path.read_bytes()[:-60])


def squeezed(path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("array.npy", bytes(40 * 2**20))
    torch.save(stream.getvalue(), path)


FILES: list[tuple[str, str, Writer, str]] = [
    ("no file", "t.json", lambda path: None, "there is no such file; check the name"),
    ("a folder", "t.json", Path.mkdir, "this is a folder"),
    ("a pipe", "t.json", lambda path: os.mkfifo(path), "this is no ordinary file"),
    ("empty", "t.json", text(""), "the file is empty"),
    ("a folder of another name", "tracks", Path.mkdir, "this is a folder"),
    ("another suffix", "t.doc", text("x"), '"t.doc" is no track file by its name; known are'),
    ("large text", "t.json", text(" " * (17 * 2**20)), "has 17 MiB, the most is 16; tracks take kil"),
    ("UTF-16", "t.csv", lambda p: p.write_text("x,y\n1,2\n", "utf-16"), "not UTF-8\\); save it as UTF-8"),
    ("no text", "t.json", lambda p: p.write_bytes(b"\xff\xfe\x00"), "no text \\(not UTF-8\\)"),
    ("no JSON", "t.json", text("[{'x': 1,"), "the text is no JSON: .* in line 1, column"),
    ("deep", "t.json", text("[" * 100_000), "nested without end"),
    ("long number", "t.json", text('[{"x":' + "9" * 5000 + ',"y":1}]'), "too many digits"),
    ("a number", "t.json", text("5"), "the text is 5, not a list of tracks"),
    ("no tracks", "t.json", text([]), "there are no tracks; draw one at least"),
    ("no points", "t.json", text([[]]), "track 0 has no points"),
    ("one axis", "t.json", text([[{"x": 1}]]), "point 0 of track 0 has no y"),
    ("a text for x", "t.json", text([[{"x": "1", "y": 2}]]), 'x of point 0 .* number, not "1"'),
    ("true for x", "t.json", text([[{"x": True, "y": 2}]]), "must be a number, not true"),
    ("NaN", "t.json", text('[{"x": NaN, "y": 1}]'), "a number in the text is NaN"),
    ("infinite", "t.json", text('[{"x": 1e999, "y": 1}]'), "x of point 0 of track 0 is infinite"),
    ("far", "t.json", text([[{"x": 1e30, "y": 1}]]), "is 1e\\+30, which is no pixel"),
    ("a far time", "t.json", text({"tracks": [{"points": [{"x": 1, "y": 1, "at": 1e9}]}]}),
     "at of point 0 of track 0 is 1000000000.0, which is no time"),
    ("two drawings", "t.json", text([GOOD, GOOD]), "has 2 drawings, one for each video"),
    ("odd visible", "t.json", text([[[20, 30, 7]]]), "must be true or false, not 7"),
    ("many tracks", "t.json", text([[[1, 1]]] * 1001), "there are 1001 tracks"),
    ("odd item", "t.json", text([GOOD[0], 7]), "item 1 of the list is 7, not a track"),
    ("fractions", "t.json", text([[[0.2, 0.5], [0.9, 0.5]]]), 'say units = "fractions"'),
    ("another size", "t.json", text([[[500, 300], [600, 300]]]), "say width and height of what"),
    ("a text of the list", "t.json", text(["[[20, 30]]", "[[20, "]), "text 1 of the list: the text is no"),
    ("many points", "t.npy", lambda p: np.save(p, np.ones((1, 2_000_001, 2), np.int8)),
     "there are 2000001 points, the most are 2000000"),
    ("all off", "t.json", text([[[-5, 10], [50, 50]]]), "all tracks start off the picture: x -5"),
    ("never seen", "t.json", text([[[20, 30, 0], [30, 30, 0]]]), "no track is ever visible"),
    ("no TOML", "t.toml", text("[[tracks"), "the text is no TOML: expected"),
    ("odd key", "t.toml", text("unit = 1"), 'no key "unit"; did you mean "units"'),
    ("odd units", "t.toml", text('units = "cm"'), 'units must be "pixels" or "fractions", not'),
    ("a workflow", "t.toml", text("format = 1\n[[stages]]\nuse = 'generate'"),
     "this is a workflow, not a drawing of tracks"),
    ("deep TOML", "t.toml", text("tracks = " + "[" * 50_000), "nested without end"),
    ("long number of TOML", "t.toml", text(f"[[tracks]]\npoints = [[{'9' * 5000}, 1]]"), "too many digits"),
    ("one side", "t.toml", text("width = 5"), "width and height of the canvas belong together"),
    ("some times", "t.toml", text("[[tracks]]\npoints = [[1, 2], { x = 1, y = 2, at = 1 }]"),
     "point 0 of track 0 has no time, others have"),
    ("backwards", "t.toml",
     text("[[tracks]]\npoints = [{ x = 1, y = 2, at = 1 }, { x = 1, y = 2, at = 0.5 }]"),
     "point 1 of track 0 is at 0.5, not after the one before it"),
    ("pixels as fractions", "t.toml", text('units = "fractions"\n[[tracks]]\npoints = [[50, 60]]'),
     'say units = "pixels"'),
    ("no columns", "t.csv", text("1,2\n3,4\n"), "does not name the columns x and y"),
    ("semicolons", "t.csv", text("track;x;y\na;2,5;3\n"), "with commas in between"),
    ("odd column", "t.csv", text("x,y,z\n1,2,3\n"), 'there is no column "z"'),
    ("short line", "t.csv", text("x,y\n1,2\n3\n"), "line 3 does not have 2 cells .* but 1"),
    ("odd cell", "t.csv", text("x,y\n1,two\n"), 'line 2: y must be a number, not "two"'),
    ("NaN cell", "t.csv", text("x,y\nnan,2\n"), "is no number \\(NaN\\)"),
    ("no array", "t.npy", text("hello"), "no NumPy array, or a damaged one"),
    ("open bracket", "t.npy", header("((("), "no NumPy array, or a damaged one"),
    ("long of Python 2", "t.npy", header("(2L, 5, 2)"), "cut short: 0 bytes of 80"),
    ("objects", "t.npy", lambda p: np.save(p, np.array([{}], object)), "Python objects"),
    ("huge", "t.npy", header("(100000, 100000, 2)"), "would take 80000000000 bytes"),
    ("negative", "t.npy", header("(-1, 5, 2)"), "would take -40 bytes"),
    ("cut array", "t.npy", header("(2, 5, 2)"), "cut short: 0 bytes of 80"),
    ("odd shape", "t.npy", lambda p: np.save(p, np.ones((2, 3, 4, 5))), "shape \\(2, 3, 4, 5\\)"),
    ("NaN array", "t.npy", lambda p: np.save(p, np.full((1, 3, 2), np.nan)),
     "sample 0 of track 0 is no number"),
    ("no members", "t.npz", lambda p: p.write_bytes(archive(points=np.ones(3))),
     'no member tracks, but "points"'),
    ("no archive", "t.npz", text("PK nothing"), "the NumPy archive is damaged"),
    ("other visible", "t.npz",
     lambda p: p.write_bytes(archive(tracks=np.ones((1, 3, 2)), visible=np.ones((1, 4)))),
     "visible has the shape \\(1, 4\\)"),
    ("half visible", "t.npz",
     lambda p: p.write_bytes(archive(tracks=np.ones((1, 3, 2), int) * 20, visible=np.full((1, 3), 0.5))),
     "visible of track 0 must be 1 or 0, not 0.5"),
    ("a third axis of space", "t.npy", lambda p: np.save(p, np.full((1, 3, 3), 20)),
     "visible of track 0 must be 1 or 0, not 20"),
    ("not multiplied", "t.pth", saved(archive(array=array(1, 121, 1, 3, fill=1))),
     "visible is 1 where ATI's files have 8: nothing in it is multiplied by 8; save the points as .npy"),
    ("code", "t.pth", saved(Code()), "Python code or objects.*could run code, and is refused"),
    ("bare code", "t.pth", bare_pickle, "Python code or objects.*could run code, and is refused"),
    ("weights", "t.pth", saved({"a": torch.ones(1)}), "the file holds dict, not the bytes"),
    ("a tensor", "t.pth", saved(torch.ones(3)), "the file holds a tensor, not the bytes"),
    ("other bytes", "t.pth", saved(b"hello"), "the NumPy archive is damaged"),
    ("cut", "t.pth", cut_short, "directory"),
    ("no pickle", "t.pth", text("hello there"), "damaged or cut short|can't be read"),
    ("bomb", "t.pth", squeezed, "unpacks to more than"),
    ("no tracks array", "t.pth", saved(archive(tracks=array(1, 121, 1, 3))), 'no member "array"'),
    ("four channels", "t.pth", saved(archive(array=array(1, 121, 1, 4))), "shape \\(1, 121, 1, 4\\)"),
    ("none in array", "t.pth", saved(archive(array=array(0, 121, 1, 3))), "there are no tracks"),
    ("no samples", "t.pth", saved(archive(array=array(1, 0, 1, 3))), "the tracks have no points"),
    ("pth infinite", "t.pth", saved(archive(array=array(1, 121, 1, 3, fill=np.inf))),
     "is infinite"),
]  # fmt: skip

OPTIONS: list[tuple[str, str, str, str]] = [
    ("no tracks", "", "needs tracks", "stages.0.apply.0"),
    ("a number", "tracks = 5", "must be", "tracks"),
    ("no y", "tracks = [{ points = [{ x = 20 }] }]", "this table needs y; add y", "points.0"),
    ("empty list", "tracks = []", "there are no tracks", "tracks"),
    ("no points", "tracks = [{ points = [] }]", "track 0 has no points", "tracks"),
    ("odd key", "tracks = [{ pionts = [] }]", 'has no option "pionts"', "pionts"),
    ("a text", 'tracks = [{ points = [["a", 1]] }]', 'must be a number, not "a"', "points.0.0"),
    ("NaN", "tracks = [{ points = [[nan, 1]] }]", "finite number", "points.0.0"),
    (
        "one side",
        f"{TRACKS}\nwidth = 96",
        "width of the canvas is given without its height",
        "width",
    ),
    ("no range", f"{TRACKS}\nstart = 0.6\nend = 0.5", "start 0.6 is after end 0.5", "start"),
    ("no step", f"{TRACKS}\nstart = 0.95", "none of the 16 steps begins", "start"),
    ("start", f"{TRACKS}\nstart = 2", "start must be from 0 to 1", "start"),
    (
        "temperature",
        f'{TRACKS}\ntemperature = "hot"',
        'number or "scaled", not "hot"',
        "temperature",
    ),
    ("cold", f"{TRACKS}\ntemperature = -1", "must be from 0 to", "temperature"),
    ("NaN heat", f"{TRACKS}\ntemperature = nan", "temperature must be from 0", "temperature"),
    ("topk", f"{TRACKS}\ntopk = 0", "topk must be from 1", "topk"),
    ("units", f'{TRACKS}\nunits = "pixel"', 'must be one of "pixels", "fractions", not', "units"),
    (
        "padding",
        f'{TRACKS}\npadding = "none"',
        'padding must be one of "spread", "zeros"',
        "padding",
    ),
    ("unknown", f"{TRACKS}\ntopc = 2", 'has no option "topc"; did you mean "topk"', "topc"),
]


def plan(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    apply: str,
    family: str = "tiny-i2v",
    stage: str = 'image = "p.png"\nprompt = "a red circle"',
) -> tuple[int, str]:
    """Exit code and standard error of planning such a workflow."""
    Image.new("RGB", (96, 96)).save(folder / "p.png")
    (folder / "w.toml").write_text(
        f'format = 1\n[model]\nfamily = "{family}"\n[[stages]]\nuse = "generate"\n{stage}\n'
        f'[[stages.apply]]\nuse = "ati"\n{apply}\n'
    )
    monkeypatch.chdir(folder)
    code = main(["plan", "w.toml"])
    said = capsys.readouterr()
    return code, said.err if code else said.out


@pytest.mark.parametrize(
    ("title", "name", "write", "sentence"), FILES, ids=[one[0] for one in FILES]
)
def test_files(
    title: str,
    name: str,
    write: Writer,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    code, said = plan(tmp_path, monkeypatch, capsys, f'tracks = "{name}"')
    assert code == 2, said
    assert re.search(sentence, said), said
    assert said.count("\n") == 1 and said.endswith(".\n"), said
    assert "w.toml, line 10, stages.0.apply.0.tracks" in said
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    ("title", "apply", "sentence", "key"), OPTIONS, ids=[o[0] for o in OPTIONS]
)
def test_options(
    title: str,
    apply: str,
    sentence: str,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text(GOOD)(tmp_path / "t.json")
    code, said = plan(tmp_path, monkeypatch, capsys, apply)
    assert code == 2, said
    assert sentence in said, said
    assert said.count("\n") == 1, said
    assert re.match(rf"w\.toml, line \d+, [\w.]*{re.escape(key)}", said), said


def test_a_family_that_the_feature_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text(GOOD)(tmp_path / "t.json")
    stage = 'prompt = "a red circle"'
    code, said = plan(tmp_path, monkeypatch, capsys, TRACKS, "tiny-t2v", stage)
    assert code == 2
    assert "feature ati does not fit family tiny-t2v; it fits ati-14b, " in said


def test_a_family_that_says_it_fits_but_has_no_channels(tmp_path: Path) -> None:
    family = attrs.evolve(ATI_14B, name="mine", pictures=None)
    request = FeatureCheck(
        feature="ati",
        options=AtiOptions(tracks=tmp_path / "t.json"),
        stage="generate",
        where=lambda option: f"w.toml, line 1, {option}",
        folder=tmp_path,
        family=family,
        size=VideoSize(96, 96, 33, 12),
    )
    with pytest.raises(WorkflowError, match="line 1, use: family mine is told of no picture"):
        check(request)


NOTES: list[tuple[str, Any, str, str]] = [
    ("off at the start", [[[-5, 5], [50, 50]], GOOD[0]], "", "track 0 is off the picture at the start"),
    ("two off", [[[-5, 5]], [[99, 5]], GOOD[0]], "", "track 0 and track 1 are off the picture"),
    ("fast", [[[5, 5]] * 20 + [[90, 5]] * 20], "", "faster than half the picture in two frames"),
    ("samples", [[[20, 30]] * 50], "", "tracks have 50 samples, ATI's own have 121: they are spread"),
    ("zeros", [[[20, 30]] * 50], 'padding = "zeros"', "they are cut or filled up"),
    ("a point that would not stay", [[[20, 30]]], 'padding = "zeros"', "tracks have 1 samples, .* filled up"),
    ("late", {"tracks": [{"points": [{"x": 20, "y": 30, "at": 0}, {"x": 60, "y": 30, "at": 1.5}]}]}, "",
     "track 0 is drawn beyond the clip, whose times are 0 to 1 \\(share\\)"),
    ("early", {"times": "frames", "tracks": [{"points": [{"x": 20, "y": 30, "at": -4}]}]}, "",
     "track 0 is drawn beyond the clip, whose times are 0 to 32 \\(frames\\)"),
    ("many", [GOOD[0]] * 21, "", "there are 21 tracks; ATI was trained with 1 to 20"),
    ("canvas", GOOD, "width = 200\nheight = 100", "other proportions than the picture's 96x96"),
    ("narrow", GOOD, "", 'at 12x12 latents a temperature of 220 reaches no cell .*"scaled" \\(7.65'),
    ("weights", GOOD, "", "family tiny-i2v was not made for tracks"),
]  # fmt: skip


@pytest.mark.parametrize(("title", "tracks", "apply", "note"), NOTES, ids=[one[0] for one in NOTES])
def test_notes(
    title: str,
    tracks: Any,
    apply: str,
    note: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text(tracks)(tmp_path / "t.json")
    code, said = plan(tmp_path, monkeypatch, capsys, f"{TRACKS}\n{apply}")
    assert code == 0, said
    assert re.search(f"feature ati: .*{note}", said), said


@pytest.mark.parametrize("times", ["share", "seconds", "frames"])
def test_times_up_to_the_last_frame_are_no_reason_for_a_note(
    times: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    last = {"share": 1, "seconds": 32 / 12, "frames": 32}[times]
    points = [{"x": 20, "y": 30, "at": 0}, {"x": 60, "y": 30, "at": last}]
    text({"times": times, "tracks": [{"points": points}]})(tmp_path / "t.json")
    code, said = plan(tmp_path, monkeypatch, capsys, TRACKS)
    assert code == 0 and "beyond the clip" not in said


def test_tracks_on_what_is_cut_off_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = 'image = "p.png"\nprompt = "a red circle"\nwidth = 96\nheight = 48'
    text([[[40, 5], [40, 90]]])(tmp_path / "t.json")
    code, said = plan(tmp_path, monkeypatch, capsys, TRACKS, stage=stage)
    assert code == 2
    assert (
        "all tracks start where the picture is cut: x 40 to 40 and y 5 to 5 on 96x96, of which"
        in said
    )
    assert "shows x 0 to 96 and y 24 to 72; give the video the proportions of the picture." in said
    text([[[40, 5], [40, 40]], [[40, 40]]])(tmp_path / "t.json")
    code, said = plan(tmp_path, monkeypatch, capsys, TRACKS, stage=stage)
    assert code == 0
    assert "track 0 is off what the video shows of the picture at the start" in said


def test_a_last_image_is_hardly_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text(GOOD)(tmp_path / "t.json")
    stage = 'image = "p.png"\nlast_image = "p.png"\nprompt = "a red circle"'
    code, said = plan(tmp_path, monkeypatch, capsys, TRACKS, stage=stage)
    assert code == 0
    assert "feature ati: tracks take the channels .* may not end with last_image" in said.replace(
        "that say which frames are given, so the video", ".*"
    )


def test_good_tracks_on_a_good_size_are_no_reason_for_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text([[[20, 30]] * 121])(tmp_path / "t.json")
    code, said = plan(tmp_path, monkeypatch, capsys, f'{TRACKS}\ntemperature = "scaled"')
    assert code == 0
    assert re.findall("feature ati: (.*)", said) == [
        "family tiny-i2v was not made for tracks, and its weights do not follow them; ati-14b with ATI's "
        "weights does"
    ]
