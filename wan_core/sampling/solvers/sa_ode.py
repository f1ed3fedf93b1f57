"""SA-ODE "stable": Adams-Bashforth on the velocity, calmed towards the end.

Source: the WanVideoWrapper's ``sa_ode_stable``. Below σ = 0.15 it smooths and shortens its steps,
so it does not land on the exact solution of the ODE.
"""

from __future__ import annotations

from torch import Tensor

from wan_core.sampling.solvers.base import SolverBase

ADAMS_BASHFORTH = {1: (1.0,), 2: (1.5, -0.5), 3: (23 / 12, -16 / 12, 5 / 12)}
FEW_STEPS = 8
CALM = 0.15
"""Below this noise level velocities are smoothed and steps are shortened."""
FINAL = 0.05
"""Below this one the mean of the last three velocities takes over."""


class StableAdamsBashforth(SolverBase):
    """Memory: ``velocity.0``, ``.1`` (the last velocities, newest first) and ``smooth``."""

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        sigma, target = self.sigmas[index], self.sigmas[index + 1]
        earlier = [self.memory[k] for k in ("velocity.0", "velocity.1") if k in self.memory]
        velocities = [velocity, *earlier]
        weights = ADAMS_BASHFORTH[min(self._order(sigma), len(velocities))]
        direction = sum_of(weights, velocities)
        calm = self.steps > FEW_STEPS and sigma < CALM
        if calm and "smooth" in self.memory:
            direction = 0.8 * self.memory["smooth"] + 0.2 * direction
        recent = {f"velocity.{k}": v for k, v in enumerate(velocities[:2])}
        self.memory = {**recent, "smooth": direction}
        if calm and sigma < FINAL and len(velocities) == 3:
            share = sigma / FINAL
            direction = share * direction + (1 - share) * sum_of((1 / 3,) * 3, velocities)
        stride = (target - sigma) * (0.5 + 0.5 * sigma / CALM if calm else 1.0)
        return latents + stride * direction

    def _order(self, sigma: float) -> int:
        return 3 if self.steps > FEW_STEPS and CALM < sigma <= 0.7 else 2


def sum_of(weights: tuple[float, ...], tensors: list[Tensor]) -> Tensor:
    """The weighted sum of the first tensors, as many as there are weights."""
    total = weights[0] * tensors[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=False):
        total = total + weight * tensor
    return total
