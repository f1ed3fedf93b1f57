"""The sampling loop: a function of explicit state.

Example (what the stage ``generate`` does)::

    setup = resolve(solver.build)(steps=30, shift=5.0)  # a description's build
    setup = setup.on(setup.schedule.sliced(0, 20))  # if only a part is to be run
    noise = noise_sources(seed, shapes)
    latents = start_latents(setup.schedule, shapes, noise, device=device)
    state = SamplerState.start(setup, latents, noise)
    video = sample(
        denoiser,
        setup.schedule,
        state,
        conditioning=conditioning,
        guidance=build_guidance(5.0),
        health=Health({"video": LatentStatistics(vae.mean, vae.std)}),
    )["video"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import attrs
import torch
from torch import Tensor

from wan_core.contract.conditioning import Conditioning
from wan_core.contract.errors import DeadLatentsError
from wan_core.contract.protocols import BranchCall, Denoiser, Guidance, Latents, Step
from wan_core.contract.state import State
from wan_core.memory import loras_of
from wan_core.sampling import held
from wan_core.sampling.health import STANDARD, Health
from wan_core.sampling.recording import Record, next_record
from wan_core.sampling.rescue import persistently
from wan_core.sampling.schedules import Schedule
from wan_core.sampling.state import SamplerState


@attrs.frozen(eq=False)
class StepReport:
    """A step that has been done.

    Attributes:
        step: where it stood.
        seen: latents before it.
        velocity: the guided velocity, zero on frozen frames.
        latents: latents after it.
    """

    step: Step
    seen: Latents
    velocity: Latents
    latents: Latents

    def preview(self) -> dict[str, Tensor]:
        """The clean latents as the model imagines them now: ``x − σ·v``."""
        return {n: x - self.step.sigma * self.velocity[n] for n, x in self.seen.items()}


Observer = Callable[[StepReport], None]


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    schedule: Schedule,
    state: SamplerState,
    *,
    conditioning: Conditioning,
    guidance: Guidance,
    observe: Observer | None = None,
    health: Health | None = STANDARD,
) -> dict[str, Tensor]:
    """Run the steps from ``state`` to the end of the schedule.

    ``state`` is advanced step by step and is whole between steps: when a step fails, the same call
    with the same state tries it again; a stored state gives the same bits as an uninterrupted run.
    Inside of :func:`~wan_core.sampling.recording.recorded` that happens by itself: the call goes on where
    the same one was cut short, or returns what it has returned before. Inside of
    :func:`~wan_core.sampling.rescue.rescued` a step that runs out of memory is tried again. What the denoiser
    prefills is made with the strengths of the first step, wherever the call goes on.

    Args:
        observe: called after each step, for progress and previews; to stop the run it raises
            :class:`~wan_core.contract.errors.Cancelled`.
        health: looks at the first step and at the end; None = nobody looks.

    Returns:
        latent name -> float32 latents, pinned and frozen frames in their places.

    Raises:
        DeadLatentsError: the prediction or the latents are broken in a way that would give a black
            or broken video.
    """
    record = next_record(schedule.steps)
    if record:
        record.load(state)
        if state.index == schedule.steps:
            return dict(state.latents)
    # whatever the call before has ended with, and also where this one goes on in its middle
    _take_strengths(denoiser, 0)
    prefilled = denoiser.prefill(conditioning)
    state.attach(prefilled, guidance)
    try:
        _run(denoiser, schedule, state, conditioning, guidance, prefilled, observe, health, record)
    except DeadLatentsError:
        raise
    except BaseException:
        if record:
            record.cut_short(state)
        raise
    if health is not None:
        health.at_end(state.latents)
    if record:
        record.finish(state)
    return dict(state.latents)


def _run(
    denoiser: Denoiser,
    schedule: Schedule,
    state: SamplerState,
    conditioning: Conditioning,
    guidance: Guidance,
    prefilled: Mapping[str, State],
    observe: Observer | None,
    health: Health | None,
    record: Record | None,
) -> None:
    """All steps that are left."""
    now = held.Moment.after(state.index, schedule)
    state.latents = held.write(state.latents, conditioning.freeze, now)
    state.latents = held.write(state.latents, conditioning.pin, now)
    moving = held.Moving(state.latents, conditioning.freeze)
    unchecked = health

    def advance(
        step: Step, seen: Latents
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
        """One step, whole or not at all: what each branch said, and the guided velocity."""
        with state.atomic():
            raw = {
                call.name: predict(denoiser, seen, step, conditioning, call, prefilled)
                for call in guidance.branches(step)
            }
            moved = moving.take(seen)
            predictions = {branch: moving.take(_velocity(v, denoiser)) for branch, v in raw.items()}
            velocity = guidance.combine(predictions, moved, step)
            for name, solver in state.solvers.items():
                moved[name] = solver.step(velocity[name], moved[name], step.index)
            state.index += 1
            now = held.Moment.after(state.index, schedule)
            state.latents = held.write(moving.put(moved, seen), conditioning.pin, now)
        return raw, velocity

    def keep() -> None:
        if record:
            record.cut_short(state)

    while state.index < schedule.steps:
        step, seen = schedule.step(state.index), state.latents
        raw, velocity = persistently(partial(advance, step, seen), lambda: state.whole, keep)
        if unchecked is not None and raw:
            unchecked.after_first_step(denoiser, conditioning, raw, seen, state.latents, step)
            unchecked = None
        if record:
            record.after_step(state)
        if observe is not None:
            still = {name: torch.zeros_like(latent) for name, latent in seen.items()}
            observe(StepReport(step, seen, moving.put(velocity, still), state.latents))


def predict(
    denoiser: Denoiser,
    latents: Latents,
    step: Step,
    conditioning: Conditioning,
    call: BranchCall,
    prefilled: Mapping[str, State],
) -> dict[str, Tensor]:
    """One branch at one step: what the denoiser says, as it says it.

    LoRA files that are kept apart count as strongly as the step says.
    """
    view = conditioning.view(call.name)
    inputs = conditioning.at(
        call.name,
        step.index,
        step.steps,
        timestep=step.timestep,
        skip_blocks=call.skip_blocks,
        state=prefilled,
    )
    inputs = attrs.evolve(inputs, held=held.spans(latents, view))
    timesteps = held.timesteps(latents, view, step.timestep)
    now = held.Moment(step.sigma, step.index / step.steps)
    _take_strengths(denoiser, step.index)
    return denoiser(held.write(latents, view.overlay, now), timesteps, inputs)


def _take_strengths(denoiser: Denoiser, step: int) -> None:
    """Let LoRA files that are kept apart count as strongly as in a step."""
    if loras := loras_of(denoiser):
        loras.at(step)


def _velocity(prediction: Latents, denoiser: Denoiser) -> dict[str, Tensor]:
    """Predictions as float32 velocities ``noise − clean``, whatever the model's sign and dtype."""
    return {name: denoiser.sign * p.float() for name, p in prediction.items()}
