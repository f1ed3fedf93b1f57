"""Conditioning: everything a denoiser is told besides the noisy latents, in one frozen object.

A stage starts from the empty :class:`Conditioning`; the family and then every feature that the stage asks
for return the next one (hook ``wan_condition``). Nothing in it is computed in the sampler's hot loop:
:meth:`Conditioning.at` only picks what holds at a step and slices nothing it does not have to.

Tensors carry a leading batch axis unless said otherwise. Latents are *named* (``"video"``, ``"audio"``),
so most slots are mappings from that name.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from torch import Tensor

    from wan_core.contract.state import State

NOTHING: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen
class StepRange:
    """The part of the sampling run in which something holds: ``start <= step / steps < end``."""

    start: float = 0.0
    end: float = 1.0

    def __attrs_post_init__(self) -> None:
        if not 0.0 <= self.start < self.end <= 1.0:
            raise ValueError(
                f"a step range needs 0 <= start < end <= 1, got {self.start}, {self.end}"
            )

    def holds(self, step: int, steps: int) -> bool:
        """Whether the range covers step ``step`` (from 0) of ``steps``."""
        return self.start <= step / steps < self.end


ALWAYS = StepRange()


@attrs.frozen
class Time:
    """How a tensor relates to the time axis of its latents, so that the core can slice it for windows.

    Attributes:
        kind: ``"whole"`` (the same for every window), ``"sliced"`` (rows belong to latent frames) or
            ``"head"`` / ``"tail"`` (belongs to the first or last frames whichever window is computed).
        axis: the tensor axis that is time (``"sliced"`` only).
        ratio: rows per latent frame.
        offset: rows before the one that belongs to latent frame 0.
    """

    kind: Literal["whole", "sliced", "head", "tail"] = "whole"
    axis: int = 2
    ratio: int = 1
    offset: int = 0


WHOLE = Time()


def whole() -> Time:
    """The tensor has no time of its own (a prompt)."""
    return WHOLE


def sliced(ratio: int = 1, offset: int = 0, *, axis: int = 2) -> Time:
    """Rows ``offset + ratio * t`` … of ``axis`` belong to latent frame ``t`` (channels, sound features)."""
    return Time("sliced", axis, ratio, offset)


def anchored(where: Literal["head", "tail"]) -> Time:
    """The tensor stays at the first (``head``) or last (``tail``) frames of every window."""
    return Time(where)


@attrs.frozen(eq=False)
class Timed:
    """A tensor, how time applies to it, and for which steps it holds."""

    value: Tensor
    time: Time = WHOLE
    steps: StepRange = ALWAYS

    def __attrs_post_init__(self) -> None:
        _require_tensor(self.value, "Timed.value")
        _require(self.time, Time, "Timed.time")
        _require(self.steps, StepRange, "Timed.steps")


@attrs.frozen(eq=False)
class Held:
    """Latent frames that are given, not generated.

    Attributes:
        value: ``[batch, channels, frames, height, width]`` (or the rank of the named latent, frames third).
        start: index of the first latent frame it occupies; negative counts from the end.
        keep: of each element of ``value`` (broadcast) the share of the run for which it is held: 1 to the
            end, 0.5 for the first half, 0 never. None = all to the end.
        noise: shaped like ``value``: what is held is mixed with it to the step's level of noise, so that it
            can pass for part of the noisy latents (inpainting). None = it stays clean.
    """

    value: Tensor
    start: int = 0
    keep: Tensor | None = None
    noise: Tensor | None = None

    def __attrs_post_init__(self) -> None:
        _require_tensor(self.value, "Held.value")
        _require(self.start, int, "Held.start")
        for name, tensor in (("keep", self.keep), ("noise", self.noise)):
            if tensor is not None:
                _require_tensor(tensor, f"Held.{name}")
        if self.value.ndim < 3:
            raise TypeError(
                f"Held.value must have its frames as third axis, not the shape "
                f"{tuple(self.value.shape)}"
            )

    def span(self, frames: int) -> tuple[int, int]:
        """First and one-past-last latent frame in a latent of ``frames`` frames."""
        first = self.start + frames if self.start < 0 else self.start
        return first, first + int(self.value.shape[2])


@attrs.frozen
class Axis:
    """Positions along one axis: ``offset + scale * (0, 1, 2, …)``; ``length`` None = the latent's own."""

    length: int | None = None
    scale: float = 1.0
    offset: float = 0.0


@attrs.frozen
class Positions:
    """Rope positions of one stream, per axis (frames, height, width)."""

    frames: Axis = Axis()
    height: Axis = Axis()
    width: Axis = Axis()


NATURAL = Positions()


@attrs.frozen(eq=False)
class Inputs:
    """What a denoiser gets for one call: one branch at one step, everything resolved to plain tensors.

    Attributes:
        branch: name of the guidance branch (``"cond"``, ``"uncond"``, …).
        step: index of the step, from 0.
        timestep: the step's own timestep, 0…1000; frames may be held at another.
        text: latent name -> text rows ``[batch, rows, text width]`` with their true number of rows.
        image_tokens: latent name -> ``[batch, tokens, width]``.
        concat: latent name -> tensors ``[batch, channels, frames, height, width]`` to be joined, in
            order, after the latents on the channel axis.
        add_ons: add-on name -> input name -> tensor.
        positions: latent name -> rope positions, where they differ from the natural ones.
        skip_blocks: indices of blocks that this call leaves out.
        held: latent name -> spans ``(first, one past the last)`` of the latent frames that are given and not
            generated, in whichever way they are held.
        state: what the denoiser's ``prefill`` returned, by name.
    """

    branch: str = "cond"
    step: int = 0
    timestep: float = 0.0
    text: Mapping[str, Tensor] = NOTHING
    image_tokens: Mapping[str, Tensor] = NOTHING
    concat: Mapping[str, tuple[Tensor, ...]] = NOTHING
    add_ons: Mapping[str, Mapping[str, Tensor]] = NOTHING
    positions: Mapping[str, Positions] = NOTHING
    skip_blocks: frozenset[int] = frozenset()
    held: Mapping[str, tuple[tuple[int, int], ...]] = NOTHING
    state: Mapping[str, State] = NOTHING


@attrs.frozen(eq=False)
class Conditioning:
    """All slots. A feature returns ``attrs.evolve(conditioning, slot=…)``; see the module's docstring.

    The mappings that it hands out are read-only copies.

    Attributes:
        text: latent name -> text rows of the prompt (true rows only; the transformer pads).
        image_tokens: latent name -> image tokens that join the cross-attention.
        concat: latent name -> channels after the latents. Parts may exclude each other by their step
            ranges (an edit in one range, the plain picture in the others).
        add_ons: add-on name -> input name -> tensor, for modules attached to blocks.
        pin: given frames, written into the latents before each step and after the last.
        overlay: given frames, written into the model's input only (normally in a branch's override).
        freeze: given frames, which neither the solver nor the sums of guidance touch.
        held_timestep: the timestep of pinned, overlaid and frozen frames that are whole and clean; None =
            that of the step.
        prepend, append: latent name -> number of latent frames that are sampled before or after those of
            the output and dropped from it (places of reference pictures). What the other slots hold counts
            them: they are frames of the latents like all others.
        positions: latent name -> rope positions.
        branches: branch name -> overrides ``{slot: value}`` of the slots above, but ``pin``,
            ``freeze``, ``prepend`` and ``append``: those are about the latents, which all branches share (a
            branch's own frames are its ``overlay``). A branch that is not listed sees the shared slots.

    Raises:
        ValueError: a branch overrides an unknown slot, or one of those that all branches share.
        TypeError: a slot holds something else than it says above.
    """

    text: Mapping[str, Timed] = NOTHING
    image_tokens: Mapping[str, Timed] = NOTHING
    concat: Mapping[str, tuple[Timed, ...]] = NOTHING
    add_ons: Mapping[str, Mapping[str, Timed]] = NOTHING
    pin: Mapping[str, tuple[Held, ...]] = NOTHING
    overlay: Mapping[str, tuple[Held, ...]] = NOTHING
    freeze: Mapping[str, tuple[Held, ...]] = NOTHING
    held_timestep: float | None = None
    prepend: Mapping[str, int] = NOTHING
    append: Mapping[str, int] = NOTHING
    positions: Mapping[str, Positions] = NOTHING
    branches: Mapping[str, Mapping[str, Any]] = NOTHING

    def __attrs_post_init__(self) -> None:
        _require(self.branches, Mapping, "branches")
        for branch, overrides in self.branches.items():
            _require(overrides, Mapping, f'branches["{branch}"]')
            if unknown := set(overrides) - set(SLOTS):
                raise ValueError(f"branch {branch!r} overrides unknown slots {sorted(unknown)}")
            if shared := set(overrides) & set(SHARED):
                raise ValueError(
                    f"branch {branch!r} overrides {sorted(shared)}, but all branches share the "
                    "latents that these are about; use overlay for frames of its own"
                )
        for slot in SLOTS:
            _set(self, slot, _checked(slot, getattr(self, slot)))
        _set(
            self,
            "branches",
            _read_only(
                {
                    branch: _read_only({s: _checked(s, value) for s, value in overrides.items()})
                    for branch, overrides in self.branches.items()
                }
            ),
        )

    def view(self, branch: str) -> Conditioning:
        """The slots as ``branch`` sees them (without further branches)."""
        return attrs.evolve(self, branches=NOTHING, **self.branches.get(branch, {}))

    def with_branch(self, branch: str, **overrides: Any) -> Conditioning:
        """A copy in which ``branch`` overrides the given slots, over what it overrode before."""
        merged = {**self.branches.get(branch, {}), **overrides}
        return attrs.evolve(self, branches={**self.branches, branch: merged})

    def at(
        self,
        branch: str,
        step: int,
        steps: int,
        *,
        timestep: float = 0.0,
        skip_blocks: frozenset[int] = frozenset(),
        state: Mapping[str, State] = NOTHING,
    ) -> Inputs:
        """What ``branch`` tells the denoiser at step ``step`` of ``steps``, whose timestep is given."""
        seen = self.view(branch)

        def now(timed: Timed) -> bool:
            return timed.steps.holds(step, steps)

        return Inputs(
            branch=branch,
            step=step,
            timestep=timestep,
            text={n: t.value for n, t in seen.text.items() if now(t)},
            image_tokens={n: t.value for n, t in seen.image_tokens.items() if now(t)},
            concat={n: tuple(p.value for p in ps if now(p)) for n, ps in seen.concat.items()},
            add_ons={
                name: {n: t.value for n, t in tensors.items() if now(t)}
                for name, tensors in seen.add_ons.items()
            },
            positions=seen.positions,
            skip_blocks=skip_blocks,
            state=state,
        )


SLOTS: tuple[str, ...] = tuple(f.name for f in attrs.fields(Conditioning) if f.name != "branches")
SHARED = ("pin", "freeze", "prepend", "append")
"""Slots that no branch may override."""
HELD = ("pin", "overlay", "freeze")
COUNTS = ("prepend", "append")
NAMED = tuple(slot for slot in SLOTS if slot not in ("add_ons", "held_timestep"))
"""Slots that are mappings from the name of a latent."""

_set = object.__setattr__


def _checked(slot: str, value: Any) -> Any:
    """A slot's value with read-only mappings; what is read-only already stays the same object."""
    if slot == "held_timestep":
        if value is not None:
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise TypeError(f"{slot} must be a number, not {type(value).__name__}")
            if not math.isfinite(value):
                raise TypeError(f"{slot} must be a finite number, not {value}")
        return value
    if slot == "add_ons":
        _require(value, Mapping, slot)
        for name, inputs in value.items():
            _check_members(f'{slot}["{name}"]', inputs, Timed)
        if all(isinstance(inputs, MappingProxyType) for inputs in value.values()):
            return _read_only(value)
        return _read_only({name: _read_only(inputs) for name, inputs in value.items()})
    if slot in COUNTS:
        _check_members(slot, value, int)
        if any(count < 0 for count in value.values()):
            raise ValueError(f"{slot} must be numbers of frames, not {dict(value)}")
        return _read_only(value)
    member = Positions if slot == "positions" else Held if slot in HELD else Timed
    _check_members(slot, value, member, several=slot == "concat" or slot in HELD)
    return _read_only(value)


def _check_members(slot: str, value: Any, member: type, *, several: bool = False) -> None:
    _require(value, Mapping, slot)
    for name, entry in value.items():
        where = f'{slot}["{name}"]'
        if several:
            if not isinstance(entry, tuple):
                raise TypeError(
                    f"{where} must be a tuple of {member.__name__}, not {type(entry).__name__}"
                )
            for part in entry:
                _require(part, member, f"each of {where}")
        else:
            _require(entry, member, where)


def _require(value: Any, sort: type, where: str) -> None:
    if not isinstance(value, sort):
        raise TypeError(f"{where} must be a {sort.__name__}, not {type(value).__name__}")


def _require_tensor(value: Any, where: str) -> None:
    # without torch there is no tensor: this module does not import it
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        raise TypeError(f"{where} must be a Tensor, not {type(value).__name__}")


def _read_only(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return value if isinstance(value, MappingProxyType) else MappingProxyType(dict(value))
