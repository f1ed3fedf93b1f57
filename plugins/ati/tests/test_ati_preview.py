"""``wan-core ati preview``: pictures and videos of tracks, and what is said of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wan_core.cli import main
from wan_core.media import probe, read_frames, write_video

WORKFLOW = """
format = 1
[model]
family = "ati-14b"
[[stages]]
use = "generate"
prompt = "a ball"
image = "p.png"
width = 192
height = 96
frames = 9
[[stages.apply]]
use = "ati"
tracks = [{ name = "ball", points = [[32, 32], [160, 64]] }]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (192, 96), (60, 60, 60)).save("p.png")
    Path("w.toml").write_text(WORKFLOW)
    Path("t.toml").write_text("[[tracks]]\npoints = [[32, 32]]\n")
    Path("there.png").touch()
    os.mkfifo("pipe.png")
    Path("t.csv").write_text("track,x,y,visible\na,32,32,1\na,160,64,1\nb,10,10,1\nb,20,20,0\n")


def preview(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["ati", "preview", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_picture_of_a_workflow_whose_weights_are_not_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = preview(capsys, "w.toml", "-o", "out.png")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "tracks:  1, from tracks in the workflow",
        "samples: 2 a track",
        "canvas:  192x96, points in pixels",
        "clip:    9 frames at 16 per second",
        "visible: 100 % of all points",
        "note:    feature ati: at 24x12 latents a temperature of 220 reaches no cell beside a point; "
        'temperature = "scaled" (7.65 here) reaches as far as ATI does at its own size',
        'wrote "out.png"',
    ]
    picture = np.asarray(Image.open("out.png").convert("RGB")).astype(int)
    assert picture.shape == (384, 768, 3), "small pictures are shown in larger pixels"
    assert tuple(picture[128, 128]) == (255, 59, 48), "the start of the first track"
    middle = picture[192, 384]
    assert middle[0] > 90 and middle[2] < 70, "its way is faint"
    assert tuple(picture[5, 5]) == (60, 60, 60)


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "frames/%03d.png"])
def test_a_video_of_moving_points(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = preview(capsys, "w.toml", "-o", name)
    assert (code, err) == (0, "")
    assert probe(name).frames == 9
    frames = np.stack(list(read_frames(name))).astype(int)
    for index in (0, 4, 8):
        x, y = 128 + 64 * index, 128 + 16 * index
        assert np.abs(frames[index, y, x] - (255, 59, 48)).max() < 40


def test_a_track_file_on_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = preview(
        capsys, "t.csv", "--picture", "p.png", "-o", "deep/er/out.png", "--frames", "33"
    )
    assert code == 0 and Path("deep/er/out.png").is_file()
    assert "tracks:  2, from table (CSV)" in out
    assert "clip:    33 frames at 16 per second" in out
    assert "visible: 74 % of all points" in out


def test_overrides_reach_the_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = preview(capsys, "w.toml", "-s", "stages.0.frames=17", "-o", "out.png")
    assert code == 0 and "17 frames" in out


def test_of_a_sweep_the_tracks_are_those_of_all_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = preview(capsys, "w.toml", "-s", "stages.0.seed=1,2", "-o", "out.png")
    assert (code, err) == (0, "") and "tracks:  1" in out


def test_a_long_strip_is_not_made_endless(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (1600, 16)).save("strip.png")
    Path("t.csv").write_text("x,y\n10,8\n")
    code, _, err = preview(capsys, "t.csv", "--picture", "strip.png", "-o", "out.png")
    assert (code, err) == (0, "")
    width, height = Image.open("out.png").size
    assert width > 50 * height and width <= 6400


def test_dots_tell_how_fast_a_point_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A point that waits in the first half of the clip has all of its dots on the second half's way."""
    Path("t.csv").write_text("x,y,at\n32,48,0\n32,48,0.5\n160,48,1\n")
    code, _, _ = preview(capsys, "t.csv", "--picture", "p.png", "-o", "out.png", "--frames", "81")
    assert code == 0
    picture = np.asarray(Image.open("out.png")).astype(int)
    height, width = picture.shape[:2]
    row = picture[height // 2]
    solid = np.abs(row - (255, 59, 48)).max(1) < 30
    edges = np.flatnonzero(np.diff(np.concatenate([[0], solid, [0]])))
    middles = (edges[::2] + edges[1::2]) / 2 * 192 / width
    np.testing.assert_allclose(middles, [32, 64, 96, 128, 160], atol=1.5)


def test_a_stage_that_goes_on_from_another(capsys: pytest.CaptureFixture[str]) -> None:
    first = '[[stages]]\nuse = "generate"\nname = "first"\nprompt = "a ball"\nimage = "p.png"\n'
    text = WORKFLOW.replace('image = "p.png"', 'continues = "first.video"')
    Path("w.toml").write_text(text.replace("[[stages]]", first + "[[stages]]", 1))
    code, out, err = preview(capsys, "w.toml", "-o", "out.png")
    assert (code, err) == (0, "")
    # the first stage makes 880x432 of the picture, and its video is what the tracks are drawn on
    assert "canvas:  880x432" in out
    assert "tracks are shown on grey" in out
    assert tuple(np.asarray(Image.open("out.png"))[5, 5]) == (128, 128, 128)


def test_a_video_is_shown_by_its_first_frame(capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.zeros((3, 96, 192, 3), np.uint8)
    frames[0] = (10, 200, 90)
    write_video("p.mkv", [frames], 8)
    code, _, err = preview(capsys, "t.csv", "--picture", "p.mkv", "-o", "out.png")
    assert (code, err) == (0, "")
    assert tuple(np.asarray(Image.open("out.png"))[-5, -5]) == (10, 200, 90)


BAD = [
    (["w.toml"], "missing option '-o' / '--output'"),
    (["no.toml", "-o", "x.png"], "no.toml"),
    (["t.csv", "-o", "x.png"], '"t.csv" is no workflow, and tracks alone have no picture'),
    (["w.toml", "-o", "x.doc"], 'can\'t be written as "x.doc"'),
    (["w.toml", "-o", "there.png"], "there.png exists already; say --overwrite"),
    (["w.toml", "-o", "."], ". is a folder; name a file"),
    (["w.toml", "-o", "p.png", "--overwrite"], "p.png is the picture itself; name another file"),
    (["w.toml", "-o", "t.csv/x.png"], "t.csv is a file, not a folder"),
    (["w.toml", "-o", "q" * 300 + ".png"], "can't be written (File name too long)"),
    (["pipe.png", "-o", "x.png"], '"pipe.png" is no workflow'),
    (["w.toml", "-o", "pipe.png", "--overwrite"], "pipe.png is no ordinary file"),
    (
        ["t.toml", "-o", "x.png"],
        '"t.toml" is a track file, and tracks alone have no picture; add --pic',
    ),
    (
        ["w.toml", "--picture", "p.png", "-o", "x.png"],
        "this is a workflow, not a drawing of tracks",
    ),
    (["w.toml", "--units", "pixels", "-o", "x.png"], "--units is for a track file"),
    (["w.toml", "--stage", "b", "-o", "x.png"], 'there is no stage "b"; there are generate'),
    (["t.csv", "--picture", "no.png", "-o", "x.png"], "no.png"),
    (["no.csv", "--picture", "p.png", "-o", "x.png"], "no.csv: there is no such file"),
    (["t.csv", "--picture", "p.png", "--units", "cm", "-o", "x.png"], "--units must be"),
    (["t.csv", "--picture", "p.png", "--width", "0", "-o", "x.png"], "--width must be from 1"),
    (["t.csv", "--picture", "p.png", "--width", "9", "-o", "x.png"], "without its height"),
    (["t.csv", "--picture", "p.png", "--frames", "8", "-o", "x.png"], "use 5 or 9"),
    (["t.csv", "--picture", "p.png", "--set", "a=1", "-o", "x.png"], "--set is for workflows"),
    (["w.toml", "--pictur", "p.png", "-o", "x.png"], "no option"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[" ".join(one[0]) for one in BAD])
def test_bad_arguments_are_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path().iterdir())
    code, out, err = preview(capsys, *arguments)
    assert code in (2, 7), err
    assert sentence.lower() in err.lower() and err.count("\n") == 1, err
    assert out == "" and sorted(Path().iterdir()) == before


@pytest.mark.parametrize("family", ["tiny-t2v", "wan2.2-ti2v-5b"])
def test_what_planning_refuses_is_not_drawn(
    family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("w.toml").write_text(WORKFLOW.replace("ati-14b", family))
    code, _, err = preview(capsys, "w.toml", "-o", "x.png")
    assert code == 2
    assert f"stages.0.apply.0: feature ati does not fit family {family}; it fits ati-14b, " in err


def test_a_workflow_without_tracks(capsys: pytest.CaptureFixture[str]) -> None:
    Path("w.toml").write_text(WORKFLOW.partition("[[stages.apply]]")[0])
    code, _, err = preview(capsys, "w.toml", "-o", "x.png")
    assert code == 2 and "no stage of w.toml asks for ati; add [[stages.apply]]" in err


def test_no_model_library_is_imported() -> None:
    code = (
        "import sys\nfrom wan_core.cli import main\n"
        "assert main(['ati', 'preview', 'w.toml', '-o', 'x.png']) == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["ati"], ["ati", "--help"], ["ati", "preview", "--help"]):
        assert main(arguments) == 0
        assert "preview" in capsys.readouterr().out
    assert main(["ati", "previw"]) == 2
    assert "known are: preview" in capsys.readouterr().err
