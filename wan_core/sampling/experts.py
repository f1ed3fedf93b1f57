"""Two experts: one denoiser for high noise, one for low, switched by timestep (Wan 2.2)."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Inputs
from wan_core.contract.protocols import Denoiser, Latents
from wan_core.contract.state import State
from wan_core.sampling.schedules import TRAINING_STEPS


def is_high_noise(timestep: float, boundary: float) -> bool:
    """Whether the high-noise expert serves this timestep: ``t >= 1000 * boundary``."""
    return timestep >= TRAINING_STEPS * boundary


@attrs.frozen(eq=False)
class TwoExperts:
    """A denoiser made of two; one solver runs over all steps, whichever expert predicts.

    Attributes:
        high, low: the experts; both predict with the same sign.
        boundary: noise level from which on ``high`` serves, e.g. 0.875.
    """

    high: Denoiser
    low: Denoiser
    boundary: float

    def __attrs_post_init__(self) -> None:
        if self.high.sign != self.low.sign:
            raise ValueError("the two experts predict with different signs")

    @property
    def sign(self) -> int:
        """The experts' sign."""
        return self.high.sign

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        """Each expert's own state, with the expert's name before its own: ``"high.kv"``."""
        return {
            f"{expert}.{name}": state
            for expert, denoiser in (("high", self.high), ("low", self.low))
            for name, state in denoiser.prefill(conditioning).items()
        }

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        """Predict with the expert of the step's timestep; at what frames are held does not count."""
        name = "high" if is_high_noise(inputs.timestep, self.boundary) else "low"
        expert: Denoiser = getattr(self, name)
        own = {
            key.removeprefix(f"{name}."): state
            for key, state in inputs.state.items()
            if key.startswith(f"{name}.")
        }
        return expert(latents, timesteps, attrs.evolve(inputs, state=own))
