"""What people give to the stage by mistake, and the sentence that answers, before any weight is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import attrs
import pytest
from lumos_samples import found, workflow_text, write_files

from wan_core import plugins
from wan_core.cli import main
from wan_core.memory import Residency


@attrs.frozen
class Case:
    """One mistake.

    Attributes:
        name: of the test.
        stage: lines of the stage, from line 10 of the workflow on.
        says: the sentence behind ``w.toml, ``; ``{folder}`` is that of the files, ``{any}`` differs from
            machine to machine.
        code: the exit code.
    """

    name: str
    stage: str
    says: str
    code: int = 2


VIDEO = 'video = "v.mkv"\n'
BOTH = f'{VIDEO}background = "ground.mkv"\n'
DIRECTIONS = (
    '"Front Light", "Side Light", "Back Light", "Top Light", "Bottom Light", "Split Light" or "Ambient Light '
    'Without Clear Direction"'
)

CASES = (
    Case("video-missing", 'video = "no.mp4"',
         "line 10, stages.0.video, {folder}/no.mp4: there is no such file; check the path.", 7),
    Case("video-damaged", 'video = "damaged.mp4"',
         "line 10, stages.0.video, {folder}/damaged.mp4: this is no video that can be read ({any}).", 7),
    Case("video-empty", 'video = "empty.mp4"',
         "line 10, stages.0.video, {folder}/empty.mp4: this file is empty.", 7),
    Case("video-is-a-folder", 'video = "folder"',
         "line 10, stages.0.video, {folder}/folder: this folder is no sequence of numbered PNG pictures; "
         "name the "
         'pictures, as in "clip/%05d.png".', 7),
    Case("video-is-a-device", 'video = "/dev/zero"',
         "line 10, stages.0.video, /dev/zero: this is a device or a pipe, not a video.", 7),
    Case("video-of-no-stage", 'video = "first.video"',
         'line 10, stages.0.video: video refers to "first", but no earlier stage has that name; no stage '
         'comes before '
         "this one."),
    Case("picture-too-large", 'video = "huge.png"',
         "line 10, stages.0.video, {folder}/huge.png: pictures of 60000x60000 are too large to be read (at "
         "most "
         "67108864 pixels).", 7),
    Case("background-missing", f'{VIDEO}background = "no.mp4"',
         "line 11, stages.0.background, {folder}/no.mp4: there is no such file; check the path.", 7),
    Case("background-is-text", f'{VIDEO}background = "text.txt"',
         "line 11, stages.0.background, {folder}/text.txt: this is no video that can be read ({any}).", 7),
    Case("mask-without-background", f'{VIDEO}mask = "m.png"',
         "line 11, stages.0.mask: mask says where the subject is in the background, and there is no "
         "background; add "
         'background = "FILE", or leave mask out.'),
    Case("mask-missing", f'{BOTH}mask = "no.png"',
         "line 12, stages.0.mask, {folder}/no.png: there is no such file; check the path.", 7),
    Case("mask-is-text", f'{BOTH}mask = "text.txt"',
         "line 12, stages.0.mask, {folder}/text.txt: this is no video that can be read ({any}).", 7),
    Case("mask-of-other-proportions", f'{BOTH}mask = "wide.png"',
         "line 12, stages.0.mask, {folder}/wide.png: the mask is 64x32, the video 32x32: their proportions "
         "differ; "
         "make a mask as large as the video.", 7),
    Case("mask-too-short", f'{BOTH}mask = "short.mkv"',
         "line 12, stages.0.mask, {folder}/short.mkv: the mask has 4 frames, the video 9; use a longer "
         "mask, or a "
         "single picture for all frames.", 7),
    Case("mask-too-short-for-the-makers-rule", f'{BOTH}mask = "short.mkv"\nframe_choice = "upstream"',
         "line 12, stages.0.mask, {folder}/short.mkv: the mask has 4 frames, the video 10; use a longer "
         "mask, or a "
         "single picture for all frames.", 7),
    Case("more-frames-than-there-are", f"{VIDEO}frames = 13",
         "line 11, stages.0.frames: video has 12 frames at 8 per second, not 13; use 9 frames, a longer "
         "video, or "
         'frame_choice = "upstream", which repeats frames.'),
    Case("longer-than-there-is", f"{VIDEO}duration = 4",
         "line 11, stages.0.duration: video has 12 frames at 8 per second, not 33; use 9 frames, a longer "
         "video, or "
         'frame_choice = "upstream", which repeats frames.'),
    Case("a-number-of-frames-that-is-none", "frames = 6",
         "line 10, stages.0.frames: 6 frames can't be made: the number must be 4 * n + 1; use 5 or 9."),
    Case("frames-and-duration", "frames = 5\nduration = 1",
         "line 11, stages.0.duration: frames and duration both say how long the video is; leave one of them "
         "out."),
    Case("duration-0", "duration = 0",
         "line 10, stages.0.duration: duration must be from 0.01 to 10000, not 0."),
    Case("duration-of-too-many-frames", 'video = "fast.mkv"\nframe_choice = "own"\nduration = 9999',
         "line 12, stages.0.duration: frames must be from 1 to 100000, not 239977."),
    Case("frame-choice-of-nothing", 'frame_choice = "own"',
         "line 10, stages.0.frame_choice: frame_choice says which frames of a video are taken, and none is "
         "given; add "
         'video = "FILE", or leave frame_choice out.'),
    Case("frame-choice-unknown", f'{VIDEO}frame_choice = "every"',
         'line 11, stages.0.frame_choice: frame_choice must be "own", "rate" or "upstream", not "every".'),
    Case("width", "width = 100", "line 10, stages.0.width: width 100 is no multiple of 8; use 96 or 104."),
    Case("width-that-follows", 'video = "wide.png"\nheight = 16000',
         "line 11, stages.0.height: width would be 32000, because video is 64x32; the most is 16384; say "
         "width, too."),
    Case("missing", 'missing = "black"',
         'line 10, stages.0.missing: missing must be "grey" or "zero", not "black".'),
    Case("direction", 'direction = "Slide Light"',
         f'line 10, stages.0.direction: direction must be {DIRECTIONS}, not "Slide Light"; did you mean '
         f'"Side Light".'),
    Case("direction-with-control-characters", 'direction = "\\u001b[31m"',
         "line 10, stages.0.direction: direction has a control character (U+001B) in it."),
    Case("a-direction-of-a-sweep", 'direction = ["Side Light", 3]',
         "line 10, stages.0.direction: direction must be text, not 3."),
    Case("option", 'directions = "Side Light"',
         'line 10, stages.0.directions: the stage "unilumos" has no option "directions"; did you mean '
         '"direction".'),
    Case("solver", 'solver = "dpm+"',
         'line 10, stages.0.solver: no plugin in use brings the solver "dpm+"; did you mean "dpm++".', 4),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    write_files(folder)
    (folder / "empty.mp4").touch()
    (folder / "folder").mkdir()
    (folder / "damaged.mp4").write_bytes(b"no video")
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + 2 * (60000).to_bytes(4, "big") + b"\x08\x02\0\0\0"
    (folder / "huge.png").write_bytes(header + 40 * b"\0")
    return folder


@pytest.fixture
def command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A command line in the folder of the files, with the samples installed and without weights."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(Residency, "acquire", refuse)
    monkeypatch.setattr(plugins, "installed_entry_points", lambda: iter(found()))
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, folder: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    (folder / "w.toml").write_text(workflow_text(case.stage))
    want = re.escape(f"w.toml, {case.says}\n".replace("{folder}", str(folder)))
    for verb in ("plan", "run"):
        code, out, err = command(verb, "w.toml")
        assert re.fullmatch(want.replace(re.escape("{any}"), ".+"), err), err
        assert (code, out) == (case.code, "")
    assert not (folder / "out.mkv").exists()


def test_loading_would_be_noticed(
    folder: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    (folder / "w.toml").write_text(workflow_text(VIDEO))
    assert command("plan", "w.toml")[0] == 0
    assert "weights were loaded" in command("run", "w.toml")[2]


def test_a_picture_without_a_number_beside_the_one_that_is_lit(
    folder: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    (folder / "w.toml").write_text(workflow_text('video = "p.png"'))
    code, out, err = command("run", "w.toml", "-o", "lit.png")
    assert (code, out) == (7, "")
    assert 'has no field for the number of the frame; write it like "lit/%05d.png"' in err


@pytest.mark.parametrize(
    ("family", "stage", "says"),
    [
        (
            "random-lumos",
            "generate",
            'the stage "generate" needs a model, and no model here suits it',
        ),
        (
            "tiny-random",
            "unilumos",
            'the stage "unilumos" needs a model, and no model here suits it',
        ),
    ],
)
def test_a_family_and_a_stage_that_do_not_go_together(
    family: str,
    stage: str,
    says: str,
    folder: Path,
    command: Callable[..., tuple[int, str, str]],
) -> None:
    text = workflow_text('prompt = "x"', family=family).replace('"unilumos"', f'"{stage}"')
    (folder / "w.toml").write_text(text)
    code, _, err = command("plan", "w.toml")
    assert code == 2 and says in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("bench", "no.mp4"), "no.mp4: there is no such file; check the path.", 7),
        (("bench", "text.txt"), "text.txt: this is no video that can be read ({any}).", 7),
        (
            ("bench", "v.mkv", "--mask", "wide.png"),
            "wide.png: the mask is 64x32, the video 32x32: their proportions differ; make a mask as large "
            "as the "
            "video.",
            7,
        ),
        (
            ("bench", "v.mkv", "--mask", "short.mkv"),
            "short.mkv: the mask has 4 frames, the video 12; use a longer mask, or a single picture for all "
            "frames.",
            7,
        ),
        (("bench", "v.mkv", "--foreground", "folder"), "{any}", 7),
        (
            ("bench",),
            "wan-core unilumos bench: missing argument 'RESULT'; see wan-core unilumos bench --help.",
            2,
        ),
        (
            ("bench", "v.mkv", "--x"),
            'wan-core unilumos bench: there is no option "--x"; see wan-core unilumos bench --help.',
            2,
        ),
        (("judge",), "{any}", 2),
    ],
)
def test_the_command(
    arguments: tuple[str, ...],
    says: str,
    code: int,
    command: Callable[..., tuple[int, str, str]],
) -> None:
    found_code, out, err = command("unilumos", *arguments)
    assert re.fullmatch(re.escape(says).replace(re.escape("{any}"), ".+"), err.rstrip("\n")), err
    assert (found_code, out) == (code, "")
