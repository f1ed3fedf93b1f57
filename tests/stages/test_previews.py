"""Previews of a stage: sent only when asked for, not too often, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from wan_core import Session
from wan_core.contract.events import Event, Note, Preview, to_dict
from wan_core.contract.protocols import Step
from wan_core.contract.requests import VideoSize
from wan_core.media import read_frames
from wan_core.models.loaders import RANDOM_VAE
from wan_core.models.vae import preview as maps
from wan_core.models.vae.preview import TINY_COLOURS, WAN21_COLOURS, Colours
from wan_core.sampling import StepReport
from wan_core.stages import Previewer, previewer
from wan_core.stages.preview_pictures import MOST_FRAMES, Draw, InColours
from wan_core.workflow import Workflow, parse_workflow

TEXT = """
format = 1
model = {{ family = "tiny-random" }}
output = {{ path = "{name}.mkv" }}
[[stages]]
use = "generate"
prompt = "a circle"
frames = 13
steps = 3
"""
# the first two channels are red and blue
PLAIN = InColours(Colours(((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)), base=(0.0, -1.0, 0.0)))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The random VAE has a map of colours."""
    monkeypatch.setitem(maps._KNOWN, RANDOM_VAE.mean, TINY_COLOURS)


def workflow(folder: Path, name: str = "clip") -> Workflow:
    return parse_workflow(TEXT.format(name=name), name="w.toml", folder=folder)


def previews(events: list[Event]) -> list[Preview]:
    return [one for one in events if isinstance(one, Preview)]


@pytest.mark.usefixtures("known")
def test_a_run_has_the_same_bits_with_and_without_previews(tmp_path: Path) -> None:
    videos, seen = [], []
    with Session() as session:
        for asked in (False, True):
            events: list[Event] = []
            done = session.run(workflow(tmp_path), listen=events.append, previews=asked)
            videos.append(np.stack(list(read_frames(done.outputs[0]))))
            (tmp_path / "clip.mkv").unlink()
            seen.append(events)
    assert np.array_equal(*videos)
    assert not previews(seen[0])
    first, *_, last = previews(seen[1])
    assert (first.stage, first.step, first.steps) == ("generate", 1, 3)
    assert last.step == 3
    # 13 frames are 4 of latents, which last as long: 13 / 8 s
    assert last.frames.shape == (4, 4, 4, 3)
    assert last.frames.dtype == np.uint8
    assert last.fps == pytest.approx(4 / (13 / 8))
    assert not np.array_equal(first.frames, last.frames)


@pytest.mark.usefixtures("known")
def test_a_sweep_has_the_previews_of_each_run(tmp_path: Path) -> None:
    events: list[Event] = []
    with Session() as session:
        both = [workflow(tmp_path, name) for name in ("a", "b")]
        session.sweep(both, listen=events.append, previews=True)
    assert [one.step for one in previews(events) if one.step in (1, 3)] == [1, 3, 1, 3]


def test_latents_without_known_colours_are_told_once(tmp_path: Path) -> None:
    events: list[Event] = []
    with Session() as session:
        session.run(workflow(tmp_path), listen=events.append, previews=True)
    assert not previews(events)
    notes = [one.text for one in events if isinstance(one, Note)]
    assert notes == ["no preview of generate: no colours are known for its VAE"]


def test_json_has_no_pictures() -> None:
    event = Preview("generate", 2, 30, 5.25, np.zeros((3, 4, 4, 3), np.uint8))
    assert to_dict(event) == {
        "event": "Preview", "stage": "generate", "step": 2, "steps": 30, "fps": 5.25,
    }  # fmt: skip


class Clock:
    """Time that passes as the test says; a listener may take some."""

    def __init__(self, listening: float = 0.0) -> None:
        self.now = 0.0
        self.listening = listening
        self.sent: list[Preview] = []

    def __call__(self) -> float:
        return self.now

    def emit(self, event: Event) -> None:
        assert isinstance(event, Preview)
        self.sent.append(event)
        self.now += self.listening


def sender(clock: Clock, draw: Draw | None = PLAIN, **fields: Any) -> Previewer:
    size = VideoSize(width=16, height=16, frames=9, fps=8.0)
    context: Any = SimpleNamespace(stage="s", size=size, emit=clock.emit, **fields)
    return Previewer(context, draw, clock=clock)


def steps_shown(sender: Previewer, clock: Clock, steps: int, seconds: float) -> list[int]:
    for step in range(1, steps + 1):
        clock.now += seconds
        sender.show(step, steps, lambda: torch.zeros(1, 2, 3, 2, 2))
    return [one.step for one in clock.sent]


@pytest.mark.parametrize(
    ("seconds", "listening", "shown"),
    [
        (1.5, 0.0, [1, 2, 3, 4, 5, 6, 7, 8]),  # never twice a second
        (0.4, 0.0, [1, 4, 7, 8]),
        (0.01, 0.0, [1, 8]),
        (1.5, 0.2, [1, 4, 7, 8]),  # 0.2 s of listening are 5 % of 4 s
    ],
)
def test_previews_come_in_measure_and_the_last_one_always(
    seconds: float, listening: float, shown: list[int]
) -> None:
    clock = Clock(listening)
    assert steps_shown(sender(clock), clock, 8, seconds) == shown


def test_latents_are_asked_for_only_when_a_preview_is_due() -> None:
    clock, asked = Clock(), []

    def clean() -> torch.Tensor:
        asked.append(clock.now)
        return torch.zeros(1, 2, 1, 2, 2)

    due, never = sender(clock), sender(clock, draw=None)
    for step in range(1, 5):
        clock.now += 0.5
        due.show(step, 9, clean)
        never.show(step, 9, clean)
    assert asked == [0.5, 1.5]


def test_a_report_shows_what_the_model_imagines() -> None:
    clock = Clock()
    seen = torch.full((1, 2, 4, 1, 2), 0.5)
    velocity = torch.zeros_like(seen)
    velocity[:, 0, 1:] = 1.0  # red: 0.5 - 0.5 * 1 = 0
    velocity[:, 1] = -1.0  # blue: 0.5 + 0.5 * 1 = 1
    step = Step(index=4, steps=5, sigma=0.5, next_sigma=0.0, timestep=500.0)
    report = StepReport(step, {"video": seen}, {"video": velocity}, {"video": seen})
    sender(clock)(report, slice(1, None))
    (event,) = clock.sent
    assert (event.step, event.steps) == (5, 5)
    # 3 pictures for 9 frames
    assert event.fps == pytest.approx(8 * 3 / 9)
    assert event.frames.tolist() == [[[[128, 0, 255]] * 2]] * 3


@pytest.mark.parametrize(("count", "shown"), [(MOST_FRAMES, MOST_FRAMES), (5000, MOST_FRAMES)])
def test_a_long_video_is_shown_in_some_frames(count: int, shown: int) -> None:
    clock = Clock()
    latents = torch.zeros(1, 2, count, 1, 1)
    latents[0, 0, :, 0, 0] = torch.linspace(-1, 1, count)
    sender(clock).show(1, 1, lambda: latents)
    reds = clock.sent[0].frames[:, 0, 0, 0].astype(int)
    assert len(reds) == shown
    assert (reds[0], reds[-1]) == (0, 255)
    assert set(np.diff(reds)) <= {5, 6}


def test_broken_latents_are_no_trouble_of_a_preview() -> None:
    clock = Clock()
    sender(clock).show(1, 1, lambda: torch.full((1, 2, 1, 1, 1), float("nan")))
    assert clock.sent[0].frames.tolist() == [[[[128, 0, 128]]]]


def test_a_preview_without_room_is_given_up_in_whatever_words() -> None:
    def draw(latents: torch.Tensor) -> Any:
        raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")

    told: list[Event] = []
    context: Any = SimpleNamespace(stage="s", emit=told.append)
    shows = Previewer(context, draw)
    shows.show(1, 1, lambda: torch.zeros(1, 2, 1, 1, 1))
    assert told == [Note("no preview of s: out of memory", "warning")]
    assert shows.draw is None


def test_nothing_is_loaded_unless_previews_are_wanted() -> None:
    loaded: list[str] = []
    vae = SimpleNamespace(mean=maps.WAN21.mean)

    def get(slot: str) -> Any:
        loaded.append(slot)
        return vae

    components = SimpleNamespace(get=get, details=lambda slot: {})
    context: Any = SimpleNamespace(previews=False, components=components)
    assert previewer(context).draw is None
    assert loaded == []
    context.previews = True
    assert previewer(context, slot="vae.video").draw == InColours(WAN21_COLOURS)
    assert loaded == ["vae.video"]
