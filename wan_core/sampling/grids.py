"""The named grids: noise levels by number of steps and shift, one function per published schedule.

They differ in small ways that move the picture by some thousandths. Which solver uses which is in
:mod:`wan_core.sampling.recipes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wan_core.sampling.schedules import TRAINING_STEPS, Schedule, Sigmas, beta_spaced, shifted

TOP = float(np.float32(1 - 1 / TRAINING_STEPS))
"""Highest noise level of Wan's UniPC, kept in float32 there."""

RCM_ANGLES = (float(np.arctan(120.0)), 1.5, 1.4, 1.0)
CAUSVID_14B = (999, 934, 862, 756, 603, 410, 250, 140, 74)
CAUSVID_SMALL = (1000, 750, 500, 250)


def wan_unipc(steps: int, shift: float) -> Schedule:
    """Wan's UniPC (``fm_solvers_unipc.py``): starts at S(0.999), whole timesteps."""
    return Schedule.from_grid(shifted(_falling(TOP, 0.0, steps), shift), whole=True)


def wan_explicit(steps: int, shift: float) -> Schedule:
    """Wan's DPM-Solver++ (``fm_solvers.py``): starts at exactly 1, whole timesteps."""
    return Schedule.from_grid(shifted(_falling(1.0, 0.0, steps), shift), whole=True)


def wrapper_multistep(steps: int, shift: float) -> Schedule:
    """The WanVideoWrapper's UniPC and DPM-Solver++: the top end is shifted twice."""
    return Schedule.from_grid(_wrapper_multistep(steps, shift), whole=True)


def wrapper_multistep_beta(steps: int, shift: float) -> Schedule:
    """The same grid, respaced by :func:`beta_spaced`."""
    return Schedule.from_grid(beta_spaced(_wrapper_multistep(steps, shift)), whole=True)


def flow_euler(steps: int, shift: float) -> Schedule:
    """``FlowMatchEulerDiscreteScheduler``: both ends shifted twice; also Ovi's Euler."""
    return Schedule.from_grid(_flow_euler(steps, shift), whole=False)


def flow_euler_beta(steps: int, shift: float) -> Schedule:
    """The same grid, respaced by :func:`beta_spaced`."""
    return Schedule.from_grid(beta_spaced(_flow_euler(steps, shift)), whole=False)


def diffusers_unipc(steps: int, shift: float) -> Schedule:
    """The grid of ``UniPCMultistepScheduler`` with flow sigmas; 1 is lowered to stay below 1."""
    grid = shifted(_falling(1.0, 1 / TRAINING_STEPS, steps), shift)
    if abs(grid[0] - 1) < 1e-6:
        grid[0] -= 1e-6
    return Schedule.from_grid(grid, whole=True)


def diffusers_dpm(steps: int, shift: float) -> Schedule:
    """The grid of ``DPMSolverMultistepScheduler`` with flow sigmas."""
    return Schedule.from_grid(_diffusers_dpm(steps, shift), whole=True)


def deis(steps: int, shift: float) -> Schedule:
    """The same grid, ending at 1e-6 because DEIS divides by the last noise level."""
    return Schedule.from_grid(_diffusers_dpm(steps, shift), whole=True, final=1e-6)


def res_multistep(steps: int, shift: float) -> Schedule:
    """Every k-th of 1000 levels from 1 to 0.003/1.002, shifted (res_multistep, er_sde)."""
    table = np.linspace(1.0, 0.003 / 1.002, TRAINING_STEPS)
    picks = [round(k * TRAINING_STEPS / steps) for k in range(steps)]
    return Schedule.from_grid(shifted(table[picks], shift), whole=False)


def sa_ode(steps: int, shift: float) -> Schedule:
    """Even up to 10 steps, cosine-spaced beyond, shifted."""
    share = np.arange(steps) / steps
    grid = 1 - share if steps <= 10 else 0.5 * (1 + np.cos(np.pi * share))
    return Schedule.from_grid(shifted(grid, shift), whole=False)


def even(steps: int, shift: float) -> Schedule:
    """Even levels from 1, shifted once, timesteps not truncated (Pusa)."""
    return Schedule.from_grid(shifted(_falling(1.0, 0.0, steps), shift), whole=False)


def longcat_distill(steps: int, shift: float) -> Schedule:
    """LongCat's distilled levels: evenly picked from 1, 0.98 … 0.02, shifted."""
    table = 1 - np.arange(50) * 20 / TRAINING_STEPS
    picks = np.floor(np.linspace(0, 50, steps, endpoint=False)).astype(int)
    return Schedule.from_grid(shifted(table[picks], shift), whole=False)


def distill(steps: int, shift: float) -> Schedule:
    """The four levels of ``flowmatch_distill``: S at 0.999, 0.75, 0.5, 0.25."""
    return step_distill((999, 750, 500, 250)[:steps], shift)


def step_distill(listed: Sequence[int], shift: float) -> Schedule:
    """LightX2V's step distillation: S of the listed timesteps."""
    return Schedule.from_grid(shifted(np.array(listed) / TRAINING_STEPS, shift), whole=False)


def causvid_14b(steps: int, shift: float) -> Schedule:
    """CausVid's first timesteps for the 14B transformer; the shift does not count."""
    return Schedule.from_grid(np.array(CAUSVID_14B[:steps]) / TRAINING_STEPS, whole=True)


def causvid_small(steps: int, shift: float) -> Schedule:
    """CausVid's first timesteps for smaller transformers; the shift does not count."""
    return Schedule.from_grid(np.array(CAUSVID_SMALL[:steps]) / TRAINING_STEPS, whole=True)


def rcm(steps: int, shift: float) -> Schedule:
    """rCM's fixed angles a as noise levels ``sin a / (cos a + sin a)``.

    rCM counts in TrigFlow, x = cos a · x0 + sin a · noise; dividing by ``cos a + sin a`` turns its
    latents into ours. It starts from pure noise in its own count, hence ``trigflow``. The shift
    does not count.
    """
    angles = np.array(RCM_ANGLES[:steps])
    norm = np.cos(angles) + np.sin(angles)
    return Schedule.from_grid(np.sin(angles) / norm, whole=False, trigflow=True)


def _falling(top: float, bottom: float, steps: int) -> Sigmas:
    """Even levels from ``top``, the last of ``steps + 1`` left out."""
    return np.linspace(top, bottom, steps + 1)[:-1]


def _wrapper_multistep(steps: int, shift: float) -> Sigmas:
    # constructed with the shift, so the top end is shifted once before the grid is
    return shifted(_falling(_shifted_in_float32(TOP, shift), 0.0, steps), shift)


def _flow_euler(steps: int, shift: float) -> Sigmas:
    bottom = _shifted_in_float32(1 / TRAINING_STEPS, shift)
    grid = np.linspace(TRAINING_STEPS, TRAINING_STEPS * bottom, steps) / TRAINING_STEPS
    return shifted(grid, shift)


def _shifted_in_float32(sigma: float, shift: float) -> float:
    level = np.float32(sigma)
    return float(np.float32(shift) * level / (np.float32(1) + np.float32(shift - 1) * level))


def _diffusers_dpm(steps: int, shift: float) -> Sigmas:
    clean = np.linspace(1.0, 1 / TRAINING_STEPS, steps + 1)
    return np.flip(shifted(1.0 - clean, shift))[:-1].copy()
