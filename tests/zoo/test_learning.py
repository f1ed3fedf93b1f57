"""The loop of trainings: what it measures, keeps and tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from zoo.learning import learn, steps_on, unseen_on
from zoo.training import Average, Clock, Optimiser


class School:
    """One weight that learns to be 3."""

    def __init__(self, wanted: float = 3.0) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.wanted = wanted
        self.written: list[float] = []
        self.average = Average(self.model, 0.9)

    def one(self) -> Tensor:
        loss = (self.model.weight - self.wanted).square().sum()
        torch.autograd.backward(loss)
        return loss.detach()

    def measured(self) -> float:
        return float((self.model.weight.detach() - self.wanted).square())

    def write(self) -> int:
        self.written.append(float(self.average.state()["weight"]))
        return len(self.written)

    def learn(self, **more: float) -> dict[str, object]:
        optimiser = Optimiser.of(self.model, lambda *_: False, muon_lr=0, adam_lr=0.1)
        return learn(
            "one", self.one, self.measured, self.write, optimiser=optimiser, average=self.average,
            clock=Clock(1), steps=60, warm=1, **more,
        )  # type: ignore[arg-type]  # fmt: skip


def test_the_average_is_what_is_written_and_what_is_left() -> None:
    school = School()
    figures = school.learn()
    assert figures["steps"] == 60 and figures["bytes"] == 1
    weight = float(school.model.weight.detach())
    assert school.written == [weight] and weight > 1
    (before, first), (after, last) = figures["history"]  # type: ignore[misc]
    assert (before, first, after) == (0, 9.0, 60)
    assert last == figures["unseen_loss"] == pytest.approx((weight - 3) ** 2)


def test_it_is_kept_on_the_way() -> None:
    school = School()
    figures = school.learn(kept=-1)
    assert figures["bytes"] == len(school.written) == 61
    assert school.written == sorted(school.written)


def test_a_loss_that_is_no_number_ends_it() -> None:
    with pytest.raises(RuntimeError, match="no number"):
        School(float("nan")).learn()


class Clips:
    """Six clips of one number each."""

    def __len__(self) -> int:
        return 6

    def batch(self, size: int, generator: torch.Generator | None = None) -> SimpleNamespace:
        return SimpleNamespace(latents=torch.randint(0, 9, (size, 1), generator=generator).float())


def test_the_unseen_loss_is_of_a_fixed_draw_and_a_step_leaves_gradients() -> None:
    weight = nn.Parameter(torch.ones(()))

    def loss_of(drawn: SimpleNamespace, noise: Tensor, sigma: Tensor) -> Tensor:
        assert drawn.latents.shape == noise.shape and sigma.shape == noise.shape[:1]
        return weight * (drawn.latents + noise).square().mean()

    device = torch.device("cpu")
    measured = unseen_on(loss_of, Clips(), device)
    assert measured() == measured() > 1
    assert weight.grad is None
    loss = steps_on(loss_of, Clips(), 3, device)()
    assert not loss.requires_grad
    assert weight.grad is not None and float(weight.grad) == pytest.approx(float(loss))
