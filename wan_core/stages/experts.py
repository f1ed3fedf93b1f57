"""The denoiser of a stage: one transformer, or two experts of which each is loaded when its steps begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Inputs
from wan_core.contract.loading import Components
from wan_core.contract.protocols import Denoiser, Latents
from wan_core.contract.state import State
from wan_core.models.wan import AttentionPatches, WanDenoiser
from wan_core.sampling import TwoExperts

Patch = Callable[[WanDenoiser], AttentionPatches]


class OnCall:
    """A denoiser that is resident while it is called, with the stage's attention in its blocks.

    Args:
        components: of the stage's model.
        slot: the denoiser's.
        patch: what serves the attention of its blocks.
        steps: number of steps of the run.

    Attributes:
        inner: what computes, from its first call until it rests; None where nothing is held.
        partner: the other expert. It rests when this one is called, so that it can leave where room is short.
    """

    def __init__(self, components: Components, slot: str, patch: Patch, steps: int) -> None:
        self.sign: int = WanDenoiser.sign
        self.inner: WanDenoiser | None = None
        self.partner: OnCall | None = None
        self._components = components
        self._slot = slot
        self._patch = patch
        self._steps = steps
        self._patches: AttentionPatches | None = None
        self._active = ExitStack()
        self._step = -1

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        """Nothing is computed ahead by a Wan transformer, so none is loaded for it."""
        return {}

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        """Predict; see :class:`~wan_core.models.wan.WanDenoiser`."""
        if self.partner:
            self.partner.rest()
        denoiser: WanDenoiser = self._components.get(self._slot)
        self.inner = denoiser
        if self._patches is None:
            self._patches = self._patch(denoiser)
            self._active.enter_context(self._patches.active())
        if inputs.step != self._step:
            self._step = inputs.step
            self._patches.use(self._step, self._steps)
        return denoiser(latents, timesteps, inputs)

    def rest(self) -> None:
        """Put the attention back as it was, and hold nothing of the denoiser any more."""
        self._active.close()
        self.inner, self._patches, self._step = None, None, -1
        self._components.release(self._slot)


def denoiser_of(
    components: Components,
    slots: Sequence[str],
    boundary: float | None,
    patch: Patch,
    steps: int,
    leave: ExitStack,
) -> Denoiser:
    """The transformer in the only slot, or the two experts in ``slots``, high noise first.

    Args:
        boundary: noise level from which on the first expert serves.
        patch, steps: see :class:`OnCall`.
        leave: when it closes, all rest.
    """
    served = [OnCall(components, slot, patch, steps) for slot in slots]
    for one in served:
        leave.callback(one.rest)
    if len(served) == 1:
        return served[0]
    assert boundary is not None, "a family with two experts has a boundary"
    high, low = served
    high.partner, low.partner = low, high
    return TwoExperts(high, low, boundary)
