"""The probe's stage in the real engine: two latents, a solver, a scale and a text for each, two outputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.seams.ovi import parts
from wan_core import Session
from wan_core.contract import (
    AttentionBackend,
    AttentionCall,
    AttentionPatch,
    ChunkSource,
    Conditioning,
    Description,
    Feature,
    Held,
    Inputs,
    PluginError,
    Stage,
    StageContext,
    Timed,
    WorkflowError,
)
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.models.wan import attend
from wan_core.plugins import Plugins
from wan_core.sampling import SeededNoise, StepReport, loop
from wan_core.workflow import parse_workflow

WAN_CORE_CONTRACT = (1, 0)
PROBE = "tests.seams.ovi.plugin"
STEPS, FRAMES, LENGTH, CHANNELS = 3, 9, 13, 5
TEXT = """
format = 1
[model]
family = "ovi-probe"
{model}
[[stages]]
use = "ovi-probe-generate"
name = "main"
prompt = "a dog says <S>hello<E>"
{more}
{after}
[output]
path = "out.mkv"
overwrite = true
"""
LISTEN = '[[stages]]\nuse = "ovi-listen"'

LEAD = SeededNoise(1).draw((1, CHANNELS, 4))

heard: list[tuple[int, Tensor]] = []
attended: list[AttentionCall] = []


@attrs.frozen
class NoOptions:
    """Nothing to choose."""


def listen(context: StageContext) -> Mapping[str, ChunkSource]:
    """A later stage that reads the sound by name."""
    sound = context.inputs["main.audio"]
    heard.append((sound.rate, torch.cat(list(sound), dim=1)))
    return {"heard": []}  # type: ignore[dict-item]


def noting(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
    attended.append(call)
    return attend(q, k, v, call)


@hookimpl
def wan_register() -> Sequence[Description]:
    options = f"{__name__}:NoOptions"
    return [
        Stage("ovi-listen", "read a sound", options, f"{__name__}:listen", outputs=("heard",)),
        Feature("ovi-hush", "another text for the sound", options, writes=("text", "attention")),
        Feature("ovi-lead", "a sound that goes on", options, writes=("pin", "held_timestep")),
        AttentionBackend("ovi-noting", "notes its calls", f"{__name__}:noting"),
    ]


@hookimpl
def wan_condition(request: Any, conditioning: Conditioning) -> Conditioning:
    assert request.latent_shapes == {"video": (16, 3, 4, 4), "audio": (CHANNELS, LENGTH)}
    if request.feature == "ovi-lead":
        return attrs.evolve(conditioning, pin={"audio": (Held(LEAD),)}, held_timestep=0.0)
    text = {**conditioning.text, "audio": Timed(conditioning.text["audio"].value * -1)}
    return attrs.evolve(conditioning, text=text)


@hookimpl
def wan_patch_attention(request: Any) -> list[AttentionPatch]:
    if request.feature == "ovi-lead":
        return []
    return [AttentionPatch(noting, "fusion", frozenset({2}))]


@attrs.define(eq=False)
class Watched:
    """A denoiser, and what it was asked."""

    denoiser: Any
    asked: list[tuple[dict[str, Tensor], Mapping[str, Tensor], Inputs]]

    @property
    def sign(self) -> int:
        return int(self.denoiser.sign)

    def prefill(self, conditioning: Conditioning) -> Mapping[str, Any]:
        return dict(self.denoiser.prefill(conditioning))

    def __call__(self, latents: Any, timesteps: Any, inputs: Inputs) -> dict[str, Tensor]:
        self.asked.append((dict(latents), timesteps, inputs))
        result: dict[str, Tensor] = self.denoiser(latents, timesteps, inputs)
        return result


@attrs.define(eq=False)
class Seen:
    """A run, from the outside and from the inside."""

    start: dict[str, Tensor] = attrs.field(factory=dict)
    end: dict[str, Tensor] = attrs.field(factory=dict)
    solvers: Mapping[str, Any] = attrs.field(factory=dict)
    conditioning: Conditioning | None = None
    reports: list[StepReport] = attrs.field(factory=list)
    asked: list[tuple[dict[str, Tensor], Mapping[str, Tensor], Inputs]] = attrs.field(factory=list)
    video: np.ndarray | None = None

    def velocity(self, name: str, step: int = 0) -> Tensor:
        return self.reports[step].velocity[name]


Run = Callable[..., Seen]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the stage with ``options``, looking into the loop."""

    def run(
        *,
        modules: Sequence[str] = (PROBE, __name__),
        model: str = "",
        after: str = "",
        **options: Any,
    ) -> Seen:
        seen = Seen()

        def watching(denoiser: Any, schedule: Any, state: Any, **more: Any) -> dict[str, Tensor]:
            seen.start, seen.solvers = dict(state.latents), dict(state.solvers)
            seen.conditioning = more["conditioning"]
            advance = more.pop("observe")

            def observe(report: StepReport) -> None:
                seen.reports.append(report)
                advance(report)

            watched = Watched(denoiser, seen.asked)
            seen.end = original(watched, schedule, state, observe=observe, **more)
            return seen.end

        monkeypatch.setattr(loop, "sample", watching)
        more = "\n".join(f"{key} = {toml(value)}" for key, value in options.items())
        text = TEXT.format(model=model, more=more, after=after)
        plugins = Plugins.discover(modules=modules)
        assert not plugins.problems
        workflow = parse_workflow(text, name="test.toml", folder=tmp_path, plugins=plugins)
        with Session(plugins=plugins, device="cpu") as session:
            seen.video = np.stack(list(read_frames(session.run(workflow).outputs[0])))
        return seen

    original = loop.sample
    heard.clear()
    attended.clear()
    yield run


def toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    levels = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "first.png")
    return "first.png"


def same(one: Seen, other: Seen) -> bool:
    return np.array_equal(one.video, other.video) and all(
        torch.equal(one.end[name], other.end[name]) for name in ("video", "audio")
    )


def test_both_outputs_are_there_and_a_run_repeats_to_the_bit(run: Run) -> None:
    first, again = run(after=LISTEN), run(after=LISTEN)
    assert first.video is not None and first.video.shape == (FRAMES, 32, 32, 3)
    assert first.end["video"].shape == (1, 16, 3, 4, 4)
    assert first.end["audio"].shape == (1, CHANNELS, LENGTH)
    assert all(bool(latents.isfinite().all()) for latents in first.end.values())
    (rate, sound), (_, repeated) = heard
    assert rate == 16_000
    assert sound.shape == (1, 512 * LENGTH)
    wanted = first.end["audio"][0].mean(dim=0).tanh()
    torch.testing.assert_close(sound[0, ::512], wanted)
    assert same(first, again)
    assert torch.equal(sound, repeated)


def test_each_latent_has_its_own_noise_and_its_own_solver(run: Run) -> None:
    seen, longer = run(seed=7), run(seed=7, audio_length=20)
    for name, shape in (("video", (1, 16, 3, 4, 4)), ("audio", (1, CHANNELS, LENGTH))):
        assert torch.equal(seen.start[name], SeededNoise(7).draw(shape))
    assert torch.equal(seen.start["video"], longer.start["video"])
    assert longer.end["audio"].shape == (1, CHANNELS, 20)
    assert set(seen.solvers) == {"video", "audio"}
    assert seen.solvers["video"] is not seen.solvers["audio"]
    # the towers are fused: a longer sound is seen in the picture
    assert not torch.equal(seen.velocity("video"), longer.velocity("video"))
    assert not torch.equal(seen.start["audio"], run(seed=8).start["audio"])


@pytest.mark.parametrize(("changed", "other"), [("audio", "video"), ("video", "audio")])
def test_the_scales_lead_separately(run: Run, changed: str, other: str) -> None:
    weak, strong = run(**{f"{changed}_scale": 2.0}), run(**{f"{changed}_scale": 6.0})
    assert torch.equal(weak.velocity(other), strong.velocity(other))
    assert not torch.equal(weak.velocity(changed), strong.velocity(changed))
    # later the one hears of the other through the fusion
    assert not torch.equal(weak.velocity(other, 1), strong.velocity(other, 1))
    # both are on the line u + g (c - u)
    alone = run(video_scale=1.0, audio_scale=1.0)
    cond = alone.velocity(changed)
    torch.testing.assert_close(
        strong.velocity(changed) - cond, 5 * (weak.velocity(changed) - cond), rtol=1e-3, atol=1e-4
    )
    assert [inputs.branch for _, _, inputs in alone.asked] == ["cond"] * STEPS


def test_each_latent_has_a_text_in_each_branch(run: Run) -> None:
    seen = run(negative_prompt="jitter", audio_negative_prompt="echo and noise")
    by_branch = {inputs.branch: inputs.text for _, _, inputs in seen.asked}
    assert torch.equal(by_branch["cond"]["video"], by_branch["cond"]["audio"])
    assert by_branch["uncond"]["video"].shape == (1, 2, 16)
    assert by_branch["uncond"]["audio"].shape == (1, 4, 16)
    other = run(negative_prompt="jitter", audio_negative_prompt="hum")
    assert torch.equal(seen.asked[0][2].text["audio"], other.asked[0][2].text["audio"])
    assert not torch.equal(seen.velocity("audio"), other.velocity("audio"))


def test_the_negative_branch_leaves_a_block_out(run: Run) -> None:
    skipping, whole = run(model='attention = "ovi-noting"'), run(skip_block=0)
    skipped = {inputs.branch: inputs.skip_blocks for _, _, inputs in skipping.asked}
    assert skipped == {"cond": frozenset(), "uncond": frozenset({1})}
    assert {c.block for c in attended if c.branch == "cond"} == {0, 1, 2}
    assert {c.block for c in attended if c.branch == "uncond"} == {0, 2}
    assert not torch.equal(skipping.velocity("video"), whole.velocity("video"))
    assert not torch.equal(skipping.velocity("audio"), whole.velocity("audio"))
    assert {inputs.skip_blocks for _, _, inputs in whole.asked} == {frozenset()}


def test_a_backend_serves_every_attention_of_both_towers(run: Run) -> None:
    noted, plain = run(model='attention = "ovi-noting"'), run()
    assert same(noted, plain)
    video, sound = (3, 2, 2), (LENGTH, 1, 1)
    blocks_run = (3 + 2) * STEPS
    served = [(call.source, call.grid) for call in attended]
    assert {key: served.count(key) for key in set(served)} == {
        (source, grid): blocks_run
        for source in ("self", "text", "fusion")
        for grid in (video, sound)
    }
    for call in attended:
        if call.source == "fusion":  # each side is rotated by the table of its own tower
            assert call.rope_q is not None and call.rope_k is not None
            rows = call.rope_q[0].shape[-2], call.rope_k[0].shape[-2]
            assert rows == ((12, LENGTH) if call.grid == video else (LENGTH, 12))
        assert (call.rope_q is None) == (call.source == "text")


def test_the_first_frame_is_held(run: Run, picture: str) -> None:
    seen, free = run(image=picture), run()
    assert seen.conditioning is not None
    (held,) = seen.conditioning.pin["video"]
    assert held.value.shape == (1, 16, 1, 4, 4)
    assert torch.equal(seen.end["video"][:, :, :1], held.value)
    for latents, timesteps, inputs in seen.asked:
        assert torch.equal(latents["video"][:, :, :1], held.value)
        t = inputs.timestep
        assert t > 0
        assert timesteps["video"].tolist() == [[0.0, t, t]]
        assert timesteps["audio"].tolist() == [t]
    assert all(timesteps["video"].shape == (1,) for _, timesteps, _ in free.asked)
    # generated frames and the sound know of it
    assert not torch.equal(seen.end["video"][:, :, 1:], free.end["video"][:, :, 1:])
    assert not torch.equal(seen.velocity("audio"), free.velocity("audio"))


def test_latents_of_any_rank_can_be_held(run: Run) -> None:
    seen = run(after='[[stages.apply]]\nuse = "ovi-lead"')
    assert torch.equal(seen.end["audio"][:, :, :4], LEAD)
    for latents, timesteps, inputs in seen.asked:
        assert torch.equal(latents["audio"][:, :, :4], LEAD)
        assert timesteps["audio"].tolist() == [[0.0] * 4 + [inputs.timestep] * (LENGTH - 4)]
        assert timesteps["video"].tolist() == [inputs.timestep]


def test_other_precisions_and_solvers_serve(run: Run) -> None:
    exact, rough = run(solver="euler"), run(solver="euler", model='precision = "bfloat16"')
    for name in ("video", "audio"):
        off = (exact.end[name] - rough.end[name]).norm() / exact.end[name].norm()
        assert 0 < off < 0.05
    assert not torch.equal(exact.end["audio"], run(solver="dpm++").end["audio"])


def test_bits_do_not_depend_on_other_plugins(run: Run) -> None:
    assert same(run(modules=[PROBE]), run(modules=[__name__, PROBE]))


def test_a_feature_reaches_one_latent_and_one_source(run: Run) -> None:
    asked, plain = run(after='[[stages.apply]]\nuse = "ovi-hush"'), run()
    cond = {inputs.branch: inputs.text for _, _, inputs in asked.asked}["cond"]
    assert torch.equal(cond["audio"], -cond["video"])
    assert not torch.equal(asked.velocity("audio"), plain.velocity("audio"))
    # its patch is for the video tower's fusion in the last block; afterwards nothing is left of it
    assert {(call.source, call.block, call.grid) for call in attended} == {("fusion", 2, (3, 2, 2))}
    assert len(attended) == 2 * STEPS


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frames": 8}, r"frames must be 4 \* n \+ 1"),
        ({"solver": "unipcc"}, 'did you mean "unipc"'),
        ({"audio_scale": 11}, "audio_scale must be from 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(
    run: Run, options: dict[str, Any], says: str
) -> None:
    with pytest.raises((WorkflowError, PluginError), match=says):
        run(**options)


def test_a_sound_without_samples_a_second_is_the_plugins(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "Tone", partial(parts.Tone, rate=0))
    with pytest.raises(PluginError, match="made a sound of 0 samples a second"):
        run()


def test_registering_needs_no_torch() -> None:
    code = f"import sys, {PROBE} as p; p.wan_register(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
