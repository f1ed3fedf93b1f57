"""Denoisers for tests: small, scripted, counting their calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import torch
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Inputs, Timed
from wan_core.contract.protocols import Latents
from wan_core.contract.state import State
from wan_core.sampling.noise import noise_sources, start_latents
from wan_core.sampling.recipes import SamplerSetup
from wan_core.sampling.state import SamplerState

Formula = Callable[[Tensor, float, Inputs], Tensor]


def smooth(x: Tensor, t: float, inputs: Inputs) -> Tensor:
    """A velocity that bends in x and t and, where there is text, depends on it."""
    told = sum(float(rows.mean()) for rows in inputs.text.values())
    return 0.7 * x - (0.4 + t / 1000) + 0.3 * torch.tanh(x) + told


@attrs.define(eq=False)
class Scripted:
    """A denoiser that computes one formula for every named latent."""

    formula: Formula = smooth
    sign: int = 1
    calls: list[Inputs] = attrs.field(factory=list)
    told: list[Mapping[str, Tensor]] = attrs.field(factory=list)
    saw: list[Latents] = attrs.field(factory=list)
    prefilled: int = 0
    state: Mapping[str, State] = attrs.field(factory=dict)

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        self.prefilled += 1
        return self.state

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        self.calls.append(inputs)
        self.told.append(timesteps)
        self.saw.append(latents)
        return {
            name: self.formula(x, float(timesteps[name].max()), inputs)
            for name, x in latents.items()
        }


def prompted(cond: float = 0.5, uncond: float = -0.25) -> Conditioning:
    """A prompt and a negative prompt for the latents ``video``."""

    def rows(value: float) -> dict[str, Timed]:
        return {"video": Timed(torch.full((1, 3, 4), value))}

    return Conditioning(text=rows(cond)).with_branch("uncond", text=rows(uncond))


SHAPE = (1, 4, 3, 2, 2)


def begin(
    setup: SamplerSetup, *, seed: int = 7, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> SamplerState:
    """A fresh state of pure noise."""
    shapes = shapes or {"video": SHAPE}
    noise = noise_sources(seed, shapes)
    return SamplerState.start(setup, start_latents(setup.schedule, shapes, noise), noise)
