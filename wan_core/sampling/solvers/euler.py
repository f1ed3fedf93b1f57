"""Euler on the velocity, and the solvers that are Euler plus one idea."""

from __future__ import annotations

import math

from torch import Tensor

from wan_core.sampling.schedules import TRAINING_STEPS
from wan_core.sampling.solvers.base import SolverBase


class Euler(SolverBase):
    """``x' = x + (σ' − σ)·v``; no memory."""

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        return latents + (self.sigmas[index + 1] - self.sigmas[index]) * velocity


class LCM(SolverBase):
    """Jump to the clean prediction and add fresh noise of the next level; no memory.

    One draw a step. Source: latent consistency models, arXiv 2310.04378. On rCM's levels this is
    rCM's sampler.
    """

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        target = self.sigmas[index + 1]
        x0 = self.clean(velocity, latents, index)
        return (1 - target) * x0 + target * self.fresh_noise(latents)


class Bridge(SolverBase):
    """ViBT's bridge: Euler in whole timesteps with noise that vanishes at the end; no memory.

    With τ = (t + 1)/1000 and δ = (t' − t)/1000: ``x' = x + δ·v + sqrt(−δ(τ + δ)/τ)·z``, where t'
    is the next timestep of the list and −1 after the last one. As in the wrapper, which calls it
    ``vibt_unipc`` for its grid, the list is that of the slice: a run that ends early also goes to
    the clean end in its last step, without noise, whatever the last noise level.
    """

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        timestep = int(self.schedule.timesteps[index])
        target = int(self.schedule.timesteps[index + 1]) if index + 1 < self.steps else -1
        tau, delta = (timestep + 1) / TRAINING_STEPS, (target - timestep) / TRAINING_STEPS
        spread = math.sqrt(max(-delta * (tau + delta) / tau, 0.0))
        return latents + delta * velocity + spread * self.fresh_noise(latents)
