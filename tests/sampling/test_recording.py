"""Recording: a run that is cut short anywhere goes on with the bits that it would have had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
import torch
from scripted_denoisers import SHAPE, Scripted, begin, prompted
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Held, Inputs
from wan_core.contract.errors import DeadLatentsError
from wan_core.contract.lazy import resolve
from wan_core.contract.protocols import Latents, Step
from wan_core.contract.state import State, StateSpec
from wan_core.sampling import (
    CFG,
    SOLVERS,
    ByExpert,
    SamplerSetup,
    SamplerState,
    TwoExperts,
    noise_sources,
    recipes,
    recorded,
    sample,
    start_latents,
)

SHAPES = {"video": SHAPE, "audio": (1, 5, 7)}


@attrs.define(eq=False)
class MemoryStore:
    """Keeps what it is given as a file would: by value, two of each call."""

    due: bool = True
    kept: dict[int, list[dict[str, Tensor]]] = attrs.field(factory=dict)
    told: list[str] = attrs.field(factory=list)
    stored_steps: list[tuple[int, int]] = attrs.field(factory=list)

    def stored(self, call: int, most: int) -> Iterator[Mapping[str, Tensor]]:
        yield from reversed(self.kept.get(call, []))

    def is_due(self) -> bool:
        return self.due

    def store(self, call: int, stored: Mapping[str, Tensor], step: int, steps: int) -> None:
        copies = {name: tensor.clone() for name, tensor in stored.items()}
        self.kept[call] = [*self.kept.get(call, []), copies][-2:]
        self.stored_steps.append((call, step))

    def tell(self, text: str, *, level: str = "warning") -> None:
        self.told.append(text)

    def again(self) -> MemoryStore:
        """The same in another process."""
        kept = {call: [dict(one) for one in both] for call, both in self.kept.items()}
        return MemoryStore(kept=kept)


class Killed(BaseException):
    """A process that is killed stores nothing more."""


@attrs.define(eq=False)
class Remembering(Scripted):
    """Two latents and a state that every call changes; killed in the middle of a step."""

    killed_at: int = -1
    spec: StateSpec = StateSpec("kv.0", 1000, mutable=True)

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        self.prefilled += 1
        constant = State(StateSpec("text", 4), {"": {"k": torch.ones(1)}})
        return {"kv.0": State(self.spec, {"blocks.0": {"k": torch.zeros(())}}), "text": constant}

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        parts = inputs.state["kv.0"].parts
        seen = parts["blocks.0"]["k"] + latents["video"].mean()
        parts["blocks.0"] = {"k": seen}
        parts[f"step.{inputs.step}"] = {"k": seen.view(1)}  # a cache that grows
        if inputs.step == self.killed_at:
            raise Killed
        velocity = super().__call__(latents, timesteps, inputs)
        return {n: v + 0.1 * seen - 0.01 * len(parts) for n, v in velocity.items()}


@attrs.define
class Momentum:
    """Guidance with a memory."""

    inner: CFG
    before: dict[str, Tensor] = attrs.field(factory=dict)

    def branches(self, step: Step) -> Any:
        return self.inner.branches(step)

    def combine(
        self, predictions: Mapping[str, Latents], latents: Latents, step: Step
    ) -> dict[str, Tensor]:
        now = self.inner.combine(predictions, latents, step)
        self.before = {n: v + 0.5 * self.before.get(n, torch.zeros(())) for n, v in now.items()}
        return dict(self.before)

    def state(self) -> dict[str, Tensor]:
        return dict(self.before)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.before = dict(state)


def setup_of(name: str, steps: int = 5) -> SamplerSetup:
    described = next(s for s in SOLVERS if s.name == name)
    built: SamplerSetup = resolve(described.build)(max(described.fixed_steps, default=steps), 5.0)
    return built


def held() -> Conditioning:
    """A pinned first frame, and another that is frozen."""
    frame = torch.full((1, 4, 1, 2, 2), 0.5)
    first, last = (Held(frame),), (Held(frame, start=-1),)
    conditioning = attrs.evolve(
        prompted(), pin={"video": first}, freeze={"video": last}, held_timestep=0.0
    )
    rows = {**conditioning.text, "audio": conditioning.text["video"]}
    uncond = conditioning.branches["uncond"]["text"]
    return attrs.evolve(conditioning, text=rows).with_branch(
        "uncond", text={**uncond, "audio": uncond["video"]}
    )


@pytest.mark.parametrize("name", [s.name for s in SOLVERS])
def test_every_solver_goes_on_from_every_step(name: str) -> None:
    """Killed in each step: two latents, held frames, mutable state, guidance with a memory."""
    setup = setup_of(name)

    def run(store: MemoryStore | None, denoiser: Remembering) -> dict[str, Tensor]:
        options = {"conditioning": held(), "guidance": Momentum(CFG(2.0))}
        if store is None:
            return sample(denoiser, setup.schedule, begin(setup, shapes=SHAPES), **options)
        with recorded(store):
            return sample(denoiser, setup.schedule, begin(setup, shapes=SHAPES), **options)

    whole = run(None, Remembering())
    for index in range(setup.schedule.steps):
        store = MemoryStore()
        with pytest.raises(Killed):
            run(store, Remembering(killed_at=index))
        assert [step for _, step in store.stored_steps] == list(range(1, index + 1))
        denoiser = Remembering()
        again = run(store.again(), denoiser)
        assert [call.step for call in denoiser.calls[::2]] == [*range(index, setup.schedule.steps)]
        assert all(torch.equal(again[latent], whole[latent]) for latent in SHAPES)


def test_two_experts_go_on_with_states_and_guidance_of_their_own() -> None:
    setup = recipes.unipc(6, 5.0)

    def run(store: MemoryStore, killed_at: int = -1) -> Tensor:
        experts = TwoExperts(
            Remembering(killed_at=killed_at), Remembering(killed_at=killed_at), 0.9
        )
        guidance = ByExpert(Momentum(CFG(3.0)), Momentum(CFG(1.5)), 0.9)
        with recorded(store):
            return sample(
                experts, setup.schedule, begin(setup), conditioning=prompted(), guidance=guidance
            )["video"]

    whole = run(MemoryStore())
    high = sum(float(t) >= 900 for t in setup.schedule.timesteps)
    assert 0 < high < 6
    for index in (1, high - 1, high, high + 1):
        store = MemoryStore()
        with pytest.raises(Killed):
            run(store, index)
        assert torch.equal(run(store.again()), whole)


def calls(store: MemoryStore, denoiser: Remembering, killed_in: int = -1) -> Tensor:
    """Three calls that share their noise, each of which starts from what the last one made."""
    setup = setup_of("dpm++_sde")
    noise = noise_sources(3, ["video"])
    made = torch.zeros(SHAPE)
    with recorded(store):
        for number in range(3):
            start = start_latents(setup.schedule, {"video": SHAPE}, noise)
            start["video"] = start["video"] + 0.1 * made
            denoiser.killed_at = 2 if number == killed_in else -1
            state = SamplerState.start(setup, start, noise)
            options = {"conditioning": prompted(), "guidance": CFG(2.0)}
            made = sample(denoiser, setup.schedule, state, **options)["video"]
    return made


@pytest.mark.parametrize("killed_in", range(3))
def test_calls_that_are_over_are_not_repeated(killed_in: int) -> None:
    whole = calls(MemoryStore(), Remembering())
    store = MemoryStore()
    with pytest.raises(Killed):
        calls(store, Remembering(), killed_in)
    denoiser = Remembering()
    assert torch.equal(calls(store.again(), denoiser), whole)
    assert denoiser.prefilled == 3 - killed_in
    assert len(denoiser.calls) == 2 * (3 + 5 * (2 - killed_in))


def test_a_damaged_state_gives_way_to_the_one_before() -> None:
    setup = setup_of("unipc")

    def run(store: MemoryStore, denoiser: Remembering) -> Tensor:
        with recorded(store):
            return sample(
                denoiser, setup.schedule, begin(setup), conditioning=prompted(), guidance=CFG(2.0)
            )["video"]

    whole = run(MemoryStore(), Remembering())
    store = MemoryStore()
    with pytest.raises(Killed):
        run(store, Remembering(killed_at=4))
    good = store.kept[0][1]
    spoilt: dict[str, dict[str, Tensor]] = {
        "nothing": {},
        "no step": {k: t for k, t in good.items() if k != "index"},
        "too many steps": {**good, "index": torch.tensor(6)},
        "a step below 0": {**good, "index": torch.tensor(-1)},
        "several steps": {**good, "index": torch.tensor([1, 2])},
        "other latents": {**good, "latents.video": torch.zeros(1, 4, 3, 2, 3)},
        "halves": {**good, "latents.video": torch.zeros(SHAPE).half()},
        "no latents": {k: t for k, t in good.items() if k != "latents.video"},
        "no noise": {k: t for k, t in good.items() if k != "noise.video"},
        "odd noise": {**good, "noise.video": torch.zeros(5056, dtype=torch.uint8)},
        "a stranger": {**good, "more": torch.zeros(1)},
        "another latent's solver": {**good, "solver.audio.x0": torch.zeros(1)},
        "a state without name": {**good, "state.x": torch.zeros(1)},
        "a state of numbers": {**good, "state.[1, 2, 3]": torch.zeros(1)},
    }
    for what, stored in spoilt.items():
        bad = store.again()
        bad.kept[0][1] = stored
        denoiser = Remembering()
        assert torch.equal(run(bad, denoiser), whole), what
        assert denoiser.calls[0].step == 3, what
        assert any("does not fit" in text for text in bad.told), what
        bad.kept[0] = [stored]
        denoiser = Remembering()
        assert torch.equal(run(bad, denoiser), whole), what
        assert denoiser.calls[0].step == 0, what


def test_states_are_kept_when_they_are_due_and_when_a_run_ends() -> None:
    setup = setup_of("unipc")
    options = {"conditioning": prompted(), "guidance": CFG(2.0)}
    store = MemoryStore(due=False)
    with recorded(store):
        sample(Scripted(), setup.schedule, begin(setup), **options)
    # the first, and the result
    assert store.stored_steps == [(0, 1), (0, 5)]
    store = MemoryStore(due=False)
    with recorded(store), pytest.raises(Killed):
        sample(Remembering(killed_at=3), setup.schedule, begin(setup), **options)
    assert store.stored_steps == [(0, 1), (0, 3)]


def test_dead_latents_are_not_kept() -> None:
    setup, store = setup_of("unipc"), MemoryStore()
    dead = Scripted(lambda x, t, _: x * float("nan"))
    with recorded(store), pytest.raises(DeadLatentsError):
        sample(dead, setup.schedule, begin(setup), conditioning=prompted(), guidance=CFG(2.0))
    assert store.stored_steps == []


def test_a_solver_that_cannot_give_its_state_begins_anew_and_says_so() -> None:
    @attrs.define(eq=False)
    class Plain:
        inner: Any

        def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
            moved: Tensor = self.inner.step(velocity, latents, index)
            return moved

    setup = setup_of("unipc")
    plain = attrs.evolve(setup, make_solver=lambda s, n: Plain(setup.make_solver(s, n)))

    def run(store: MemoryStore, denoiser: Remembering) -> Tensor:
        with recorded(store):
            return sample(
                denoiser, setup.schedule, begin(plain), conditioning=prompted(), guidance=CFG(2.0)
            )["video"]

    store = MemoryStore()
    whole = run(store, Remembering())
    assert store.stored_steps == [(0, 5)]  # the result needs no solver
    store = MemoryStore()
    with pytest.raises(Killed):
        run(store, Remembering(killed_at=3))
    assert store.stored_steps == []
    again = store.again()
    assert torch.equal(run(again, Remembering()), whole)
    assert again.told == [
        'the solver of "video" can\'t give its state, so a stage that was cut short begins anew'
    ]


def test_without_a_store_nothing_is_recorded() -> None:
    setup, store = setup_of("unipc"), MemoryStore()
    with recorded(store):
        pass
    sample(Scripted(), setup.schedule, begin(setup), conditioning=prompted(), guidance=CFG(2.0))
    assert store.stored_steps == []
