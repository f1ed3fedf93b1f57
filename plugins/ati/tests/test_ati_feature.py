"""The feature in a stage: what it changes, at which steps, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
import wan_plugin_ati
from PIL import Image
from torch import Tensor
from wan_plugin_ati import wan_condition, wan_post_process
from wan_plugin_ati.families import ATI_14B
from wan_plugin_ati.motion import edit
from wan_plugin_ati.options import AtiOptions, InlineTrack
from wan_plugin_ati.temperature import scaled_temperature

from wan_core import Plugins, Session, parse_workflow
from wan_core.contract import (
    Conditioning,
    ConditioningRequest,
    PostProcessRequest,
    StepRange,
    Timed,
    VideoSize,
    WorkflowError,
    sliced,
)
from wan_core.contract.errors import Cancelled
from wan_core.contract.events import Event, TaskProgress
from wan_core.media import read_frames
from wan_core.models.families import WAN21_I2V_14B_480P
from wan_core.testing import inner_names

SIZE = VideoSize(96, 64, 9, 16)
SHAPE = (16, 3, 8, 12)
PATH = (InlineTrack(points=((24.0, 32.0), (72.0, 40.0))),)


def request(size: VideoSize = SIZE, pictures: Any = (), **options: Any) -> ConditioningRequest:
    return ConditioningRequest(
        feature="ati",
        options=AtiOptions(**{"tracks": PATH, **options}),
        stage="generate",
        folder=Path(),
        family=ATI_14B,
        size=size,
        latent_shapes={"video": SHAPE},
        steps=8,
        seed=0,
        components=None,  # type: ignore[arg-type]  # nothing is encoded
        device=torch.device("cpu"),
        dtype=torch.float32,
        pictures=dict(pictures),
    )


def told(channels: int = 20) -> Timed:
    value = torch.randn(1, channels, *SHAPE[1:], generator=torch.Generator().manual_seed(channels))
    return Timed(value, sliced())


def at(conditioning: Conditioning, step: int) -> tuple[Tensor, ...]:
    return conditioning.at("cond", step, 8).concat["video"]


def processed(width: float, height: float, left: float = 0.0, top: float = 0.0) -> Tensor:
    """The tracks of PATH by hand."""
    xy = torch.linspace(0, 1, 9)[:, None] * torch.tensor([48.0, 8.0]) + torch.tensor([24.0, 32.0])
    tracks = torch.ones(9, 1, 4)
    tracks[:, 0, 0] = torch.linspace(-1, 1, 9)
    centre = torch.tensor([left + width / 2, top + height / 2])
    tracks[:, 0, 1:3] = (xy - centre) * 2 / min(width, height)
    return tracks


def test_all_steps_get_the_edited_channels() -> None:
    plain = told()
    changed = wan_condition(request(), Conditioning(concat={"video": (plain,)}))
    assert changed is not None
    for step in range(8):
        (got,) = at(changed, step)
        torch.testing.assert_close(got[0], edit(plain.value[0], processed(96, 64)))
    (part,) = changed.concat["video"]
    assert part.time == plain.time, "windows slice it as they slice the picture's channels"


def test_outside_of_its_steps_the_picture_is_told_as_it_is() -> None:
    plain = told()
    asked = request(start=0.25, end=0.5)
    changed = wan_condition(asked, Conditioning(concat={"video": (plain,)}))
    assert changed is not None
    edited = [len(at(changed, s)) == 1 and at(changed, s)[0] is not plain.value for s in range(8)]
    assert edited == [False, False, True, True, True, False, False, False]


def test_both_branches_see_the_same() -> None:
    before = Conditioning(concat={"video": (told(),)}).with_branch("uncond", held_timestep=1.0)
    changed = wan_condition(request(), before)
    assert changed is not None
    assert changed.view("uncond").concat is changed.view("cond").concat


def test_parts_that_are_no_picture_and_steps_of_parts_stay() -> None:
    other = told(3)
    early = attrs.evolve(told(), steps=StepRange(0, 0.5))
    late = attrs.evolve(told(), steps=StepRange(0.5, 1))
    before = Conditioning(concat={"video": (other, early, late)})
    changed = wan_condition(request(end=0.25), before)
    assert changed is not None
    for step in range(8):
        first, second = at(changed, step)
        assert first is other.value
        whose = early if step < 4 else late
        if step <= 2:
            torch.testing.assert_close(second[0], edit(whose.value[0], processed(96, 64)))
        else:
            assert second is whose.value


def test_without_a_picture_there_is_nothing_to_edit() -> None:
    with pytest.raises(WorkflowError, match="told of no picture"):
        wan_condition(request(), Conditioning())


def test_tracks_are_read_in_pixels_of_the_picture_or_of_the_canvas_that_is_said() -> None:
    plain = Conditioning(concat={"video": (told(),)})
    small = InlineTrack(points=((12.0, 16.0), (36.0, 20.0)))
    same = [
        wan_condition(request(), plain),
        wan_condition(request(tracks=(small,), pictures={"image": (48, 32)}), plain),
        wan_condition(request(tracks=(small,), width=48, height=32), plain),
        wan_condition(
            request(tracks=(InlineTrack(points=((0.25, 0.5), (0.75, 0.625))),), units="fractions"),
            plain,
        ),
    ]
    first, *others = [one.concat["video"][0].value for one in same if one]
    assert len(others) == 3
    for other in others:
        torch.testing.assert_close(other, first, atol=1e-5, rtol=1e-5)


def test_of_a_picture_that_is_cut_the_tracks_are_cut_with_it() -> None:
    """A square picture in a wide video: a band of its middle is seen, from border to border."""
    plain = told()
    asked = request(pictures={"image": (96, 96)})
    changed = wan_condition(asked, Conditioning(concat={"video": (plain,)}))
    assert changed is not None
    expected = edit(plain.value[0], processed(96, 64, top=16))
    torch.testing.assert_close(at(changed, 0)[0][0], expected)


@pytest.mark.parametrize(
    ("asked", "temperature"), [(None, 220.0), ("scaled", scaled_temperature(8, 12)), (50, 50.0)]
)
def test_the_temperature(asked: Any, temperature: float) -> None:
    plain = told()
    changed = wan_condition(request(temperature=asked), Conditioning(concat={"video": (plain,)}))
    assert changed is not None
    expected = edit(plain.value[0], processed(96, 64), temperature=temperature)
    torch.testing.assert_close(at(changed, 0)[0][0], expected)


def test_the_family_is_wans_own_under_other_weights() -> None:
    base = WAN21_I2V_14B_480P
    assert {s: c.config for s, c in ATI_14B.components.items()} == {
        s: c.config for s, c in base.components.items()
    }
    assert ATI_14B.components["vae"] is base.components["vae"]
    (file,) = ATI_14B.components["transformer"].published
    assert file.repository == "bytedance-research/ATI"
    preset = ATI_14B.preset
    assert (preset.steps, preset.shift, preset.guidance) == (40, 5.0, 5.0)
    assert (preset.frames, preset.fps, preset.solver) == (81, 16, "unipc")
    assert preset.negative_prompt.startswith("镜头晃动，色调艳丽")
    assert ATI_14B.features == ("ati",)
    assert base.preset.shift == 3.0, "the core's own is not changed"


def test_the_plugin_is_whole() -> None:
    plugins = Plugins.discover()
    assert not [problem for problem in plugins.problems if "ati" in problem]
    assert plugins.owner("ati") == "ati"
    assert "ati-14b" in plugins.families and "ati" in plugins.commands


def test_only_public_names_of_the_core_are_used() -> None:
    assert inner_names(Path(wan_plugin_ati.__file__).parent) == {}


class Clip:
    """A grey video in two chunks."""

    replayable = True

    def __iter__(self) -> Any:
        yield torch.zeros(5, 3, 64, 96)
        yield torch.zeros(4, 3, 64, 96)


def overlay(**options: Any) -> PostProcessRequest:
    chosen = AtiOptions(**{"tracks": PATH, **options})
    return PostProcessRequest("ati", chosen, "generate", Path(), SIZE)


def test_no_overlay_unless_it_is_asked_for() -> None:
    assert wan_post_process(Clip(), overlay()) is None


def test_an_overlay_is_where_the_point_is_and_leaves_the_rest_alone() -> None:
    source = wan_post_process(Clip(), overlay(overlay=True))
    assert source is not None and source.replayable
    chunks = list(source)
    assert [len(chunk) for chunk in chunks] == [5, 4]
    frames = torch.cat(chunks)
    assert float(frames.abs().max()) <= 1
    touched = (frames != 0).any(dim=1)
    for index, frame in enumerate(touched):
        x, y = round(24 + 6 * index), round(32 + index)
        assert bool(frame[y, x]), "the point"
        assert bool(frame[32:41, 24:73].any())
        frame[26:47, 18:79] = False
        assert not bool(frame.any()), "nothing far from the way is touched"
    hidden = InlineTrack(points=((48.0, 32.0, 0), (48.0, 32.0, 0), (1.0, 1.0)))
    ring = wan_post_process(Clip(), overlay(overlay=True, tracks=(hidden,)))
    assert ring is not None
    first = next(iter(ring))[0]
    assert float(first[:, 32, 48].abs().max()) == 0, "a hidden point is a ring, with a hole"


def test_the_coordinates_of_a_run_in_half_precision_are_whole_ones() -> None:
    """Only what is told is rounded, once: places of points are not."""
    plain = told()
    half = attrs.evolve(plain, value=plain.value.bfloat16())
    changed = wan_condition(request(), Conditioning(concat={"video": (half,)}))
    assert changed is not None
    (got,) = at(changed, 0)
    torch.testing.assert_close(got[0].float(), edit(half.value[0].float(), processed(96, 64)))


WORKFLOW = """
format = 1
[model]
family = "tiny-i2v"
[[stages]]
use = "generate"
prompt = "a small red circle moves right on a black background"
image = "p.png"
frames = 5
steps = 2
width = 48
height = 48
{apply}
[output]
path = "{name}.mkv"
"""
APPLY = '[[stages.apply]]\nuse = "ati"\ntemperature = "scaled"\n'


def test_runs_with_and_without_tracks(tmp_path: Path) -> None:
    """A whole run on the bundled toy model: hidden tracks give the bits of none, seen ones others."""
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[30:50, 30:50] = (220, 20, 20)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    (tmp_path / "t.csv").write_text("x,y,visible\n40,40,1\n80,40,1\n")
    (tmp_path / "hidden.csv").write_text("x,y,visible\n40,40,1\n" + "80,40,0\n" * 4)
    runs = {
        "plain": "",
        "hidden": APPLY + 'tracks = "hidden.csv"',
        "led": APPLY + 'tracks = "t.csv"',
        "drawn": APPLY + 'tracks = "t.csv"\noverlay = true',
    }
    videos = {}
    with Session() as session:
        for name, apply in runs.items():
            text = WORKFLOW.format(apply=apply, name=name)
            result = session.run(parse_workflow(text, name=name, folder=tmp_path))
            (path,) = result.outputs
            videos[name] = np.stack(list(read_frames(path))).astype(int)
    assert all(video.shape == (5, 48, 48, 3) for video in videos.values())
    assert (videos["hidden"] == videos["plain"]).all()
    assert np.abs(videos["led"] - videos["plain"])[1:].max() > 3
    # the overlay touches the way of the point, at half the size of the picture, and nothing else
    touched = (videos["drawn"] != videos["led"]).any(axis=-1)
    assert touched[:, 20, 20:40].any()
    assert not touched[:, :14].any() and not touched[:, 26:].any()


def test_a_run_that_was_stopped_goes_on_with_its_tracks_and_with_no_others(tmp_path: Path) -> None:
    Image.fromarray(np.full((96, 96, 3), 90, np.uint8)).save(tmp_path / "p.png")
    tracks = tmp_path / "t.csv"
    tracks.write_text("x,y\n40,40\n80,40\n")
    apply = APPLY + 'tracks = "t.csv"\nstart = 0.25\nend = 0.5'
    text = WORKFLOW.format(apply=apply, name="led").replace("steps = 2", "steps = 4")
    workflow = parse_workflow(text + "overwrite = true\n", folder=tmp_path)

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and (event.task, event.done) == ("sampling", 2):
            raise KeyboardInterrupt

    with Session(cache=tmp_path / "cache") as session:
        whole = np.stack(list(read_frames(*session.run(workflow).outputs)))
        with pytest.raises(Cancelled):
            session.run(workflow, listen=stop)
        tracks.write_text("x,y\n40,40\n80,80\n")
        with pytest.raises(WorkflowError, match="tracks is another"):
            session.run(workflow, resume=True)
        tracks.write_text("x,y\n40,40\n80,40\n")
        rest = np.stack(list(read_frames(*session.run(workflow, resume=True).outputs)))
    assert np.array_equal(rest, whole)
