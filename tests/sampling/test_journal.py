"""Mutable state: a step that failed leaves it as it found it, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

import attrs
import pytest
import torch
from scripted_denoisers import Scripted, begin
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Inputs
from wan_core.contract.errors import PluginError
from wan_core.contract.protocols import Latents
from wan_core.contract.state import State, StateSpec
from wan_core.memory import SwappedParts
from wan_core.memory.copies import SimulatedCopier
from wan_core.sampling import recipes, sample
from wan_core.sampling.guidance import CFG
from wan_core.sampling.journal import rolled_back

Part = Mapping[str, Tensor]


class Elsewhere(MutableMapping[str, Part]):
    """Parts that are fetched into the same memory whenever they are read."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.kept = {unit: {k: t.clone() for k, t in part.items()} for unit, part in parts.items()}

    def __getitem__(self, unit: str) -> Part:
        return {k: t.clone() for k, t in self.kept[unit].items()}

    def __setitem__(self, unit: str, part: Part) -> None:
        self.kept[unit] = {k: t.clone() for k, t in part.items()}

    def __delitem__(self, unit: str) -> None:
        del self.kept[unit]

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)


def swapped(parts: Mapping[str, Part]) -> SwappedParts:
    return SwappedParts(SimulatedCopier(), parts)


PLACES = {"plain": dict, "elsewhere": Elsewhere, "swapped": swapped}


def values(state: State) -> dict[str, dict[str, list[float]]]:
    return {u: {k: t.tolist() for k, t in part.items()} for u, part in state.parts.items()}


@pytest.mark.parametrize("place", PLACES)
def test_everything_is_put_back(place: str) -> None:
    parts = {"a": {"k": torch.ones(2)}, "b": {"k": torch.zeros(2), "v": torch.full((2,), 3.0)}}
    state = State(StateSpec("kv", 24, mutable=True), PLACES[place](parts))
    before, mapping = values(state), state.parts

    def step(fails: bool) -> None:
        with rolled_back({"kv": state}):
            state.parts["a"] = {"k": state.parts["a"]["k"] + 1}
            state.parts["a"] = {"k": state.parts["a"]["k"] + 1, "more": torch.ones(1)}
            del state.parts["b"]
            state.parts["c"] = {"k": torch.ones(1)}
            assert set(state.parts) == {"a", "c"}
            if fails:
                raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        step(fails=True)
    assert values(state) == before
    assert state.parts is mapping
    step(fails=False)
    assert values(state) == {"a": {"k": [3, 3], "more": [1]}, "c": {"k": [1]}}


@pytest.mark.parametrize("assigned", [True, False])
def test_a_state_changed_in_place_is_told_and_not_repeated(assigned: bool) -> None:
    state = State(StateSpec("kv", 8, mutable=True), {"a": {"k": torch.ones(2)}})
    with pytest.raises(PluginError, match='it has changed the state "kv" in place'):  # noqa: SIM117
        with rolled_back({"kv": state}):
            part = state.parts["a"]
            part["k"].add_(1)
            if assigned:
                state.parts["a"] = part
            raise torch.OutOfMemoryError


@attrs.define(eq=False)
class Remembering(Scripted):
    """What it predicts depends on all that it has seen; fails once, in the middle of a step."""

    fails_at: int = -1
    place: str = "plain"

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        parts = {"unit.0": {"seen": torch.zeros(())}}
        return {"kv": State(StateSpec("kv", 4, mutable=True), PLACES[self.place](parts))}

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        parts = inputs.state["kv"].parts
        seen = parts["unit.0"]["seen"] + latents["video"].mean()
        parts["unit.0"] = {"seen": seen}
        if inputs.step == self.fails_at and inputs.branch == "uncond":
            self.fails_at = -1
            raise torch.OutOfMemoryError
        velocity = super().__call__(latents, timesteps, inputs)
        return {name: v + 0.1 * seen for name, v in velocity.items()}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("index", [0, 2])
def test_a_step_that_failed_is_tried_again_with_the_state_that_it_had(
    index: int, place: str
) -> None:
    setup = recipes.unipc(5, 5.0)
    options = {"conditioning": Conditioning(), "guidance": CFG(2.0)}
    whole = sample(Remembering(), setup.schedule, begin(setup), **options)["video"]
    state = begin(setup)
    denoiser = Remembering(fails_at=index, place=place)
    with pytest.raises(torch.OutOfMemoryError):
        sample(denoiser, setup.schedule, state, **options)
    assert (state.index, state.whole) == (index, True)
    assert torch.equal(sample(denoiser, setup.schedule, state, **options)["video"], whole)
