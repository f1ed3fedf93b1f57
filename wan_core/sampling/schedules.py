"""Schedules: the noise levels of a run and the timesteps that the model is handed.

A schedule is data. The named grids in :mod:`wan_core.sampling.grids` make it; slicing, denoise
strength and the like turn one schedule into another; solvers, guidance and the loop read it. Grids
are computed in float64 and stored as float32, as Wan's own samplers do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wan_core.contract.errors import WorkflowError
from wan_core.contract.protocols import Step
from wan_core.sampling.levels import check_levels, first_step

Sigmas = NDArray[np.float64]
Noisy = TypeVar("Noisy", float, Sigmas)

TRAINING_STEPS = 1000
"""Timesteps run from 0 to this number; timestep = 1000 * sigma."""


@attrs.frozen(eq=False)
class Schedule:
    """The noise levels of a run.

    Attributes:
        sigmas: float32 ``[steps + 1]``: noise level before each step and after the last.
        timesteps: ``[steps]``, what the model is handed: int64 (truncated) or float32.
        trigflow: the pure noise of a run counts in TrigFlow (see :attr:`initial_scale`).
    """

    sigmas: Tensor
    timesteps: Tensor
    trigflow: bool = False

    def __attrs_post_init__(self) -> None:
        if self.sigmas.ndim != 1 or self.sigmas.shape[0] != self.timesteps.shape[0] + 1:
            raise ValueError("a schedule needs one more sigma than timesteps")

    @classmethod
    def from_grid(
        cls, grid: Sigmas, *, whole: bool, final: float = 0.0, trigflow: bool = False
    ) -> Schedule:
        """A schedule from the float64 noise levels before each step.

        Args:
            grid: ``[steps]``.
            whole: truncate the timesteps to whole numbers (the product is taken in float64, so that
                a sigma a hair below 0.25 gives 249).
            final: noise level after the last step.
        """
        stored = torch.from_numpy(np.append(grid, final).astype(np.float32))
        if whole:
            timesteps = torch.from_numpy(grid * TRAINING_STEPS).to(torch.int64)
        else:
            timesteps = stored[:-1] * TRAINING_STEPS
        return cls(stored, timesteps, trigflow)

    @classmethod
    def from_sigmas(cls, sigmas: Sequence[float]) -> Schedule:
        """A schedule from the user's own noise levels, used verbatim: no shift, last one included.

        The timesteps are whole numbers, whatever the solver, as in the WanVideoWrapper.

        Raises:
            WorkflowError: they do not fall (:func:`wan_core.sampling.levels.check_levels`).
        """
        check_levels(sigmas)
        stored = torch.tensor(list(sigmas), dtype=torch.float32)
        return cls(stored, (stored[:-1] * TRAINING_STEPS).to(torch.int64))

    @property
    def steps(self) -> int:
        """Number of steps."""
        return int(self.timesteps.shape[0])

    @property
    def initial_scale(self) -> float:
        """Factor on the pure noise that a run of this schedule starts from, whichever slice it is.

        In TrigFlow a latent is ``cos a · x0 + sin a · noise``; divided by ``cos a + sin a`` it is ours,
        with ``σ = sin a / (cos a + sin a)``. So its pure noise becomes ``sqrt(σ² + (1 − σ)²) · noise``
        at the first level.
        """
        first = float(self.sigmas[0])
        return math.hypot(first, 1 - first) if self.trigflow else 1.0

    def step(self, index: int) -> Step:
        """Where step ``index`` stands."""
        return Step(
            index=index,
            steps=self.steps,
            sigma=float(self.sigmas[index]),
            next_sigma=float(self.sigmas[index + 1]),
            timestep=float(self.timesteps[index]),
        )

    def sliced(self, start: int | float = 0, end: int | float = -1) -> Schedule:
        """The part of the schedule from ``start`` to before ``end``.

        A solver that runs on a slice starts without history, so for solvers that look back two
        slices in a row are not the same as one run.

        Args:
            start: an int is a step index; a float is a noise level: the first step at or below it.
            end: an int is a step index (-1 = to the end); a float is a noise level: the last step
                at or above it is still run.

        Raises:
            WorkflowError: nothing is left.
        """
        first, last = start, self.steps if end == -1 else end
        if isinstance(first, float):  # compared in float32, as the sigmas are stored
            below = (self.sigmas <= first).nonzero().flatten().tolist()
            first = below[0] if below else self.steps
        if isinstance(last, float):
            above = (self.sigmas >= last).nonzero().flatten().tolist()
            last = above[-1] + 1 if above else 0
        first, last = max(int(first), 0), min(int(last), self.steps)
        if first >= last:
            raise WorkflowError(
                f"the steps from {start} to {end} of {self.steps} leave nothing to do",
                remedy="let the start come before the end",
            )
        return attrs.evolve(
            self, sigmas=self.sigmas[first : last + 1], timesteps=self.timesteps[first:last]
        )

    def for_strength(self, strength: float) -> Schedule:
        """The last part of the schedule, for changing a given video (denoise strength below 1).

        Args:
            strength: share of the steps to run, above 0; 1 = all of them.

        Raises:
            WorkflowError: the strength is outside 0…1.
        """
        if not 0.0 < strength <= 1.0:
            raise WorkflowError(
                f"a denoise strength of {strength} is outside 0…1",
                remedy="1 makes everything new, 0.3 changes little",
            )
        first = first_step(self.steps, strength)
        return self.sliced(first) if first else self

    def with_even_tail(self, count: int | None = None) -> Schedule:
        """The schedule with its lower half replaced by evenly spaced steps (``enhance_hf``).

        Timesteps above half of the largest stay; from half of it down towards the last noise level
        (normally 0) follow ``count`` even ones. A schedule that ends above half has no lower half and
        stays. LongCat uses it to continue a video with crisp detail.

        Args:
            count: number of even steps; None = a fifth of the steps, at least 3 and at most 15.
        """
        timesteps = self.timesteps.to(torch.float64).numpy()
        half, final = timesteps.max() / 2, float(self.sigmas[-1])
        if TRAINING_STEPS * final >= half:
            return self
        if count is None:
            count = max(3, min(15, int(0.2 * self.steps)))
        tail = np.linspace(half, TRAINING_STEPS * final, count + 1)[:-1]
        kept = np.concatenate([timesteps[timesteps > half], tail])
        whole = not self.timesteps.is_floating_point()
        return Schedule.from_grid(
            kept / TRAINING_STEPS, whole=whole, final=final, trigflow=self.trigflow
        )


def shifted(sigmas: Noisy, shift: float) -> Noisy:
    """``s·σ / (1 + (s − 1)·σ)``: spend more steps at high noise."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def beta_spaced(sigmas: Sigmas) -> Sigmas:
    """As many noise levels between the same ends, at the quantiles of Beta(0.6, 0.6).

    More steps fall near both ends. Source: "Beta Sampling is All You Need", arXiv 2407.12173.
    """
    from scipy.stats import beta

    share: Sigmas = beta.ppf(1 - np.linspace(0, 1, len(sigmas)), 0.6, 0.6)
    spaced: Sigmas = sigmas[-1] + share * (sigmas[0] - sigmas[-1])
    return spaced
