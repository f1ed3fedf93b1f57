"""Held frames: latent frames that are given, in the three ways of holding them.

``pin`` is written into the latents before each step and after the last, ``overlay`` into one
branch's model input only, ``freeze`` is kept out of the solver and of guidance. Frames are axis 2
of a latent.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Held
from wan_core.contract.protocols import Latents
from wan_core.sampling.schedules import Schedule

FRAMES = 2


@attrs.frozen
class Moment:
    """A moment between two steps.

    Attributes:
        sigma: level of noise.
        done: share of the steps that are done, 0…1.
    """

    sigma: float
    done: float

    @classmethod
    def after(cls, step: int, schedule: Schedule) -> Moment:
        """The moment when ``step`` steps of the schedule are done."""
        return cls(float(schedule.sigmas[step]), step / schedule.steps)


def write(
    latents: Latents, held: Mapping[str, tuple[Held, ...]], moment: Moment
) -> dict[str, Tensor]:
    """The latents with the given frames in their places; untouched latents are not copied."""
    written = dict(latents)
    for name, given in held.items():
        if given:
            written[name] = latents[name].clone()
        for frames in given:
            first, last = frames.span(written[name].shape[FRAMES])
            place = written[name][:, :, first:last]
            place.copy_(_now(frames, place, moment))
    return written


def _now(given: Held, there: Tensor, moment: Moment) -> Tensor:
    """What stands in the place of given frames, where ``there`` stood."""
    value = given.value.to(there)
    if given.noise is not None:
        value = moment.sigma * given.noise.to(there) + (1 - moment.sigma) * value
    if given.keep is None:
        return value
    keep = given.keep.to(there)
    return torch.where((keep > moment.done) | (keep >= 1), value, there)


def timesteps(latents: Latents, view: Conditioning, timestep: float) -> dict[str, Tensor]:
    """What one branch is told, float32 on the latents' device: ``[batch]``, or ``[batch, frames]``
    for latents with frames that are held at a timestep of their own."""
    told = {}
    for name, latent in latents.items():
        batch, frames = latent.shape[0], latent.shape[FRAMES]
        held = _clean(view, name)
        if view.held_timestep is None or not held:
            told[name] = torch.full((batch,), timestep, device=latent.device)
            continue
        told[name] = torch.full((batch, frames), timestep, device=latent.device)
        for given in held:
            first, last = given.span(frames)
            told[name][:, first:last] = view.held_timestep
    return told


def _clean(view: Conditioning, name: str) -> list[Held]:
    """The given frames of a latent that are held whole and without noise."""
    given = [h for slot in (view.pin, view.overlay, view.freeze) for h in slot.get(name, ())]
    return [h for h in given if h.noise is None and h.keep is None]


class Moving:
    """The latent frames that the solver moves: all but the frozen ones."""

    def __init__(self, latents: Latents, freeze: Mapping[str, tuple[Held, ...]]) -> None:
        self._indices: dict[str, Tensor] = {}
        for name, given in freeze.items():
            if not given:
                continue
            frames = latents[name].shape[FRAMES]
            frozen = {f for held in given for f in range(*held.span(frames))}
            moving = [f for f in range(frames) if f not in frozen]
            self._indices[name] = torch.tensor(
                moving, dtype=torch.int64, device=latents[name].device
            )

    def take(self, latents: Latents) -> dict[str, Tensor]:
        """The moving frames only."""
        return {
            name: latent.index_select(FRAMES, self._indices[name])
            if name in self._indices
            else latent
            for name, latent in latents.items()
        }

    def put(self, moved: Latents, latents: Latents) -> dict[str, Tensor]:
        """``latents`` with their moving frames replaced."""
        return {
            name: latents[name].index_copy(FRAMES, self._indices[name], latent)
            if name in self._indices
            else latent
            for name, latent in moved.items()
        }


def spans(latents: Latents, view: Conditioning) -> dict[str, tuple[tuple[int, int], ...]]:
    """Which latent frames one branch is given, whole and clean, of the latents that have any."""
    given = {name: _clean(view, name) for name in latents}
    return {
        name: tuple(sorted({h.span(latents[name].shape[FRAMES]) for h in frames}))
        for name, frames in given.items()
        if frames
    }
