"""What all solvers share: the schedule as plain numbers, and state that can be stored."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
from torch import Tensor

from wan_core.sampling.noise import NoiseSource
from wan_core.sampling.schedules import Schedule


@attrs.define(eq=False)
class SolverBase:
    """A solver of one named latent.

    Coefficients are Python floats (float64) from the float32 sigmas; latents stay float32. All that
    a solver remembers between steps is ``memory``: it is replaced by a new mapping at the end of a
    step and its tensors are never written into, so a shallow copy is a checkpoint.
    """

    schedule: Schedule
    noise: NoiseSource
    memory: Mapping[str, Tensor] = attrs.field(init=False, factory=dict)
    sigmas: list[float] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sigmas = self.schedule.sigmas.tolist()

    @property
    def steps(self) -> int:
        """Number of steps of this run."""
        return len(self.sigmas) - 1

    def state(self) -> dict[str, Tensor]:
        """All that is remembered between steps."""
        return dict(self.memory)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue where :meth:`state` was taken."""
        self.memory = dict(state)

    def clean(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """The predicted clean latents: ``x0 = x − σ·v``."""
        return latents - self.sigmas[index] * velocity

    def fresh_noise(self, latents: Tensor) -> Tensor:
        """The next noise, on the latents' device."""
        return self.noise.draw(latents.shape).to(latents.device)


def log_snr(sigma: float) -> float:
    """``λ = ln(1 − σ) − ln σ``; +inf at σ = 0, −inf at σ = 1."""
    if sigma <= 0.0:
        return math.inf
    if sigma >= 1.0:
        return -math.inf
    return math.log1p(-sigma) - math.log(sigma)
