"""Guidance: which branches run at a step, and how their velocities become one.

``CFG`` is ``u + g·(c − u)``; edits change one of its parts and compose. At scale 1 only ``"cond"``
runs, at scale 0 only ``"uncond"``.

Example::

    CFG(6.0)                                        # plain
    CFG((6.0, 4.0, 1.0))                            # per step; the last value goes on
    CFG(5.0, edits=(ZeroStar(), FreSca(high=1.25)))
    ByExpert(high=CFG(4.0), low=CFG(3.0), boundary=0.875)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from torch import Tensor

from wan_core.contract.protocols import BranchCall, Guidance, Latents, Stateful, Step
from wan_core.sampling.experts import is_high_noise
from wan_core.sampling.guidance_edits import Edit, Parts

COND, UNCOND = BranchCall("cond"), BranchCall("uncond")
SAME = 1e-9


def _scales(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),)


@attrs.frozen
class CFG:
    """Classifier-free guidance, arXiv 2207.12598, with edits.

    Attributes:
        scales: one number per step; a shorter list is extended with its last value.
        edits: changes, applied in order; see :mod:`wan_core.sampling.guidance_edits`.
        zero_steps: so many first steps give a velocity of zero without running a branch (the
            zero-init of CFG-Zero★).
    """

    scales: tuple[float, ...] = attrs.field(converter=_scales)
    edits: tuple[Edit, ...] = ()
    zero_steps: int = 0

    def __attrs_post_init__(self) -> None:
        if not self.scales:
            raise ValueError("guidance needs at least one scale")

    def scale(self, step: Step) -> float:
        """The scale at a step."""
        return self.scales[min(step.index, len(self.scales) - 1)]

    def branches(self, step: Step) -> tuple[BranchCall, ...]:
        """The branches with weight at this step."""
        if step.index < self.zero_steps:
            return ()
        scale = self.scale(step)
        if abs(scale - 1) <= SAME:
            return (COND,)
        return (UNCOND,) if abs(scale) <= SAME else (COND, UNCOND)

    def combine(
        self, predictions: Mapping[str, Latents], latents: Latents, step: Step
    ) -> dict[str, Tensor]:
        """One velocity per named latent.

        Args:
            predictions: branch -> latent name -> float32 velocity.
            latents: what the branches saw.
        """
        if not predictions:
            return {name: latent.new_zeros(latent.shape) for name, latent in latents.items()}
        nothing: Latents = {}
        cond, uncond = predictions.get("cond", nothing), predictions.get("uncond", nothing)
        return {
            name: self.guide(cond.get(name), uncond.get(name), latent, step)
            for name, latent in latents.items()
        }

    def guide(
        self, cond: Tensor | None, uncond: Tensor | None, latents: Tensor, step: Step
    ) -> Tensor:
        """The same for one latent; a branch that did not run is None."""
        if cond is not None and uncond is not None:
            parts = Parts(cond, uncond, self.scale(step))
            for edit in self.edits:
                parts = edit.before(parts)
            result = parts.uncond + parts.scale * self._difference(parts)
        else:
            alone = uncond if cond is None else cond
            if alone is None:
                raise ValueError("guidance got no prediction")
            result = alone
        for edit in self.edits:
            result = edit.after(result, latents, step)
        return result

    def _difference(self, parts: Parts) -> Tensor:
        difference = parts.cond - parts.uncond
        for edit in self.edits:
            difference = edit.between(difference)
        return difference


@attrs.frozen
class ByExpert:
    """One guidance for the high-noise expert, another for the low one."""

    high: Guidance
    low: Guidance
    boundary: float

    def _of(self, step: Step) -> Guidance:
        return self.high if is_high_noise(step.timestep, self.boundary) else self.low

    def branches(self, step: Step) -> Sequence[BranchCall]:
        """The branches of the expert that serves this step."""
        return self._of(step).branches(step)

    def combine(
        self, predictions: Mapping[str, Latents], latents: Latents, step: Step
    ) -> dict[str, Tensor]:
        """One velocity per named latent, as the expert's guidance says."""
        return self._of(step).combine(predictions, latents, step)

    def state(self) -> dict[str, Tensor]:
        """What the two remember between steps; nothing where they have no memory."""
        return {
            f"{expert}.{key}": tensor
            for expert, guidance in (("high", self.high), ("low", self.low))
            if isinstance(guidance, Stateful)
            for key, tensor in guidance.state().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue where :meth:`state` was taken."""
        for expert, guidance in (("high", self.high), ("low", self.low)):
            if isinstance(guidance, Stateful):
                prefix = f"{expert}."
                own = {k: t for k, t in state.items() if k.startswith(prefix)}
                guidance.load_state({k.removeprefix(prefix): t for k, t in own.items()})
