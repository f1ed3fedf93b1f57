"""The probe's stage in the real engine: frames leave before the last are computed, at constant memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wan_core import Session
from wan_core.contract import (
    Event,
    Feature,
    LoadRequest,
    TaskProgress,
    VideoSize,
    WorkflowError,
)
from wan_core.contract.lazy import resolve
from wan_core.hookspecs import hookimpl
from wan_core.media import Chunks, read_frames, resample
from wan_core.models.wan import attend
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.sampling import SeededNoise
from wan_core.workflow import Workflow, parse_workflow

from . import plugin, stage
from .attention import LocalSparseAttention
from .model import Stream

TEXT = """
format = 1
[models.main]
family = "tiny-random"
[models.large]
family = "upscale-probe-random"
[[stages]]
use = "generate"
prompt = "a circle"
width = {width}
height = 32
frames = {frames}
{first}
[[stages]]
use = "upscale-probe"
video = "generate.video"
sparse_ratio = 0.05
{more}
[output]
path = "{path}"
overwrite = true
"""
WATCH = '[[stages.apply]]\nuse = "watch"'


@attrs.frozen
class NoOptions:
    """A feature without options."""


@attrs.define
class Log:
    """What happened in a run, in order, and the frames that passed."""

    events: list[tuple[str, int]] = attrs.field(factory=list)
    streams: list[weakref.ref[Stream]] = attrs.field(factory=list)
    frames: dict[str, list[Tensor]] = attrs.field(factory=dict)
    alive: list[int] = attrs.field(factory=list)

    def note(self, what: str, number: int) -> None:
        self.events.append((what, number))

    def of(self, what: str) -> list[int]:
        return [number for name, number in self.events if name == what]

    def video(self, stage: str) -> Tensor:
        return torch.cat(self.frames[stage])

    @property
    def ahead(self) -> int:
        """The most frames that had been read and not yet written."""
        now, most = {"read": 0, "written": 0}, 0
        for what, number in self.events:
            if what in now:
                now[what] = number
                most = max(most, now["read"] - now["written"])
        return most


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    predict = Stream.predict

    def logged(self: Stream, noise: Tensor, *arguments: Any) -> Tensor:
        log.note("computed", self.first)
        log.streams.append(weakref.ref(self))
        return predict(self, noise, *arguments)

    monkeypatch.setattr(Stream, "predict", logged)
    enlarge = stage.Upscaled.frames

    def counted(self: stage.Upscaled) -> Iterator[Tensor]:
        """Counts the enlarged frames that somebody holds."""
        made: list[weakref.ref[Tensor]] = []
        for frame in enlarge(self):
            made = [one for one in made if one() is not None] + [weakref.ref(frame)]
            log.alive.append(len(made))
            yield frame

    monkeypatch.setattr(stage.Upscaled, "frames", counted)
    return log


def watching(log: Log) -> ModuleType:
    """A feature that notes each frame that passes."""

    def wan_post_process(source: Any, request: Any) -> Chunks:
        def watched() -> Iterator[Tensor]:
            passed = log.frames.setdefault(request.stage, [])
            del passed[:]
            for chunk in source:
                passed.append(chunk.clone())
                log.note("read" if request.stage == "generate" else "made", sum(map(len, passed)))
                yield chunk

        return Chunks(watched)

    made = ModuleType("watch")
    feature = Feature("watch", "", f"{__name__}:NoOptions", writes=("post",))
    vars(made).update(
        WAN_CORE_CONTRACT=(1, 0),
        wan_register=hookimpl(lambda: [feature]),
        wan_post_process=hookimpl(wan_post_process),
    )
    return made


@pytest.fixture
def plugins(log: Log) -> Plugins:
    core = next(iter(installed_entry_points()))
    brought = {"upscale": plugin, "watch": watching(log)}
    return Plugins(
        [core, *(Found(n, f"wan-plugin-{n}", "1.0", lambda p=p: p) for n, p in brought.items())]
    )


Make = Callable[..., Workflow]


@pytest.fixture
def make(tmp_path: Path, plugins: Plugins) -> Make:
    def make(frames: int = 29, width: int = 32, **more: str) -> Workflow:
        fields = {"first": WATCH, "more": WATCH, "path": "out.mp4", **more}
        text = TEXT.format(frames=frames, width=width, **fields)
        return parse_workflow(text, name="test.toml", folder=tmp_path, plugins=plugins)

    return make


@pytest.fixture
def session(plugins: Plugins) -> Iterator[Session]:
    with Session(plugins=plugins) as session:
        yield session


def run(session: Session, workflow: Workflow, log: Log) -> Path:
    def listen(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "decoding and writing":
            log.note("written", event.done)

    (path,) = session.run(workflow, listen=listen).outputs
    return path


def test_frames_leave_before_the_next_chunk_is_computed(
    session: Session, make: Make, log: Log
) -> None:
    path = run(session, make(37), log)
    order = [(what, n) for what, n in log.events if what in ("computed", "written")]
    # place of a chunk's first latent frame, frames in the file
    assert order == [
        ("computed", 0),
        ("written", 21),
        ("computed", 6),
        ("written", 29),
        ("computed", 8),
        ("written", 37),
    ]
    # the input is read no further than the chunk needs: 4 frames ahead of what it makes
    assert log.events.index(("read", 25)) < log.events.index(("computed", 0))
    assert log.events.index(("written", 21)) < log.events.index(("read", 29))
    assert np.stack(list(read_frames(path))).shape == (37, 128, 128, 3)
    made = log.video("upscale-probe")
    assert made.shape == (37, 3, 128, 128)
    assert made.std() > 0.01
    assert all((a != b).any() for a, b in pairwise(made))


def test_frames_held_do_not_grow_with_the_video(session: Session, make: Make, log: Log) -> None:
    ahead, alive = [], []
    for frames in (29, 53):
        log.events.clear()
        log.alive.clear()
        run(session, make(frames, path="clip/%05d.png"), log)
        assert log.of("written")[-1] == frames
        ahead.append(log.ahead)
        alive.append(max(log.alive))
    # a chunk and what it looks ahead have been read when it is computed, but are frames no more
    assert ahead == [25, 25]
    assert alive == [4, 4]


def test_streaming_is_the_same_model_over_the_whole_video(
    session: Session, make: Make, log: Log
) -> None:
    run(session, make(29, width=64), log)
    given, made = log.video("generate"), log.video("upscale-probe")
    assert made.shape == (29, 3, 128, 256)
    torch.testing.assert_close(made, at_once(given, 256, 128), rtol=0, atol=2e-5)


@torch.no_grad()
def at_once(video: Tensor, width: int, height: int) -> Tensor:
    """All frames projected at once, the same chunks through the transformer, all latents decoded at once."""
    model = loaded()
    pictures = resample(video.permute(0, 2, 3, 1).numpy(), width, height, "bicubic")
    frames = torch.from_numpy(pictures).permute(3, 0, 1, 2)
    before, after = frames[:, :1].expand(-1, 3, -1, -1), frames[:, -1:].expand(-1, 4, -1, -1)
    cells = F.pixel_unshuffle(torch.cat((before, frames, after), 1).transpose(0, 1), 16)
    projection = model.lq_projection
    x = projection.conv(cells.transpose(0, 1)[None], None, projection.conv1, projection.gamma1)
    x = projection.conv(x[:, :, 2:], x[:, :, :2], projection.conv2, projection.gamma2)
    (tokens,) = projection.tokens(x)
    sparse = LocalSparseAttention(0.05 * 768 * 1280 / (width * height))
    stream, noise = Stream(model.transformer, model.prompt, sparse, attend), SeededNoise(0)
    frame, count = width * height // 256, x.shape[2]
    latents = []
    for chunk in tokens.split([6 * frame] + [2 * frame] * ((count - 6) // 2), dim=1):
        shape = (1, 16, chunk.shape[1] // frame, height // 8, width // 8)
        latents.append(stream.step(noise.draw(shape), [chunk]))
    return model.vae.decode(torch.cat(latents, dim=2))[0].transpose(0, 1).clamp(-1, 1)


def loaded(dtype: torch.dtype = torch.float32) -> stage.Model:
    """The components, outside a session."""
    (family, *_) = plugin.wan_register()
    parts = {}
    for slot, component in family.components.items():
        request = LoadRequest(slot, component, None, torch.device("cpu"), dtype)
        parts[slot] = resolve(component.load)(request)
    return stage.Model(**parts)


def of_model(model: stage.Model, frames: int = 29) -> stage.Upscaled:
    noise = torch.rand(frames, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    options = plugin.UpscaleOptions(video="generate.video", scale=8, sparse_ratio=0.05)
    size = VideoSize(128, 128, frames, 8)
    given = Chunks(lambda: noise.split(7))
    return stage.Upscaled(given, model, options, size, attend)


def test_the_second_run_has_the_bits_of_the_first_and_nothing_stays(
    session: Session, make: Make, log: Log
) -> None:
    workflow = make(path="clip/%05d.png")
    first = np.stack(list(read_frames(run(session, workflow, log))))
    made = log.video("upscale-probe")
    second = np.stack(list(read_frames(run(session, workflow, log))))
    assert log.of("computed") == [0, 6, 0, 6]
    assert np.array_equal(first, second)
    assert torch.equal(made, log.video("upscale-probe"))
    gc.collect()
    # streams own all that is remembered of a video
    assert len(log.streams) == 4
    assert not any(stream() for stream in log.streams)


def test_a_reader_that_stops_leaves_the_model_as_it_was() -> None:
    model = loaded()
    blocks = model.transformer.transformer.blocks
    before = [block.self_attn.attend for block in blocks]
    whole = torch.cat(list(of_model(model)))
    stopped = iter(of_model(model))
    next(stopped)
    assert [block.self_attn.attend for block in blocks] == before
    assert torch.is_grad_enabled()
    # another stream of the same model, between two chunks of this one
    assert torch.equal(torch.cat(list(of_model(model))), whole)
    assert torch.equal(torch.cat(list(stopped)), whole[21:])


def test_16_bits_stream_too() -> None:
    whole = torch.cat(list(of_model(loaded(torch.bfloat16))))
    assert whole.shape == (29, 3, 128, 128)
    assert whole.dtype == torch.float32
    exact = torch.cat(list(of_model(loaded())))
    # choices fall differently; pictures of another noise differ by more than a standard deviation
    assert 0 < (whole - exact).abs().mean() < 0.25 * exact.std()


def test_a_beginning_does_not_depend_on_what_follows() -> None:
    model = loaded()
    short, long = (torch.cat(list(of_model(model, frames))) for frames in (21, 29))
    # but for the last chunk's look-ahead, which repeats the last frame where there are no more
    given = of_model(model, 29)
    cut = attrs.evolve(given, size=attrs.evolve(given.size, frames=21))
    assert torch.equal(torch.cat(list(cut)), long[:21])
    assert not torch.equal(short, long[:21])


@pytest.mark.parametrize(
    ("given", "scale", "size"),
    [
        ("width = 64\nframes = 29", 4, (256, 128, 29)),
        ("width = 80\nframes = 33", 4.5, (256, 128, 29)),
        ("width = 32\nframes = 25", 8, (256, 256, 21)),
    ],
)
def test_the_plan_knows_the_size_from_the_stage_before(
    session: Session, make: Make, given: str, scale: float, size: tuple[int, int, int]
) -> None:
    fields = dict(line.split(" = ") for line in given.splitlines())
    plan = session.plan(make(int(fields["frames"]), int(fields["width"]), more=f"scale = {scale}"))
    needs = plan.stages[-1].needs
    assert needs.size == VideoSize(*size, plan.stages[0].needs.size.fps)
    lost = int(fields["frames"]) - size[2]
    assert [str(size[2]) in note for note in needs.notes] == [True] * (lost > 0)
    assert needs.notes == tuple(note for note in plan.notes if "frames" in note)


@pytest.mark.parametrize(
    ("frames", "more", "says"),
    [
        (29, "scale = 2", r"line 19, stages\.1\.scale: 32x32 made 2 times larger has less"),
        (17, "", "video of 17 frames is too short; it needs at least 21"),
    ],
)
def test_what_can_not_be_made_larger_is_refused_at_planning(
    session: Session, make: Make, frames: int, more: str, says: str
) -> None:
    with pytest.raises(WorkflowError, match=says):
        session.plan(make(frames, more=more))


@pytest.mark.parametrize(("frames", "kv_ratio"), [(21, 1), (29, 1), (29, 3), (29, 4), (45, 5)])
def test_the_state_has_the_bytes_that_the_plan_says(frames: int, kv_ratio: float) -> None:
    upscaled = of_model(loaded(), frames)
    upscaled = attrs.evolve(upscaled, options=attrs.evolve(upscaled.options, kv_ratio=kv_ratio))
    stream, generator = upscaled.stream(), torch.Generator().manual_seed(0)
    for latents in [6] + [2] * ((frames - 21) // 8):
        noise = torch.randn(1, 16, latents, 16, 16, generator=generator)
        stream.step(noise, [torch.zeros(1, latents * 64, 48)])
    assert stream.state.bytes == stream.spec.bytes
