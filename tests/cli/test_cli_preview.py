"""``wan-core run --preview``: which terminal shows what, the bytes it gets, and the file beside the video."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import Script
from PIL import Image
from rich.console import Console
from terminal import on_a_terminal

from wan_core.cli import main
from wan_core.cli.pictures import MOST_ROWS, Layout, Picture, blocks, inline, kitty
from wan_core.cli.preview_file import MARK, PreviewFile, PreviewFiles, enlarged, preview_path
from wan_core.cli.terminals import kind_of_pictures, pictures_on
from wan_core.contract.events import (
    Event,
    Note,
    Preview,
    RunFailed,
    RunFinished,
    RunStarted,
)
from wan_core.media import probe, read_frames, write_video

FAKE = [sys.executable, str(Path(__file__).with_name("fake_engine.py"))]
KITTY, GHOSTTY = {"TERM": "xterm-kitty"}, {"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}
ITERM = {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app", "COLORTERM": "truecolor"}
RICH = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b_G.*?\x1b\\|\x1b\][^\x07]*\x07|\x1b[78]")


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        (KITTY, "kitty"),
        (GHOSTTY, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        (ITERM, "inline"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "inline"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "inline"),
        (RICH, "blocks"),
        ({**RICH, "COLORTERM": "24bit"}, "blocks"),
        # started from a terminal that can more
        ({**RICH, "TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({**RICH, "TERM_PROGRAM": "Apple_Terminal", "LC_TERMINAL": "iTerm2"}, "blocks"),
        # inside of others, images would go astray
        ({**KITTY, "TMUX": "/tmp/t,1,0"}, None),
        ({**ITERM, "TERM": "screen-256color"}, "blocks"),
        ({**ITERM, "STY": "1.x"}, "blocks"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "linux"}, None),
        ({**KITTY, "NO_COLOR": "1"}, None),
        ({}, None),
    ],
)
def test_what_a_terminal_can_show(variables: Mapping[str, str], kind: str | None) -> None:
    assert kind_of_pictures(variables) == kind


def test_half_blocks_in_any_colours_where_they_are_asked_for() -> None:
    assert kind_of_pictures({"TERM": "xterm"}, any_colours=True) == "blocks"
    assert kind_of_pictures({**KITTY}, any_colours=True) == "kitty"
    assert kind_of_pictures({"TERM": "xterm", "NO_COLOR": "1"}, any_colours=True) is None


def test_no_pictures_without_a_terminal_or_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.TextIOWrapper):
        terminal = True

        def isatty(self) -> bool:
            return self.terminal

    for name, value in RICH.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "TMUX", "STY", "TERM_PROGRAM", "KITTY_WINDOW_ID", "WEZTERM_PANE"):
        monkeypatch.delenv(name, raising=False)
    stream = Stream(io.BytesIO(), encoding="utf-8")
    assert pictures_on(stream) is blocks
    stream.terminal = False
    assert pictures_on(stream) is None
    assert pictures_on(Stream(io.BytesIO(), encoding="latin-1")) is None
    monkeypatch.setenv("TERM", "dumb")
    assert pictures_on(Stream(io.BytesIO(), encoding="utf-8")) is None


def terminal(columns: int = 80, lines: int = 40, colours: Any = "truecolor") -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, color_system=colours, width=columns, height=lines,
        legacy_windows=False, _environ={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "size", "columns", "lines", "layout"),
    [
        (21, (60, 104), 80, 40, (3, 26, 8)),  # three at least: lower than could be
        (21, (60, 104), 200, 40, (4, 42, 12)),
        (9, (12, 12), 200, 40, (6, 24, 12)),
        (9, (12, 12), 80, 16, (4, 16, 8)),  # half of the terminal's height at most
        (21, (104, 60), 80, 40, (5, 14, 12)),
        (2, (12, 12), 200, 40, (2, 24, 12)),
        (1, (12, 12), 80, 40, (1, 24, 12)),
        (5, (1, 500), 80, 40, (3, 26, 1)),
        (5, (500, 1), 80, 40, (5, 1, 12)),
        (5, (12, 12), 20, 40, None),
        (5, (12, 12), 80, 9, None),
    ],
)
def test_how_frames_stand_side_by_side(
    frames: int, size: tuple[int, int], columns: int, lines: int, layout: tuple[int, ...] | None
) -> None:
    found = Layout.of(np.zeros((frames, *size, 3), np.uint8), terminal(columns, lines))
    assert found == (layout and Layout(*layout))
    assert found is None or found.columns <= columns


def clip() -> np.ndarray:
    """Three frames of one colour each: red, green, blue; the upper half is darker."""
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    for index in range(3):
        frames[index, :4, :, index] = 100
        frames[index, 4:, :, index] = 200
    return frames


def test_half_blocks_have_two_colours_each() -> None:
    picture = blocks(clip(), terminal(lines=10))
    assert picture is not None
    assert (picture.columns, len(picture.lines)) == (32, 5)
    for line in picture.lines:
        assert ESCAPES.sub("", line) == " ".join(["▀" * 10] * 3)
    assert picture.lines[0].startswith("\x1b[38;2;100;0;0;48;2;100;0;0m▀")
    assert picture.lines[0].endswith("\x1b[38;2;0;0;100;48;2;0;0;100m▀\x1b[0m")
    assert picture.lines[4].count("\x1b[38;2;0;200;0;48;2;0;200;0m▀") == 10
    few = blocks(clip(), terminal(lines=10, colours="256"))
    assert few is not None
    assert re.match(r"\x1b\[38;5;\d+;48;5;\d+m▀", few.lines[0])


def test_images_of_kitty_are_sent_once_and_stood_for_by_text() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 60, 60, 3), np.uint8)
    picture = kitty(noise, terminal())
    assert picture is not None
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", picture.before)
    assert "".join(f"\x1b_G{head};{data}\x1b\\" for head, data in parts) == picture.before
    assert len(parts) > 2
    assert all(len(data) <= 4096 for _, data in parts)
    heads = [dict(pair.split("=") for pair in head.split(",")) for head, _ in parts]
    assert [head["m"] for head in heads] == ["1"] * (len(parts) - 1) + ["0"]
    name = heads[0]["i"]
    assert {**heads[0], "m": "1"} == {
        "a": "T", "U": "1", "q": "2", "f": "100", "i": name, "m": "1",
        "c": str(picture.columns), "r": str(len(picture.lines)),
    }  # fmt: skip
    image = Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in parts))))
    assert image.size == (4 * picture.columns, 8 * len(picture.lines))
    text = ESCAPES.sub("", picture.lines[1])
    assert text == "\U0010eeee\u030d\u0305" + "\U0010eeee" * (picture.columns - 1)
    assert picture.lines[1].startswith(f"\x1b[38;5;{name}m")
    assert f"i={name}\x1b" in picture.after
    assert len({ESCAPES.sub("", line) for line in picture.lines}) == len(picture.lines) == MOST_ROWS


def test_inline_images_are_drawn_upwards_into_empty_lines() -> None:
    picture = inline(clip(), terminal(lines=20))
    assert picture is not None
    assert picture.lines[:-1] == ("",) * 9
    images = re.findall(
        r"\x1b7\x1b\[9A(?:\x1b\[(\d+)C)?\x1b\]1337;File=([^:]*):([^\x07]*)\x07\x1b8",
        picture.lines[-1],
    )
    assert [right for right, _, _ in images] == ["", "21", "42"]
    assert {said for _, said, _ in images} == {"inline=1;width=20;height=10;preserveAspectRatio=0"}
    green = Image.open(io.BytesIO(base64.b64decode(images[1][2]))).convert("RGB")
    assert green.size == (160, 160)
    below = np.asarray(green)[120].mean(axis=0)
    assert np.abs(below - (0, 200, 0)).max() < 12


@pytest.mark.parametrize("draw", [kitty, inline, blocks])
def test_rich_counts_the_lines_of_a_picture_and_changes_nothing(draw: Any) -> None:
    console = terminal()
    picture = draw(clip(), console)
    assert isinstance(picture, Picture)
    lines = console.render_lines(picture, pad=False)
    assert ["".join(part.text for part in line) for line in lines] == list(picture.lines)
    console.print(picture, end="")
    assert console.file.getvalue() == "".join(f"{line}\n" for line in picture.lines)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("variables", "sign"),
    [
        (KITTY, "\U0010eeee\u0305\u0305\U0010eeee"),
        (ITERM, "\x1b]1337;File=inline=1;"),
        (RICH, "\x1b[38;2;200;100;50;48;2;200;100;50m▀"),
    ],
)
def test_on_a_terminal_the_picture_moves_with_the_bars_and_leaves_nothing(
    variables: dict[str, str], sign: str
) -> None:
    seen = on_a_terminal([*FAKE, "0.15", "run", "--preview", "x.toml"], **variables)
    assert sign in seen
    # rich draws the picture's lines and the tasks below them, erases all of them and draws again
    after = seen[seen.rindex(sign) :]
    assert "\x1b[2K" in after
    assert after.rfind("\x1b[?25h") > 0
    assert ("a=d,d=I" in after) == (variables is KITTY)
    assert "preview" not in ESCAPES.sub("", seen)
    assert "written                out.mp4" in seen
    assert not Path("outputs/hello.preview.webp").exists()


def test_without_the_option_there_is_no_picture() -> None:
    seen = on_a_terminal([*FAKE, "0", "run", "x.toml"], **KITTY)
    assert "\U0010eeee" not in seen
    assert "\x1b_G" not in seen


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["x.toml"], False),
        (["--preview", "x.toml"], True),
        (["x.toml", "--preview"], True),
        (["--preview=file", "x.toml"], True),
        (["x.toml", "--preview=off"], False),
    ],
)
def test_a_run_is_asked_for_previews_only_when_they_are_wanted(
    script: Script, tmp_path: Path, options: list[str], asked: bool
) -> None:
    assert main(["run", "--quiet", "-o", str(tmp_path / "a.mp4"), *options]) == 0
    assert (script.asked["path"], script.asked["previews"]) == ("x.toml", asked)
    assert list(tmp_path.iterdir()) == []


def test_json_names_the_preview_and_the_step(
    script: Script, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script.events = [event for event in script.events if not isinstance(event, RunFinished)]
    assert main(["run", "--json", "--preview", "-o", str(tmp_path / "a.mp4"), "x.toml"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"event": "Preview", "stage": "generate", "step": 3, "steps": 3, "fps": 4.0} in events
    file = tmp_path / "a.preview.webp"
    assert [e["text"] for e in events if e["event"] == "Note"][1] == f"the preview is {file}"
    assert file.exists()


def test_a_terminal_that_is_none(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "x.toml", "--preview=terminal"]) == 2
    assert capsys.readouterr().err == (
        "--preview=terminal: there is no terminal here that can show pictures; use --preview=file.\n"
    )
    assert script.asked == {}


@pytest.mark.parametrize(
    ("output", "preview"),
    [
        ("out/clip.mp4", "out/clip.preview.webp"),
        ("clip.webp", "clip.preview.webp"),
        ("out/clip.v2.mkv", "out/clip.v2.preview.webp"),
        ("out/clip.v2/%05d.png", "out/clip.v2.preview.webp"),
    ],
)
def test_where_the_file_is(output: str, preview: str) -> None:
    assert preview_path(Path(output)) == Path(preview)


def preview(step: int, value: int = 100) -> Preview:
    return Preview("s", step, 3, 4.0, np.full((5, 12, 20, 3), value, np.uint8))


STARTED, FINISHED = RunStarted("w.toml", ("s",)), RunFinished(("a.mp4",), {}, 1)


def test_the_file_follows_the_run_and_goes_with_it(tmp_path: Path) -> None:
    seen: list[tuple[type[Event], int | None]] = []
    file = tmp_path / "a.preview.webp"

    def view(event: Event) -> None:
        mean = round(float(next(iter(read_frames(file))).mean())) if file.exists() else None
        seen.append((type(event), mean))

    listen = PreviewFiles([tmp_path / "a.mp4"], view)
    for event in (STARTED, preview(1, 100), preview(2, 180), FINISHED):
        listen(event)
    # whoever is told of a preview finds it
    assert seen == [
        (RunStarted, None), (Note, 100), (Preview, 100), (Preview, 180), (RunFinished, None),
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_each_run_of_a_sweep_has_its_own_and_a_failed_one_keeps_it(tmp_path: Path) -> None:
    events: list[Event] = []
    listen = PreviewFiles([tmp_path / "a.mp4", tmp_path / "b.mp4"], events.append)
    for event in (STARTED, preview(1), RunFailed("it broke.", 4), STARTED, preview(1), FINISHED):
        listen(event)
    assert [one.name for one in tmp_path.iterdir()] == ["a.preview.webp"]
    assert sum(isinstance(event, Note) for event in events) == 2
    info = probe(tmp_path / "a.preview.webp")
    assert (info.width, info.height, info.frames, info.comment) == (320, 192, 5, MARK)
    assert float(info.fps) == 4.0
    # the next try takes its place, and away
    again = PreviewFiles([tmp_path / "a.mp4"], events.append)
    for event in (STARTED, preview(1), FINISHED):
        again(event)
    assert list(tmp_path.iterdir()) == []


def _of_somebody(file: Path) -> None:
    write_video(file, [np.zeros((1, 8, 8, 3), np.uint8)], 4, comment="holidays")


def _a_link(file: Path) -> None:
    elsewhere = file.with_name("elsewhere.webp")
    write_video(elsewhere, [np.zeros((1, 8, 8, 3), np.uint8)], 4, comment=MARK)
    file.symlink_to(elsewhere)


@pytest.mark.parametrize(
    "make",
    [
        _of_somebody,
        _a_link,
        lambda file: file.write_bytes(b"mine"),
        lambda file: file.write_bytes(b""),
        lambda file: file.mkdir(),
        lambda file: file.symlink_to("nowhere"),
    ],
)
def test_what_is_no_preview_stays(tmp_path: Path, make: Any) -> None:
    file = tmp_path / "a.preview.webp"
    make(file)
    before = {one: one.is_file() and one.read_bytes() for one in tmp_path.iterdir()}
    told: list[Event] = []
    one = PreviewFile(file, told.append)
    for step in (1, 2):
        one.show(preview(step))
    one.remove()
    assert told == [
        Note('no preview: "a.preview.webp" is there already and stays as it is', "warning")
    ]
    assert {one: one.is_file() and one.read_bytes() for one in tmp_path.iterdir()} == before


def test_what_takes_the_previews_place_is_not_removed(tmp_path: Path) -> None:
    told: list[Event] = []
    file = PreviewFile(tmp_path / "a.preview.webp", told.append)
    file.show(preview(1))
    file.path.write_bytes(b"mine")
    file.remove()
    assert file.path.read_bytes() == b"mine"


def test_trouble_with_the_disk_is_one_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    blocked = tmp_path / "file"
    blocked.touch()
    file = PreviewFile(blocked / "a.preview.webp", told.append)
    for step in (1, 2):
        file.show(preview(step))
    file.remove()
    (note,) = told
    assert isinstance(note, Note)
    assert note.text.startswith("no preview: ")
    assert note.level == "warning"


@pytest.mark.parametrize(
    ("size", "larger"), [((60, 104), (180, 312)), ((12, 12), (192, 192)), ((300, 500), (300, 500))]
)
def test_the_file_can_be_looked_at(size: tuple[int, int], larger: tuple[int, int]) -> None:
    assert enlarged(np.zeros((2, *size, 3), np.uint8)).shape == (2, *larger, 3)
