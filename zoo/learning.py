"""The loop of trainings that learn from a bank of encoded clips: by the clock, with averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo.training import Average, Clock, Optimiser, command, rate, say

#: more steps than this are none: the clock ends training
ENDLESS = 1_000_000


def learn(
    name: str,
    one: Callable[[], Tensor],
    measured: Callable[[], float],
    write: Callable[[], int],
    *,
    optimiser: Optimiser,
    average: Average,
    clock: Clock,
    steps: int,
    warm: int = 300,
    told: int = 500,
    kept: float = 100,
) -> dict[str, Any]:
    """Train until the clock or ``steps`` are over; the model then has the average's weights.

    Args:
        name: for messages.
        one: draws a batch and leaves its gradients; returns its loss.
        measured: the loss on what is never trained on.
        write: keeps the state and the average; returns the bytes of the product's file.
        steps: ``ENDLESS`` = as many as there is time for.
        warm: steps until the learning rate is whole.
        told: a message every so many steps.
        kept: seconds after which the average is measured and all is written.

    Returns:
        the figures of a training.
    """
    history = [(0, measured())]
    say(f"unseen loss {history[0]}")
    clock.begin()
    step, last, running = 0, clock.elapsed, torch.zeros(())
    while not clock.over and step < steps:
        loss = one()
        progress = clock.progress if steps >= ENDLESS else step / steps
        optimiser.step(rate(step, progress, warm))
        average.update()
        running = loss if step == 0 else running.lerp(loss, 0.02)
        if step % told == 0:
            say(f"{name} step {step} at {clock.elapsed:.0f} s loss {float(running):.4f}")
            if not bool(torch.isfinite(running)):
                raise RuntimeError("the loss is no number any more")
        if clock.elapsed - last > kept:
            last = clock.elapsed
            average.swap()
            history.append((step, measured()))
            average.swap()
            say(f"unseen loss {history[-1]}")
            write()
        step += 1
    seconds = clock.elapsed
    written = write()
    average.swap()
    history.append((step, measured()))
    figures: dict[str, Any] = {
        "command": command(),
        "steps": step,
        "training_seconds": round(seconds, 1),
        "loss": round(float(running), 4),
        "unseen_loss": history[-1][1],
        "history": history,
        "bytes": written,
    }
    if torch.cuda.is_available():
        figures["device"] = torch.cuda.get_device_name()
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    return figures
