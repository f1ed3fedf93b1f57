"""Noise: drawn in float32 on the CPU, then moved, so that a seed means the same on every device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import attrs
import torch
from torch import Tensor

from wan_core.sampling.schedules import TRAINING_STEPS, Schedule


class NoiseSource(Protocol):
    """Where a solver gets fresh noise from."""

    def draw(self, shape: Sequence[int]) -> Tensor:
        """The next standard normal noise, float32 on the CPU."""
        ...

    def state(self) -> Tensor:
        """Where the source stands."""
        ...

    def load_state(self, state: Tensor) -> None:
        """Continue where :meth:`state` was taken."""
        ...


@attrs.define(eq=False)
class SeededNoise:
    """One CPU generator; a named latent has its own, seeded with the run's seed.

    The initial noise is its first draw, those of a stochastic solver follow.
    """

    seed: int
    _generator: torch.Generator = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._generator = torch.Generator("cpu").manual_seed(self.seed)

    def draw(self, shape: Sequence[int]) -> Tensor:
        """The next standard normal noise, float32 on the CPU."""
        return torch.randn(tuple(shape), generator=self._generator, dtype=torch.float32)

    def state(self) -> Tensor:
        """The generator's state, to be stored with the latents."""
        return self._generator.get_state()

    def load_state(self, state: Tensor) -> None:
        """Continue where :meth:`state` was taken."""
        self._generator.set_state(state.cpu())


def noise_sources(seed: int, names: Iterable[str]) -> dict[str, SeededNoise]:
    """One source per named latent, all from the same seed, so that none shifts another's draws."""
    return {name: SeededNoise(seed) for name in names}


def start_latents(
    schedule: Schedule,
    shapes: Mapping[str, Sequence[int]],
    noise: Mapping[str, NoiseSource],
    *,
    clean: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """What a run starts from.

    Args:
        shapes: latent name -> ``[batch, channels, frames, height, width]`` (or another rank).
        clean: latents of a given video by name, for a denoise strength below 1: mixed with noise at
            the schedule's first timestep.

    Returns:
        float32 latents on ``device``.
    """
    latents = {}
    level = float(schedule.timesteps[0]) / TRAINING_STEPS
    for name, shape in shapes.items():
        drawn = noise[name].draw(shape)
        if clean is not None and name in clean:
            drawn = level * drawn + (1 - level) * clean[name].float().cpu()
        else:
            drawn = schedule.initial_scale * drawn
        latents[name] = drawn.to(device)
    return latents
