"""Clips from prompts, in batches, for evaluation while training (users go through ``wan_core``)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

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
    channels: Tensor | None = None,
    image_tokens: Tensor | None = None,
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
        channels: what stands behind the latents of an image-to-video model, ``[clips, 20, f, h, w]``.
        image_tokens: what it sees, ``[clips, tokens, width]``.
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
        behind = None if channels is None else channels[part].to(device)
        seen = None if image_tokens is None else image_tokens[part].to(device).repeat(2, 1, 1)

        def velocity(
            at: Tensor,
            timestep: float,
            text: Tensor = both,
            behind: Tensor | None = behind,
            seen: Tensor | None = seen,
        ) -> Tensor:
            joined = at if behind is None else torch.cat([at, behind.to(at)], dim=1)
            times = torch.full((len(text),), timestep, device=at.device)
            twice: Tensor = model(joined.repeat(2, 1, 1, 1, 1), times, text, image_tokens=seen)
            told, untold = twice.float().chunk(2)
            return untold + guidance * (told - untold)

        with torch.compiler.set_stance("force_eager"), autocast(device):
            latents = _denoise(velocity, noise[part].to(device), steps, shift, solver)
            for one in torch.split(latents, 16):
                clips.append(vae.decode(one).float().clamp(-1, 1).cpu())
    return torch.cat(clips)


def _denoise(
    velocity: Callable[[Tensor, float], Tensor],
    latents: Tensor,
    steps: int,
    shift: float,
    solver: str,
) -> Tensor:
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
