"""Clips from prompts, in batches, for evaluation while training (users go through ``wan_core``)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from wan_core.models.vae import WanVAE
from wan_core.models.wan import WanTransformer
from zoo.training import autocast

Size = tuple[int, int, int]


def first_noise(seeds: Sequence[int], size: Size, channels: int = 16) -> Tensor:
    """One draw per seed on the CPU, ``[seeds, channels, f, h, w]``."""
    frames, height, width = size
    shape = (channels, (frames - 1) // 4 + 1, height // 8, width // 8)
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


@torch.no_grad()
def sample(
    model: WanTransformer,
    vae: WanVAE,
    rows: Tensor,
    empty: Tensor,
    noise: Tensor,
    *,
    steps: int = 24,
    shift: float = 3.0,
    guidance: float = 4.0,
    solver: str = "euler",
    batch: int = 64,
) -> Tensor:
    """Denoise and decode.

    Args:
        model: velocity of latents.
        vae: decodes latents.
        rows: text rows ``[clips, 64, 128]``.
        empty: text rows of the empty prompt, ``[64, 128]``.
        noise: ``[clips, 16, f, h, w]``.
        solver: "euler" on evenly spaced, shifted levels, or any name of ``wan_core.sampling``.

    Returns:
        ``[clips, 3, frames, height, width]`` in -1..1 on the CPU.
    """
    device = rows.device
    clips = []
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        text = rows[part].float()
        both = torch.cat([text, empty.float().expand_as(text)])
        with torch.compiler.set_stance("force_eager"), autocast(device):
            latents = _denoise(model, noise[part].to(device), both, steps, shift, guidance, solver)
            for one in torch.split(latents, 16):
                clips.append(vae.decode(one).float().clamp(-1, 1).cpu())
    return torch.cat(clips)


def _denoise(
    model: WanTransformer,
    latents: Tensor,
    text: Tensor,
    steps: int,
    shift: float,
    guidance: float,
    solver: str,
) -> Tensor:
    def velocity(at: Tensor, timestep: float) -> Tensor:
        times = torch.full((len(text),), timestep, device=at.device)
        both: Tensor = model(torch.cat([at, at]), times, text).float()
        told, untold = both.chunk(2)
        return untold + guidance * (told - untold)

    if solver == "euler":
        even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        levels = (shift * even / (1 + (shift - 1) * even)).tolist()
        for level, after in itertools.pairwise(levels):
            latents = latents + (after - level) * velocity(latents, 1000 * level)
        return latents
    from wan_core.contract.lazy import resolve
    from wan_core.sampling import SOLVERS, SeededNoise

    described = next(known for known in SOLVERS if known.name == solver)
    setup = resolve(described.build)(steps, shift)
    stepper = setup.new_solver(SeededNoise(0))
    for index in range(setup.schedule.steps):
        timestep = float(setup.schedule.step(index).timestep)
        latents = stepper.step(velocity(latents, timestep), latents, index)
    return latents
