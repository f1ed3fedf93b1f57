"""The state of a run between two steps: explicit, and stored as a flat mapping of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs
import torch
from torch import Tensor

from wan_core.sampling.noise import NoiseSource
from wan_core.sampling.recipes import SamplerSetup
from wan_core.sampling.solvers.base import StatefulSolver


@attrs.define(eq=False)
class SamplerState:
    """Where a run stands.

    Attributes:
        latents: latent name -> float32 ``[batch, channels, frames, height, width]``, or another
            rank.
        solvers: one per named latent.
        noise: where the solvers draw from, one per named latent.
        index: the next step.
    """

    latents: dict[str, Tensor]
    solvers: Mapping[str, StatefulSolver]
    noise: Mapping[str, NoiseSource]
    index: int = 0

    @classmethod
    def start(
        cls, setup: SamplerSetup, latents: Mapping[str, Tensor], noise: Mapping[str, NoiseSource]
    ) -> SamplerState:
        """The state before the first step (see :func:`wan_core.sampling.noise.start_latents`)."""
        solvers = {name: setup.new_solver(noise[name]) for name in latents}
        return cls({n: latent.float() for n, latent in latents.items()}, solvers, noise)

    def snapshot(self) -> dict[str, Tensor]:
        """All of the state as a flat mapping (for a safetensors file); nothing is copied."""
        stored = {"index": torch.tensor(self.index)}
        stored |= {f"latents.{name}": latent for name, latent in self.latents.items()}
        stored |= {f"noise.{name}": source.state() for name, source in self.noise.items()}
        for name, solver in self.solvers.items():
            stored |= {f"solver.{name}.{k}": tensor for k, tensor in solver.state().items()}
        return stored

    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Go to where :meth:`snapshot` was taken; tensors move to the latents' present device."""

        def under(prefix: str, device: torch.device) -> dict[str, Tensor]:
            chosen = [k for k in stored if k.startswith(prefix)]
            return {k.removeprefix(prefix): stored[k].to(device) for k in chosen}

        for name, solver in self.solvers.items():
            solver.load_state(under(f"solver.{name}.", self.latents[name].device))
        for name, latent in self.latents.items():
            self.latents[name] = stored[f"latents.{name}"].to(latent.device)
        for name, source in self.noise.items():
            source.load_state(stored[f"noise.{name}"])
        self.index = int(stored["index"])

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """A step happens whole or not at all: when it fails it can be tried again."""
        before = self.snapshot()
        try:
            yield
        except BaseException:
            self.restore(before)
            raise
