"""The state of a run between two steps: explicit, and stored as a flat mapping of tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs
import torch
from torch import Tensor

from wan_core.contract.options import show
from wan_core.contract.protocols import Guidance, Solver, Stateful
from wan_core.contract.state import State
from wan_core.sampling.journal import SpoiltStateError, rolled_back
from wan_core.sampling.noise import NoiseSource
from wan_core.sampling.recipes import SamplerSetup

STATE, GUIDANCE = ATTACHED = ("state.", "guidance.")

MOST_MEMORIES = 16
"""Tensors of a latent's size that a solver may remember."""

Parts = Mapping[str, Mapping[str, Tensor]]


@attrs.define(eq=False)
class SamplerState:
    """Where a run stands.

    Attributes:
        latents: latent name -> float32 ``[batch, channels, frames, height, width]``, or another
            rank.
        solvers: one per named latent.
        noise: where the solvers draw from, one per named latent.
        index: the next step.
        states: mutable states of the denoiser, by name.
        guidance: when it remembers something.
        whole: False after a step that failed and could not be rolled back.
    """

    latents: dict[str, Tensor]
    solvers: Mapping[str, Solver]
    noise: Mapping[str, NoiseSource]
    index: int = 0
    states: Mapping[str, State] = attrs.field(factory=dict, init=False)
    guidance: Stateful | None = attrs.field(default=None, init=False)
    whole: bool = attrs.field(default=True, init=False)
    _waiting: dict[str, Tensor] = attrs.field(factory=dict, init=False)

    @classmethod
    def start(
        cls, setup: SamplerSetup, latents: Mapping[str, Tensor], noise: Mapping[str, NoiseSource]
    ) -> SamplerState:
        """The state before the first step (see :func:`wan_core.sampling.noise.start_latents`)."""
        solvers = {name: setup.new_solver(noise[name]) for name in latents}
        return cls({n: latent.float() for n, latent in latents.items()}, solvers, noise)

    @property
    def stateless(self) -> tuple[str, ...]:
        """The latents whose solvers can't give their state: such a run can't be stored."""
        return tuple(n for n, solver in self.solvers.items() if not isinstance(solver, Stateful))

    def attach(self, prefilled: Mapping[str, State], guidance: Guidance) -> None:
        """Take in what else changes from step to step, at the beginning of the loop.

        When the run stands after its first step already, mutable states go on as they were.
        """
        before = self.states if self.index else {}
        self.states = {name: state for name, state in prefilled.items() if state.spec.mutable}
        for name in self.states.keys() & before.keys():
            _put(self.states[name], before[name].parts)
        self.guidance = guidance if isinstance(guidance, Stateful) else None
        self._restore_attached()

    def snapshot(self) -> dict[str, Tensor]:
        """All of the state as a flat mapping (for a safetensors file); nothing is copied.

        Mutable states are read part by part.
        """
        stored = self._own()
        for name, state in self.states.items():
            for unit, part in state.parts.items():
                stored |= {_state_key(name, unit, k): tensor for k, tensor in part.items()}
        return stored

    def result(self) -> dict[str, Tensor]:
        """What a run that is over leaves: latents, and where the noise stands for what follows."""
        stored = {"index": torch.tensor(self.index)}
        stored |= {f"latents.{name}": latent for name, latent in self.latents.items()}
        return stored | {f"noise.{name}": source.state() for name, source in self.noise.items()}

    def most_bytes(self) -> int:
        """Bound on the bytes of :meth:`snapshot`, less those of mutable states."""
        latents = sum(latent.nbytes for latent in self.latents.values())
        noise = sum(source.state().nbytes for source in self.noise.values())
        return (1 + MOST_MEMORIES) * latents + noise + 2**20

    def restore(self, stored: Mapping[str, Tensor], steps: int | None = None) -> None:
        """Go to where :meth:`snapshot` was taken; tensors move to the latents' present device.

        What belongs to states and guidance waits for them to be attached.

        Args:
            steps: of the schedule, beyond which no state can have been taken.

        Raises:
            ValueError: it is the state of another run; nothing has changed then.
        """
        self._check(stored, steps)
        before = self._own()
        try:
            self._go_to(stored)
        except (RuntimeError, TypeError, KeyError) as error:
            self._go_to(before)
            raise ValueError(str(error)) from error
        self._waiting = {k: t for k, t in stored.items() if k.startswith(ATTACHED)}
        if self.states or self.guidance:
            self._restore_attached()

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """A step happens whole or not at all: when it fails it can be tried again.

        Raises:
            SpoiltStateError: a step failed that can't be rolled back, because the model has written into the
                tensors of a mutable state.
        """
        before = self._own()
        try:
            with rolled_back(self.states):
                yield
        except BaseException as error:
            # a solver that can't give its state may have advanced
            self.whole = not (self.stateless or isinstance(error, SpoiltStateError))
            self._go_to(before)
            if self.guidance:
                self.guidance.load_state(_under(before, GUIDANCE))
            raise

    def _own(self) -> dict[str, Tensor]:
        """All but the mutable states, which may be large."""
        stored = self.result()
        for name, solver in self.solvers.items():
            if isinstance(solver, Stateful):
                stored |= {f"solver.{name}.{k}": tensor for k, tensor in solver.state().items()}
        if self.guidance:
            stored |= {GUIDANCE + k: tensor for k, tensor in self.guidance.state().items()}
        return stored

    def _go_to(self, stored: Mapping[str, Tensor]) -> None:
        for name, solver in self.solvers.items():
            if isinstance(solver, Stateful):
                solver.load_state(_under(stored, f"solver.{name}.", self.latents[name].device))
        for name, latent in self.latents.items():
            self.latents[name] = stored[f"latents.{name}"].to(latent.device)
        for name, source in self.noise.items():
            source.load_state(stored[f"noise.{name}"])
        self.index = int(stored["index"])

    def _restore_attached(self) -> None:
        """Give states and guidance what waits for them."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        device = next(iter(self.latents.values())).device
        found: dict[str, dict[str, dict[str, Tensor]]] = {}
        for key, tensor in _under(waiting, STATE, device).items():
            name, unit, k = _read_key(key)
            found.setdefault(name, {}).setdefault(unit, {})[k] = tensor
        for name, state in self.states.items():
            _put(state, found.get(name, {}))
        if self.guidance:
            self.guidance.load_state(_under(waiting, GUIDANCE, device))

    def _check(self, stored: Mapping[str, Tensor], steps: int | None) -> None:
        """Refuse what is not a state of this run."""
        index = stored.get("index")
        if index is None or index.numel() != 1 or index.is_floating_point() or int(index) < 0:
            raise ValueError("it does not say at which step it was taken")
        if steps is not None and int(index) > steps:
            raise ValueError("it was taken after more steps than there are")
        now = {k: t for k, t in self.result().items() if k != "index"}
        for key, tensor in now.items():
            there = stored.get(key)
            if there is None or (there.shape, there.dtype) != (tensor.shape, tensor.dtype):
                raise ValueError(f"{key} is missing or of another form")
        solvers = tuple(f"solver.{name}." for name in self.solvers)
        for key in stored.keys() - now.keys() - {"index"}:
            if not key.startswith((*solvers, GUIDANCE)):
                if not key.startswith(STATE):
                    raise ValueError(f"{show(key)} belongs to no part of it")
                _read_key(key.removeprefix(STATE))


def _put(state: State, parts: Parts) -> None:
    """Make these the parts of a state, wherever it keeps them."""
    for unit in [unit for unit in state.parts if unit not in parts]:
        del state.parts[unit]
    for unit, part in parts.items():
        state.parts[unit] = part


def _state_key(state: str, unit: str, name: str) -> str:
    # any of the three may have dots
    return STATE + json.dumps([state, unit, name])


def _read_key(key: str) -> tuple[str, str, str]:
    try:
        state, unit, name = json.loads(key)
    except RecursionError as error:
        raise ValueError("a name of a state is none") from error
    if not all(isinstance(one, str) for one in (state, unit, name)):
        raise ValueError("a name of a state is none")
    return state, unit, name


def _under(
    stored: Mapping[str, Tensor], prefix: str, device: torch.device | None = None
) -> dict[str, Tensor]:
    """What is stored under a prefix, moved to a device."""
    chosen = [k for k in stored if k.startswith(prefix)]
    return {k.removeprefix(prefix): stored[k].to(device) for k in chosen}
