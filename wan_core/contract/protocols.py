"""The protocols between the sampler, the models and the stages.

Nothing here is meant to be subclassed: a class with these methods is one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

from wan_core.contract.conditioning import Conditioning, Inputs
from wan_core.contract.state import State

if TYPE_CHECKING:
    from torch import Tensor

Latents = Mapping[str, "Tensor"]


@attrs.frozen
class Step:
    """Where in the run a model call happens.

    Attributes:
        index: step index from 0 within this run.
        steps: number of steps of this run.
        sigma: noise level before the step (1 = noise, 0 = clean).
        next_sigma: noise level after the step.
        timestep: the value handed to the model (1000 * sigma, truncated where the solver says so).
    """

    index: int
    steps: int
    sigma: float
    next_sigma: float
    timestep: float


@attrs.frozen
class BranchCall:
    """A branch that guidance wants computed at a step, and the blocks that it leaves out."""

    name: str
    skip_blocks: frozenset[int] = frozenset()


class Guidance(Protocol):
    """Decides which branches run at a step and combines their predictions."""

    def branches(self, step: Step) -> Sequence[BranchCall]:
        """The branches to compute; those of zero weight are left out."""
        ...

    def combine(
        self, predictions: Mapping[str, Latents], latents: Latents, step: Step
    ) -> dict[str, Tensor]:
        """One velocity per named latent from the velocities of the branches."""
        ...


class Denoiser(Protocol):
    """Anything that predicts velocity from named latents.

    The prediction is ``velocity = noise - clean``; a model that predicts the opposite sign says so by
    ``sign = -1`` and the loop turns it.
    """

    @property
    def sign(self) -> int:
        """1, or -1 for a model that predicts the opposite."""
        ...

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        """State computed once before the loop (KV caches), by the name in its spec; ``{}`` for none.

        All branches get the same. It is computed again for every run of the loop, whose state it is.
        """
        ...

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        """Predict.

        Args:
            latents: name -> ``[batch, channels, frames, height, width]`` (video) or another rank.
            timesteps: name -> float32, 0…1000: ``[batch]``, ``[batch, frames]`` or ``[batch, tokens]``.
            inputs: the conditioning of this branch and step.

        Returns:
            name -> prediction, shaped like the latent.
        """
        ...


@runtime_checkable
class Stateful(Protocol):
    """What remembers something from step to step and can say what: a solver, or guidance with a memory.

    Runs whose solvers can't are not continued within a stage after they were cut short.
    """

    def state(self) -> dict[str, Tensor]:
        """All that is remembered between steps; its tensors are not written into later."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue where :meth:`state` was taken."""
        ...


class Solver(Protocol):
    """Advances one named latent through the schedule. One instance per latent; its state is explicit,
    which :class:`Stateful` says of it."""

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``, given the velocity predicted at that step's latents."""
        ...


class ChunkSource(Protocol):
    """A video or sound output: chunks pulled by whoever reads it, at constant memory.

    Iterating a second time is allowed only when ``replayable``.
    """

    replayable: bool

    def __iter__(self) -> Iterator[Any]: ...


@runtime_checkable
class LatentSource(ChunkSource, Protocol):
    """A video whose latents are at hand: a later stage with the same VAE may take them as they are.

    What was decoded and encoded again is not the same, so it is the plan that says who takes which
    (:attr:`StageNeeds.gives_latents <wan_core.contract.requests.StageNeeds>` and ``takes_latents``).
    """

    @property
    def latents(self) -> Tensor:
        """``[1, channels, latent frames, height, width]`` float32, normalised as the transformer sees them."""
        ...


class SoundSource(ChunkSource, Protocol):
    """A sound: chunks ``[channels, samples]``, float32 in -1…1, in order; ``rate`` samples a second."""

    rate: int


class TextEncoder(Protocol):
    """Prompts to text rows."""

    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """One tensor ``[rows, text width]`` per prompt, true rows only (including the end token)."""
        ...
