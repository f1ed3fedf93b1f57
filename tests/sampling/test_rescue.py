"""Steps that run out of memory: repeated from where they began, when somebody makes room."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from scripted_denoisers import Scripted, begin
from test_loop import EMPTY, run, setup_of
from torch import Tensor

from wan_core.contract.conditioning import Inputs
from wan_core.contract.protocols import Latents
from wan_core.sampling import CFG, rescued, sample


class Short(Scripted):
    """Runs out of memory in some calls, with a large tensor in its frame."""

    def __init__(self, fails: set[int]) -> None:
        super().__init__()
        self.fails = fails
        self.number = -1
        self.large: list[weakref.ref[Tensor]] = []

    def __call__(self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs) -> Any:
        self.number += 1
        if self.number in self.fails:
            large = torch.zeros(10)
            self.large.append(weakref.ref(large))
            try:
                raise ValueError("within")
            except ValueError:
                raise torch.OutOfMemoryError("full")  # noqa: B904
        return super().__call__(latents, timesteps, inputs)


@pytest.mark.parametrize("name", ["unipc", "lcm", "er_sde"])
@pytest.mark.parametrize("fails", [{0}, {1, 2, 3}, {3, 5}])
def test_the_same_bits(name: str, fails: set[int]) -> None:
    setup = setup_of(name)
    want = run(setup, Scripted())
    denoiser = Short(fails)
    freed: list[bool] = []

    def make_room() -> None:
        freed.append(denoiser.large[-1]() is None)

    seen: list[int] = []
    with rescued(make_room):
        got = sample(
            denoiser,
            setup.schedule,
            begin(setup),
            conditioning=EMPTY,
            guidance=CFG(1.0),
            observe=lambda report: seen.append(report.step.index),
        )
    assert torch.equal(got["video"], want)
    assert freed == [True] * len(fails)
    assert seen == list(range(setup.schedule.steps))


def test_nobody_helps() -> None:
    setup = setup_of("unipc")
    with pytest.raises(torch.OutOfMemoryError):
        sample(Short({1}), setup.schedule, begin(setup), conditioning=EMPTY, guidance=CFG(1.0))


def test_there_is_no_room() -> None:
    def make_room() -> None:
        raise RuntimeError("that was all")

    setup = setup_of("unipc")
    state = begin(setup)
    with rescued(make_room), pytest.raises(RuntimeError, match="that was all"):
        sample(Short({2}), setup.schedule, state, conditioning=EMPTY, guidance=CFG(1.0))
    assert (state.index, state.whole) == (2, True)


def test_a_solver_that_cannot_give_its_state_is_not_repeated() -> None:
    class Plain:
        def __init__(self, solver: Any) -> None:
            self.step = solver.step

    setup = setup_of("unipc")
    state = begin(setup)
    state.solvers = {"video": Plain(state.solvers["video"])}
    rooms: list[int] = []
    with rescued(lambda: rooms.append(1)), pytest.raises(torch.OutOfMemoryError):
        sample(Short({2}), setup.schedule, state, conditioning=EMPTY, guidance=CFG(1.0))
    assert not rooms
