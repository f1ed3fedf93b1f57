"""LongCat through the contract: its numbers, its cache as state, its segments through the real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.seams.longcat import stage
from tests.seams.longcat.config import KV
from tests.seams.longcat.golden import HANDLERS
from tests.seams.longcat.model import LongCatTransformer
from tests.seams.longcat.plugin import CONFIG
from wan_core import Session
from wan_core.contract import (
    Conditioning,
    Inputs,
    Latents,
    State,
    StateSpec,
    TaskStarted,
    WorkflowError,
)
from wan_core.media import read_frames
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.sampling import StepReport, sample
from wan_core.testing.golden import Verdict, find_cases, handlers, run_case
from wan_core.workflow import Workflow, parse_workflow

GOLDEN = Path(__file__).parents[2] / "golden" / "longcat"
WORKFLOW = """
format = 1
[model]
family = "longcat-random"
precision = "{precision}"
[[stages]]
use = "longcat-segments"
prompt = "a red circle moves"
negative_prompt = "blur"
guidance = {{ scale = 4, zero_star = true }}
{more}
[output]
path = "out.mkv"
overwrite = true
"""
FRAMES, LATENTS, AREA, STEPS = 13, 4, 2 * 3, 3


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    core = next(iter(installed_entry_points()))
    probe = Found(
        "longcat", "wan-plugin-longcat", "0", lambda: import_module("tests.seams.longcat.plugin")
    )
    plugins = Plugins([core, probe])
    assert not plugins.problems
    return plugins


# -- numbers of the published transformer -------------------------------------------------------------


@pytest.mark.parametrize("case", find_cases([GOLDEN]), ids=lambda path: path.stem)
def test_reference_cases(case: Path, plugins: Plugins) -> None:
    known = handlers(plugins)
    assert known[json.loads(case.read_text())["kind"]] in HANDLERS.values()
    outcome = run_case(case, known)
    assert outcome.verdict is Verdict.PASSED, outcome.note


def test_units_and_rest_are_all_of_it() -> None:
    transformer = LongCatTransformer(CONFIG)
    units, rest = transformer.units(), transformer.rest()
    inside = [f"{unit.name}.{name}" for unit in units for name, _ in unit.module.named_parameters()]
    assert [unit.name for unit in units] == ["blocks.0", "blocks.1", "blocks.2"]
    assert sorted([*inside, *rest]) == sorted(name for name, _ in transformer.named_parameters())


# -- segments through the engine ----------------------------------------------------------------------


@attrs.define(eq=False)
class Segment:
    """One call of the loop, watched."""

    conditioning: Conditioning
    prefills: list[Mapping[str, State]] = attrs.field(factory=list)
    calls: list[tuple[Inputs, Tensor]] = attrs.field(factory=list)
    answers: list[Tensor] = attrs.field(factory=list)
    reports: list[StepReport] = attrs.field(factory=list)
    filled: list[dict[str, dict[str, Tensor]]] = attrs.field(factory=list)
    latents: Tensor | None = None


class Watched:
    """A denoiser that writes down what it is asked; ``place`` may move its state, as a scheduler would."""

    def __init__(self, inner: stage.LongCatDenoiser, segment: Segment, place: Any) -> None:
        self.inner, self.segment, self.place, self.sign = inner, segment, place, inner.sign

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        states = self.inner.prefill(conditioning)
        self.segment.filled.append(
            {
                unit: {name: tensor.clone() for name, tensor in part.items()}
                for state in states.values()
                for unit, part in state.parts.items()
            }
        )
        placed = {name: self.place(state) for name, state in states.items()}
        self.segment.prefills.append(placed)
        return placed

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        self.segment.calls.append((inputs, timesteps["video"]))
        answer = self.inner(latents, timesteps, inputs)
        self.segment.answers.append(answer["video"])
        return answer


@attrs.frozen(eq=False)
class Ran:
    segments: list[Segment]
    tokens: list[int]
    tasks: list[str]
    frames: np.ndarray


class Studio:
    """Runs the stage through a session, and watches the loop and the transformer."""

    def __init__(self, folder: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.plugins, self.monkeypatch = folder, plugins, monkeypatch

    def workflow(self, more: str = "", precision: str = "float32") -> Workflow:
        text = WORKFLOW.format(more=more, precision=precision)
        return parse_workflow(text, name="t.toml", folder=self.folder, plugins=self.plugins)

    def state_of(self, workflow: Workflow) -> tuple[StateSpec, ...]:
        """What the plan says of the stage's state."""
        with Session(plugins=self.plugins) as session:
            return session.plan(workflow).stages[0].needs.state

    def run(
        self, more: str = "", *, precision: str = "float32", place: Any = lambda state: state
    ) -> Ran:
        segments: list[Segment] = []
        tokens: list[int] = []
        tasks: list[str] = []
        embed, load = "x_embedder.proj", stage.load_transformer

        def watched_load(request: Any) -> LongCatTransformer:
            transformer = load(request)
            transformer.get_submodule(embed).register_forward_hook(
                lambda _module, _arguments, out: tokens.append(out.shape[1])
            )
            return transformer

        def watched_sample(denoiser: Any, *arguments: Any, **named: Any) -> dict[str, Tensor]:
            segment = Segment(named["conditioning"])
            segments.append(segment)
            named["observe"] = segment.reports.append
            watched = Watched(denoiser, segment, place)
            result = sample(watched, *arguments, **named)
            segment.latents = result["video"]
            return result

        def listen(event: Any) -> None:
            if isinstance(event, TaskStarted):
                tasks.append(event.task)

        with self.monkeypatch.context() as patch, Session(plugins=self.plugins) as session:
            patch.setattr(stage, "load_transformer", watched_load)
            patch.setattr(stage, "sample", watched_sample)
            output = session.run(self.workflow(more, precision), listen=listen).outputs[0]
        return Ran(segments, tokens, tasks, np.stack(list(read_frames(output))))


@pytest.fixture
def studio(tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio(tmp_path, plugins, monkeypatch)


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_a_cached_segment_equals_one_that_computes_its_condition_in_every_call(
    studio: Studio,
) -> None:
    cached, plain = studio.run(), studio.run("cache = false")
    assert torch.equal(cached.segments[0].latents, plain.segments[0].latents)
    assert close(cached.segments[1].latents, plain.segments[1].latents)
    # what a call computes: all tokens, then those of the condition once, then those of the noise alone
    first = [LATENTS * AREA] * 2 * STEPS
    assert cached.tokens == [*first, AREA, *[(LATENTS - 1) * AREA] * 2 * STEPS]
    assert plain.tokens == [*first, *first]


def test_what_is_in_the_cache_counts(studio: Studio) -> None:
    def spoilt(state: State) -> State:
        for unit, part in state.parts.items():
            state.parts[unit] = {name: torch.zeros_like(tensor) for name, tensor in part.items()}
        return state

    sound, other = studio.run().segments[1], studio.run(place=spoilt).segments[1]
    assert torch.equal(sound.latents[:, :, :1], other.latents[:, :, :1])
    assert not close(sound.latents[:, :, 1:], other.latents[:, :, 1:])


def test_the_state_is_computed_once_a_segment_and_handed_to_both_branches(studio: Studio) -> None:
    ran = studio.run("segments = 3\ncondition = 1")
    assert [len(segment.prefills) for segment in ran.segments] == [1, 1, 1]
    assert ran.segments[0].prefills == [{}]
    assert len({id(segment.prefills[0].get(KV)) for segment in ran.segments}) == 3
    for segment in ran.segments[1:]:
        assert [inputs.branch for inputs, _ in segment.calls] == ["cond", "uncond"] * STEPS
        assert all(inputs.state[KV] is segment.prefills[0][KV] for inputs, _ in segment.calls)
        assert all(inputs.held == {"video": ((0, 1),)} for inputs, _ in segment.calls)
        for (inputs, told), step in zip(segment.calls, (0, 0, 1, 1, 2, 2), strict=True):
            assert inputs.step == step
            assert told.tolist() == [[0.0, *[inputs.timestep] * 3]]
    assert all(not inputs.state and not inputs.held for inputs, _ in ran.segments[0].calls)
    # on the same weights
    assert ran.tasks.count("loading transformer") == 1


def test_frozen_frames_are_the_last_of_the_segment_before_and_nothing_touches_them(
    studio: Studio,
) -> None:
    ran = studio.run("segments = 3\ncondition = 2")
    for before, segment in zip(ran.segments, ran.segments[1:], strict=False):
        given = before.latents[:, :, -2:]
        assert torch.equal(segment.conditioning.freeze["video"][0].value, given)
        for report in segment.reports:
            assert torch.equal(report.seen["video"][:, :, :2], given)
            assert torch.equal(report.latents["video"][:, :, :2], given)
            assert not report.velocity["video"][:, :, :2].any()
            assert report.velocity["video"][:, :, 2:].any()
        assert torch.equal(segment.latents[:, :, :2], given)


def test_guidance_sums_are_over_the_noise_frames_alone(studio: Studio) -> None:
    """CFG-Zero★ by hand, from the predictions of a step."""
    segment = studio.run("condition = 2").segments[1]
    report = segment.reports[0]
    c, u = (-answer[:, :, 2:] for answer in segment.answers[:2])
    scale = (c * u).sum() / ((u * u).sum() + 1e-8)
    assert close(report.velocity["video"][:, :, 2:], scale * u + 4 * (c - scale * u))


@pytest.mark.parametrize(("segments", "condition"), [(1, 1), (2, 1), (3, 2)])
def test_the_video_has_every_frame_once(studio: Studio, segments: int, condition: int) -> None:
    alone = studio.run("segments = 1").frames
    together = studio.run(f"segments = {segments}\ncondition = {condition}").frames
    latents = LATENTS + (segments - 1) * (LATENTS - condition)
    assert len(alone) == FRAMES
    assert len(together) == 4 * (latents - 1) + 1
    assert np.array_equal(together[:FRAMES], alone)


def test_the_same_bits_again(studio: Studio) -> None:
    one, other = studio.run(), studio.run()
    assert torch.equal(one.segments[1].latents, other.segments[1].latents)
    assert np.array_equal(one.frames, other.frames)


# -- state is known before it exists, and may be moved ------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "precision", "item"), [(1, "float32", 4), (3, "float32", 4), (2, "bfloat16", 2)]
)
def test_the_plan_knows_the_bytes_of_the_state(
    studio: Studio, condition: int, precision: str, item: int
) -> None:
    more = f"condition = {condition}"
    (spec,) = studio.state_of(studio.workflow(more, precision))
    assert (spec.name, spec.scope, spec.mutable) == (KV, "segment", False)
    (segment,) = studio.run(more, precision=precision).segments[1:]
    state = segment.prefills[0][KV]
    assert state.spec == spec
    assert state.bytes == spec.bytes == CONFIG.depth * 2 * condition * AREA * 32 * item


@pytest.mark.parametrize("more", ["segments = 1", "cache = false"])
def test_without_a_cache_the_plan_counts_none(studio: Studio, more: str) -> None:
    assert studio.state_of(studio.workflow(more)) == ()


class Elsewhere(MutableMapping[str, Mapping[str, Tensor]]):
    """Parts that lie elsewhere and are fetched when they are read."""

    def __init__(self, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.stored = {unit: dict(part) for unit, part in parts.items()}
        self.fetched: list[str] = []

    def __getitem__(self, unit: str) -> Mapping[str, Tensor]:
        self.fetched.append(unit)
        return {name: tensor.clone() for name, tensor in self.stored[unit].items()}

    def __setitem__(self, unit: str, part: Mapping[str, Tensor]) -> None:
        raise AssertionError("read-only state is not written back")

    def __delitem__(self, unit: str) -> None:
        raise AssertionError("nothing is dropped while it is used")

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def test_state_may_lie_elsewhere_and_comes_unit_by_unit(studio: Studio) -> None:
    moved = studio.run(place=lambda state: attrs.evolve(state, parts=Elsewhere(state.parts)))
    here = studio.run()
    assert torch.equal(moved.segments[1].latents, here.segments[1].latents)
    segment = moved.segments[1]
    parts = segment.prefills[0][KV].parts
    units = [f"blocks.{index}" for index in range(CONFIG.depth)]
    assert parts.fetched == units * 2 * STEPS
    for unit in units:
        for name, tensor in segment.filled[0][unit].items():
            assert torch.equal(parts.stored[unit][name], tensor)


def test_a_condition_that_leaves_nothing_is_refused(studio: Studio, plugins: Plugins) -> None:
    with (
        Session(plugins=plugins) as session,
        pytest.raises(WorkflowError, match=r"t\.toml, line \d+.*leaves nothing of the 4 latent"),
    ):
        session.plan(studio.workflow("condition = 4"))
