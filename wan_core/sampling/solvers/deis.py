"""DEIS of order 2 with the velocity as its model (log-ρ interpolation).

Source: Zhang and Chen, arXiv 2204.13902; huggingface/diffusers ``scheduling_deis_multistep.py``.
"""

from __future__ import annotations

from torch import Tensor

from wan_core.sampling.solvers.base import SolverBase

FEW_STEPS = 15


class DEIS(SolverBase):
    """Interpolates the noise predictions in ln ρ, ρ = σ/α.

    With ε the noise prediction and λ = −ln ρ, order 1 is ``(α'/α)·x − σ'(e^h − 1)·ε`` (the first step,
    and the last of fewer than 15), order 2 is ``α'·(x/α + c1·ε + c2·ε_previous)``. Close to pure noise
    both cancel terms of size 1/α; the published implementation computes them in float32 in just this
    order, and so does this one, because the rounding is visible with few steps. Memory: ``noise``, the
    last ε.
    """

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        # scalars stay float32 tensors on the CPU, for the rounding's sake
        sigma, target = self.schedule.sigmas[index], self.schedule.sigmas[index + 1]
        alpha, alpha_target = 1 - sigma, 1 - target
        clean = latents - sigma * velocity
        noise = (latents - alpha * clean) / sigma
        before = self.schedule.sigmas[index - 1] if index else sigma
        closing = index == self.steps - 1 and self.steps < FEW_STEPS
        if sigma == 1 or target == 0:
            # the limit of order 1, where its terms are infinite
            advanced = latents + (target - sigma) * velocity
        elif index == 0 or closing or before == 1:
            h = (alpha_target.log() - target.log()) - (alpha.log() - sigma.log())
            advanced = (alpha_target / alpha) * latents - (target * (h.exp() - 1.0)) * noise
        else:
            to, here, there = target / alpha_target, sigma / alpha, before / (1 - before)
            c1 = _integral(to, here, there) - _integral(here, here, there)
            c2 = _integral(to, there, here) - _integral(here, there, here)
            advanced = alpha_target * (latents / alpha + c1 * noise + c2 * self.memory["noise"])
        self.memory = {"noise": noise}
        return advanced


def _integral(t: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Antiderivative at ``t`` of the Lagrange basis of ``b`` against ``c``, linear in ln ρ."""
    return t * (-c.log() + t.log() - 1) / (b.log() - c.log())
