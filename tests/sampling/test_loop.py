"""The loop: explicit state, held frames, branches, observers."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import load_file, save_file
from scripted_denoisers import SHAPE, Scripted, begin, prompted, smooth
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Held, Inputs, StepRange, Timed
from wan_core.contract.errors import Cancelled
from wan_core.contract.lazy import resolve
from wan_core.contract.state import State, StateSpec
from wan_core.sampling import recipes
from wan_core.sampling.catalog import SOLVERS
from wan_core.sampling.experts import TwoExperts
from wan_core.sampling.guidance import CFG, ByExpert
from wan_core.sampling.loop import StepReport, sample
from wan_core.sampling.recipes import SamplerSetup

EMPTY = Conditioning()


def setup_of(name: str = "unipc", steps: int = 6) -> SamplerSetup:
    described = next(s for s in SOLVERS if s.name == name)
    built: SamplerSetup = resolve(described.build)(max(described.fixed_steps, default=steps), 5.0)
    return built


def run(setup: SamplerSetup, denoiser: Scripted, **options: object) -> Tensor:
    given = {"conditioning": EMPTY, "guidance": CFG(1.0), **options}
    return sample(denoiser, setup.schedule, begin(setup), **given)["video"]  # type: ignore[arg-type]


def first_frames(value: float, frames: int = 1) -> tuple[Held, ...]:
    batch, channels, _, height, width = SHAPE
    return (Held(torch.full((batch, channels, frames, height, width), value)),)


@pytest.mark.parametrize("name", [s.name for s in SOLVERS])
def test_a_stored_state_continues_bit_for_bit(name: str, tmp_path: Path) -> None:
    setup = setup_of(name)
    whole = run(setup, Scripted())
    for index in range(1, setup.schedule.steps):

        def stop(report: StepReport, last: int = index - 1) -> None:
            if report.step.index == last:
                raise Cancelled("stopped")

        state = begin(setup)
        with pytest.raises(Cancelled):
            sample(
                Scripted(),
                setup.schedule,
                state,
                conditioning=EMPTY,
                guidance=CFG(1.0),
                observe=stop,
            )
        stored = {k: v.contiguous().clone() for k, v in state.snapshot().items()}
        save_file(stored, tmp_path / "state.safetensors")
        continued = begin(setup, seed=12345)
        continued.restore(load_file(tmp_path / "state.safetensors"))
        assert continued.index == index
        video = sample(
            Scripted(), setup.schedule, continued, conditioning=EMPTY, guidance=CFG(1.0)
        )["video"]
        assert torch.equal(video, whole)


@pytest.mark.parametrize("name", ["unipc", "lcm", "er_sde"])
def test_a_failed_step_is_tried_again(name: str) -> None:
    setup = setup_of(name)
    whole = run(setup, Scripted())

    @attrs.define(eq=False)
    class OutOfMemoryOnce:
        """Fails after the solver of the first latent has moved."""

        solver: object
        failed: bool = False

        def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
            moved = self.solver.step(velocity, latents, index)  # type: ignore[attr-defined]
            if index == 2 and not self.failed:
                self.failed = True
                raise torch.OutOfMemoryError
            return moved  # type: ignore[no-any-return]

        def state(self) -> dict[str, Tensor]:
            return self.solver.state()  # type: ignore[attr-defined, no-any-return]

        def load_state(self, state: dict[str, Tensor]) -> None:
            self.solver.load_state(state)  # type: ignore[attr-defined]

    state = begin(setup)
    state.solvers = {"video": OutOfMemoryOnce(state.solvers["video"])}
    with pytest.raises(torch.OutOfMemoryError):
        sample(Scripted(), setup.schedule, state, conditioning=EMPTY, guidance=CFG(1.0))
    assert state.index == 2
    again = sample(Scripted(), setup.schedule, state, conditioning=EMPTY, guidance=CFG(1.0))
    assert torch.equal(again["video"], whole)


@pytest.mark.parametrize(
    ("guidance", "calls"),
    [
        (CFG(1.0), ["cond"] * 4),
        (CFG(1.0 + 1e-12), ["cond"] * 4),
        (CFG(0.0), ["uncond"] * 4),
        (CFG(3.0), ["cond", "uncond"] * 4),
        (CFG((3.0, 1.0)), ["cond", "uncond", "cond", "cond", "cond"]),
        (CFG(3.0, zero_steps=2), ["cond", "uncond"] * 2),
    ],
)
def test_only_branches_with_weight_run(guidance: CFG, calls: list[str]) -> None:
    denoiser = Scripted()
    run(setup_of(steps=4), denoiser, guidance=guidance, conditioning=prompted())
    assert [call.branch for call in denoiser.calls] == calls
    assert denoiser.prefilled == 1


def test_scale_one_equals_the_prompt_alone() -> None:
    guided = run(setup_of(), Scripted(), conditioning=prompted(), guidance=CFG((1.0,)))
    alone = run(setup_of(), Scripted(), conditioning=Conditioning(text=prompted().text))
    assert torch.equal(guided, alone)


def test_guidance_is_u_plus_g_times_the_difference() -> None:
    setup, denoiser = setup_of(steps=1), Scripted()
    reports: list[StepReport] = []
    run(
        setup,
        denoiser,
        conditioning=prompted(0.5, -0.25),
        guidance=CFG(4.0),
        observe=reports.append,
    )
    plain = smooth(reports[0].seen["video"], reports[0].step.timestep, Inputs())
    assert torch.allclose(reports[0].velocity["video"], plain - 0.25 + 4.0 * 0.75, atol=1e-5)


def test_pinned_frames_are_there_before_each_step_and_after_the_last() -> None:
    denoiser = Scripted()
    pinned = Conditioning(pin={"video": first_frames(2.0)}, held_timestep=0.0)
    video = run(setup_of(), denoiser, conditioning=pinned)
    for saw, told in zip(denoiser.saw, denoiser.told, strict=True):
        assert bool((saw["video"][:, :, :1] == 2.0).all())
        assert told["video"].shape == (1, 3)
        assert float(told["video"][0, 0]) == 0.0
        assert float(told["video"][0, 1]) == float(told["video"][0, 2]) > 0
    assert bool((video[:, :, :1] == 2.0).all())
    free = run(setup_of(), Scripted())
    # the field is pointwise, so the other frames do not notice
    assert torch.equal(video[:, :, 1:], free[:, :, 1:])


def test_held_frames_without_a_timestep_share_that_of_the_step() -> None:
    denoiser = Scripted()
    run(setup_of(), denoiser, conditioning=Conditioning(pin={"video": first_frames(2.0)}))
    assert {told["video"].shape for told in denoiser.told} == {torch.Size([1])}


def test_frames_are_counted_from_the_end_too() -> None:
    held = attrs.evolve(first_frames(2.0)[0], start=-1)
    video = run(setup_of(), Scripted(), conditioning=Conditioning(pin={"video": (held,)}))
    assert bool((video[:, :, -1:] == 2.0).all())
    assert not bool((video[:, :, :-1] == 2.0).any())


def test_overlay_is_seen_by_its_branch_only_and_not_kept() -> None:
    denoiser = Scripted()
    conditioning = prompted().with_branch(
        "cond", overlay={"video": first_frames(5.0)}, held_timestep=0.0
    )
    reports: list[StepReport] = []
    run(
        setup_of(),
        denoiser,
        conditioning=conditioning,
        guidance=CFG(2.0),
        observe=reports.append,
    )
    for call, saw, told in zip(denoiser.calls, denoiser.saw, denoiser.told, strict=True):
        overlaid = bool((saw["video"][:, :, :1] == 5.0).all())
        assert overlaid == (call.branch == "cond")
        assert told["video"].ndim == (2 if call.branch == "cond" else 1)
    assert all(not bool((r.latents["video"][:, :, :1] == 5.0).any()) for r in reports)


def test_frozen_frames_touch_neither_solver_nor_guidance() -> None:
    shapes: list[torch.Size] = []

    class Watching(CFG):
        def combine(self, predictions, latents, step):  # type: ignore[no-untyped-def]
            shapes.append(predictions["cond"]["video"].shape)
            return super().combine(predictions, latents, step)

    setup, denoiser = setup_of(), Scripted()
    frozen = Conditioning(freeze={"video": first_frames(2.0, frames=2)}, held_timestep=0.0)
    state = begin(setup)
    reports: list[StepReport] = []
    video = sample(
        denoiser,
        setup.schedule,
        state,
        conditioning=frozen,
        guidance=Watching(1.0),
        observe=reports.append,
    )["video"]
    assert set(shapes) == {torch.Size((1, 4, 1, 2, 2))}
    assert {t.shape for t in state.solvers["video"].state().values()} == set(shapes)
    assert denoiser.saw[0]["video"].shape == SHAPE
    assert bool((video[:, :, :2] == 2.0).all())
    assert bool((reports[0].velocity["video"][:, :, :2] == 0).all())
    free = run(setup_of(), Scripted())
    assert torch.equal(video[:, :, 2:], free[:, :, 2:])


@pytest.mark.parametrize("name", [s.name for s in SOLVERS])
def test_all_frames_may_be_frozen(name: str) -> None:
    frozen = Conditioning(freeze={"video": first_frames(2.0, frames=3)}, held_timestep=0.0)
    video = run(setup_of(name), Scripted(), conditioning=frozen, health=None)
    assert torch.equal(video, torch.full(SHAPE, 2.0))


@pytest.mark.parametrize("slot", ["pin", "freeze"])
def test_a_branch_can_not_hold_frames_of_the_shared_latents(slot: str) -> None:
    with pytest.raises(ValueError, match=f"{slot}.*share the latents.*use overlay"):
        Conditioning().with_branch("cond", **{slot: {"video": first_frames(2.0)}})
    with pytest.raises(ValueError, match="share the latents"):
        Conditioning(branches={"cond": {slot: {}}})


def test_a_branch_overrides_only_slots_that_something_reads() -> None:
    with pytest.raises(ValueError, match="unknown slots"):
        Conditioning().with_branch("cond", extra_frames={"video": (1, 0)})


@pytest.mark.parametrize(
    ("start", "steps", "first"),
    [(0.28, 25, 7), (0.56, 25, 14), (0.14, 50, 7), (0.5, 4, 2), (0.5, 5, 3), (0.0, 3, 0)],
)
def test_a_step_range_begins_where_the_share_of_steps_does(
    start: float, steps: int, first: int
) -> None:
    late, early = StepRange(start, 1.0), StepRange(0.0, start) if start else None
    assert [s for s in range(steps) if late.holds(s, steps)] == list(range(first, steps))
    if early:
        assert [s for s in range(steps) if early.holds(s, steps)] == list(range(first))


def test_a_model_of_the_other_sign_gives_the_same_video() -> None:
    turned = Scripted(lambda x, t, inputs: -smooth(x, t, inputs), sign=-1)
    assert torch.equal(run(setup_of(), turned), run(setup_of(), Scripted()))


def test_named_latents_of_different_rank_have_their_own_solver_and_noise() -> None:
    setup = setup_of("dpm++_sde")
    shapes = {"video": SHAPE, "audio": (1, 5, 7)}
    state = begin(setup, shapes=shapes)
    both = sample(Scripted(), setup.schedule, state, conditioning=EMPTY, guidance=CFG(1.0))
    assert both["audio"].shape == (1, 5, 7)
    assert torch.equal(both["video"], run(setup_of("dpm++_sde"), Scripted()))


def test_a_batch_is_its_samples() -> None:
    setup = setup_of()
    state = begin(setup, shapes={"video": (2, *SHAPE[1:])})
    start = state.latents["video"].clone()
    both = sample(Scripted(), setup.schedule, state, conditioning=EMPTY, guidance=CFG(1.0))
    for index in range(2):
        single = begin(setup)
        single.latents = {"video": start[index : index + 1]}
        alone = sample(Scripted(), setup.schedule, single, conditioning=EMPTY, guidance=CFG(1.0))
        assert torch.allclose(both["video"][index : index + 1], alone["video"], atol=1e-6)


def test_channels_that_exclude_each_other_by_steps() -> None:
    denoiser = Scripted()
    early, late = torch.zeros(1, 1, 3, 2, 2), torch.ones(1, 1, 3, 2, 2)
    parts = (Timed(early, steps=StepRange(0.0, 0.5)), Timed(late, steps=StepRange(0.5, 1.0)))
    run(setup_of(steps=4), denoiser, conditioning=Conditioning(concat={"video": parts}))
    values = [[float(part.mean()) for part in c.concat["video"]] for c in denoiser.calls]
    assert values == [[0.0], [0.0], [1.0], [1.0]]


def test_the_preview_is_the_clean_prediction() -> None:
    target = torch.linspace(-1, 1, 48).view(SHAPE)
    setup = setup_of()
    levels = dict(
        zip(setup.schedule.timesteps.tolist(), setup.schedule.sigmas.tolist(), strict=False)
    )
    sure = Scripted(lambda x, t, _: (x - target) / levels[int(t)])
    reports: list[StepReport] = []
    run(setup, sure, observe=reports.append)
    assert [r.step.index for r in reports] == list(range(setup.schedule.steps))
    for report in reports:
        assert torch.allclose(report.preview()["video"], target, atol=1e-5)


def test_two_experts_take_turns_with_their_own_guidance() -> None:
    high, low = Scripted(), Scripted()
    setup = recipes.unipc(20, 12.0)
    experts = TwoExperts(high, low, 0.875)
    guidance = ByExpert(CFG(4.0), CFG(1.0), 0.875)
    state = begin(setup)
    sample(experts, setup.schedule, state, conditioning=prompted(), guidance=guidance)
    assert [c.branch for c in high.calls] == ["cond", "uncond"] * 13
    assert [c.branch for c in low.calls] == ["cond"] * 7
    assert (high.prefilled, low.prefilled) == (1, 1)
    assert [c.step for c in low.calls] == list(range(13, 20))


def test_state_reaches_every_call_of_its_own_expert_only() -> None:
    def state(name: str) -> dict[str, State]:
        return {name: State(StateSpec(name, 4), {"blocks.0": {"k": torch.ones(1)}})}

    high, low = Scripted(state=state("kv") | state("more")), Scripted(state=state("kv"))
    setup = recipes.unipc(4, 5.0)
    experts = TwoExperts(high, low, 0.9)
    assert set(experts.prefill(EMPTY)) == {"high.kv", "high.more", "low.kv"}
    options = {"conditioning": prompted(), "guidance": CFG(2.0)}
    sample(experts, setup.schedule, begin(setup), **options)
    for expert in (high, low):
        assert expert.calls
        for call in expert.calls:
            assert call.state == expert.state


def test_a_call_knows_which_frames_its_branch_is_given() -> None:
    frames = SHAPE[2]
    last = attrs.evolve(first_frames(0.5)[0], start=-1)
    conditioning = Conditioning(
        freeze={"video": first_frames(0.1)}, pin={"video": (last,)}
    ).with_branch("uncond", overlay={"video": (attrs.evolve(last, start=1),)})
    denoiser = Scripted()
    run(setup_of(), denoiser, conditioning=conditioning, guidance=CFG(2.0))
    for call in denoiser.calls:
        more = ((1, 2),) if call.branch == "uncond" else ()
        assert call.held == {"video": ((0, 1), *more, (frames - 1, frames))}
    denoiser = Scripted()
    run(setup_of(), denoiser)
    assert not any(call.held for call in denoiser.calls)


def test_experts_of_different_signs_are_refused() -> None:
    with pytest.raises(ValueError, match="signs"):
        TwoExperts(Scripted(), Scripted(sign=-1), 0.9)


@pytest.mark.parametrize("held_at", [0.0, 1000.0])
@pytest.mark.parametrize("frames", [1, 3])
def test_held_frames_do_not_choose_the_expert(held_at: float, frames: int) -> None:
    high, low = Scripted(), Scripted()
    pinned = Conditioning(pin={"video": first_frames(2.0, frames)}, held_timestep=held_at)
    setup = recipes.unipc(4, 5.0)
    sample(
        TwoExperts(high, low, 0.9),
        setup.schedule,
        begin(setup),
        conditioning=pinned,
        guidance=CFG(1.0),
        health=None,
    )
    timesteps = [float(t) for t in setup.schedule.timesteps]
    assert [c.timestep for c in high.calls] == [t for t in timesteps if t >= 900]
    assert [c.timestep for c in low.calls] == [t for t in timesteps if t < 900]
    assert high.calls
    assert low.calls
