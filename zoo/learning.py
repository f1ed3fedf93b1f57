"""What trainings have in common that learn velocities from a bank of encoded clips: their steps, their loss on
unseen clips, and the loop, by the clock and with averaged weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.train_video import sigmas
from zoo.training import Average, Clock, Optimiser, command, rate, say

#: more steps than this are none: the clock ends training
ENDLESS = 1_000_000

#: of a batch of a bank, with noise like its latents and a level of noise for each clip
Loss = Callable[[Any, Tensor, Tensor], Tensor]


class Bank(Protocol):
    """Encoded clips; what a batch holds beside ``latents`` is the training's own matter."""

    def __len__(self) -> int:
        """How many clips there are."""
        ...

    def batch(self, size: int, generator: torch.Generator | None = None) -> Any:
        """So many of them, drawn at random."""
        ...


def steps_on(loss_of: Loss, bank: Bank, size: int, device: torch.device) -> Callable[[], Tensor]:
    """What draws a batch of ``size`` clips, noise and levels, leaves the gradients and returns the loss."""

    def one() -> Tensor:
        drawn = bank.batch(size)
        noise = torch.randn(drawn.latents.shape, device=device)
        loss = loss_of(drawn, noise, sigmas(size, device))
        torch.autograd.backward(loss)
        return loss.detach()

    return one


def unseen_on(loss_of: Loss, bank: Bank, device: torch.device) -> Callable[[], float]:
    """What measures the loss, uncompiled, on a fixed draw of clips, noise and levels."""
    size = min(128, len(bank))
    turns = max(1, len(bank) // size)

    @torch.no_grad()
    def measured() -> float:
        generator = torch.Generator(device).manual_seed(5)
        total = 0.0
        with torch.compiler.set_stance("force_eager"):
            for _ in range(turns):
                drawn = bank.batch(size, generator)
                noise = torch.randn(drawn.latents.shape, device=device, generator=generator)
                total += float(loss_of(drawn, noise, sigmas(size, device, generator)))
        return round(total / turns, 4)

    return measured


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
