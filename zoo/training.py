"""What the three training scripts share: the clock, the optimisers, moving averages, files.

Training is bound by time, not by steps: a script is told how many minutes it may take, and its
learning rate has come down to zero when they are over.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.world import FRAMES, HEIGHT, WIDTH


@attrs.define
class Clock:
    """Wall-clock budget of a script, and how far its learning-rate schedule has come.

    Attributes:
        minutes: from the start of the script to the end of training.
        first, last: the part of the schedule that this call runs (0 and 1: all of it).
        born: when the script started, in ``time.monotonic`` seconds.
        begun: when the first step after compiling was over.
    """

    minutes: float
    first: float = 0.0
    last: float = 1.0
    born: float = attrs.field(factory=time.monotonic)
    begun: float | None = None

    def begin(self) -> None:
        """Start the schedule (once; compiling before it costs budget but no schedule)."""
        if self.begun is None:
            self.begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the script started."""
        return time.monotonic() - self.born

    @property
    def over(self) -> bool:
        """Whether the budget is used up."""
        return self.elapsed >= self.minutes * 60

    @property
    def progress(self) -> float:
        """``first`` .. ``last`` over the time that was left when training began."""
        if self.begun is None:
            return self.first
        whole = max(1e-6, self.born + self.minutes * 60 - self.begun)
        done = min(1.0, (time.monotonic() - self.begun) / whole)
        return self.first + (self.last - self.first) * done


def rate(step: int, progress: float, warm: int, hold: float = 0.0) -> float:
    """Factor of the learning rate: ``warm`` steps up, then down to 0 linearly after ``hold``."""
    return min(1.0, (step + 1) / warm) * min(1.0, (1 - progress) / (1 - hold))


class Muon:
    """Momentum whose update is orthogonalised: for the inner matrices (and convolution kernels).

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). Matrices
    of equal shape are stepped together.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float = 0.0) -> None:
        groups: dict[tuple[int, int], list[Tensor]] = {}
        for parameter in parameters:
            rows, columns = parameter.shape[0], parameter[0].numel()
            groups.setdefault((rows, columns), []).append(parameter)
        self.groups = list(groups.values())
        self.momentum = [
            torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in groups.items()
        ]
        self.decay = decay

    @torch.no_grad()
    def step(self, lr: float, beta: float = 0.95) -> None:
        """One update; gradients are kept for the caller to clear."""
        for group, momentum in zip(self.groups, self.momentum, strict=True):
            gradient = torch.stack([_gradient(p).flatten(1).float() for p in group])
            momentum.lerp_(gradient, 1 - beta)
            update = orthogonal(gradient.lerp_(momentum, beta))
            update = update * max(1.0, update.shape[1] / update.shape[2]) ** 0.5
            if self.decay:
                torch._foreach_mul_(group, 1 - lr * self.decay)
            shaped = [u.view_as(p).to(p.dtype) for u, p in zip(update, group, strict=True)]
            torch._foreach_add_(group, shaped, alpha=-lr)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "a matrix without a gradient"
    return parameter.grad


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearly the orthogonal factor of each matrix ``[batch, rows, columns]`` (Newton-Schulz)."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    x = x if wide else x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        b = -4.7750 * a + 2.0315 * (a @ a)
        x = 3.4445 * x + b @ x
    out: Tensor = (x if wide else x.mT).float()
    return out


@attrs.define
class Optimiser:
    """Muon for ``matrices`` and AdamW for the rest, stepped together."""

    muon: Muon
    adam: torch.optim.AdamW
    muon_lr: float
    adam_lr: float
    parameters: list[nn.Parameter]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        is_matrix: Callable[[str, nn.Parameter], bool],
        *,
        muon_lr: float,
        adam_lr: float,
        decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> Optimiser:
        """Sort the parameters of ``model`` and make both optimisers."""
        named = list(model.named_parameters())
        matrices = [p for name, p in named if is_matrix(name, p)]
        chosen = {id(p) for p in matrices}
        others = [p for _, p in named if id(p) not in chosen]
        on_gpu = named[0][1].is_cuda
        adam = torch.optim.AdamW(others, lr=adam_lr, betas=betas, weight_decay=0.0, fused=on_gpu)
        return cls(Muon(matrices, decay), adam, muon_lr, adam_lr, [p for _, p in named])

    def step(self, factor: float, clip: float = 1.0) -> Tensor:
        """Clip, update, clear the gradients; returns the norm the gradient had."""
        norm = nn.utils.clip_grad_norm_(self.parameters, clip)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * factor
        self.adam.step()
        self.muon.step(self.muon_lr * factor)
        for parameter in self.parameters:
            parameter.grad = None
        return norm


class Average:
    """Exponential moving average of a model's parameters, kept in float32."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.names = [name for name, _ in model.named_parameters()]
        self.live = [p.detach() for _, p in model.named_parameters()]
        self.mean = [p.detach().clone() for p in self.live]
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Follow the model by one step; the average forgets its start quickly."""
        self.steps += 1
        keep = min(self.decay, self.steps / (self.steps + 10))
        torch._foreach_lerp_(self.mean, self.live, 1 - keep)

    def state(self) -> dict[str, Tensor]:
        """Name -> averaged parameter."""
        return dict(zip(self.names, self.mean, strict=True))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's parameters and the average."""
        for live, mean in zip(self.live, self.mean, strict=True):
            kept = live.clone()
            live.copy_(mean)
            mean.copy_(kept)


def prepare(*, search: bool = False) -> torch.device:
    """Settle global switches; returns the device to train on.

    Args:
        search: let cuDNN try several ways for each convolution, which pays for long runs.
    """
    torch.manual_seed(0)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = search
    torch.backends.cudnn.benchmark_limit = 6
    torch.set_float32_matmul_precision("high")
    return torch.device("cuda")


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU, nothing on a CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def compiled(
    function: Callable[..., Any], trial: Callable[[Callable[..., Any]], None], *, wanted: bool
) -> Callable[..., Any]:
    """``function`` compiled, if a trial run of it goes well; else ``function`` itself.

    Args:
        function: what to compile.
        trial: runs its argument forward and backward once.
        wanted: False leaves the function as it is (CPU smoke runs).
    """
    start = time.monotonic()
    if wanted:
        try:
            fast = torch.compile(function, dynamic=False)
            trial(fast)
            say(f"compiled in {time.monotonic() - start:.0f} s")
            return fast
        except Exception as error:
            torch._dynamo.reset()
            say(f"NOT compiled, running eagerly: {type(error).__name__}: {str(error)[:600]}")
    trial(function)
    return function


def training_parser(
    about: str | None, *, minutes: float, batch: int, muon_lr: float, adam_lr: float, state: str
) -> argparse.ArgumentParser:
    """The options that the training scripts have alike; each adds its own.

    Args:
        state: name of the file to go on from.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=minutes, help="until training ends")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--muon-lr", type=float, default=muon_lr)
    parser.add_argument("--adam-lr", type=float, default=adam_lr)
    parser.add_argument("--size", type=int, nargs=3, default=(FRAMES, HEIGHT, WIDTH))
    parser.add_argument("--resume", type=Path, help=f"{state} to go on from")
    parser.add_argument(
        "--part",
        type=float,
        nargs=2,
        default=(0.0, 1.0),
        help="part of the schedule that this call runs",
    )
    parser.add_argument("--eager", action="store_true", help="do not compile")
    return parser


def say(text: str) -> None:
    """Print at once."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def save(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ready = {name: t.detach().to("cpu", dtype).contiguous() for name, t in tensors.items()}
    part = path.with_suffix(".partial")
    save_file(ready, part, dict(metadata))
    part.replace(path)


def note(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")


def psnr(clips: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB; both ``[batch, 3, ...]`` in -1..1."""
    error = ((clips.clamp(-1, 1) - truth) / 2).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp(min=1e-10))


def describe(model: nn.Module, label: str) -> int:
    """Print and return the number of parameters."""
    count = sum(p.numel() for p in model.parameters())
    say(f"{label}: {count:,} parameters, {2 * count / 1e6:.2f} MB in float16")
    return count


def mean_of(values: Sequence[float]) -> float:
    """The mean; nan for nothing."""
    return sum(values) / len(values) if values else math.nan


def command() -> str:
    """The command line that runs this script, for the figures."""
    spec = sys.modules["__main__"].__spec__
    script = ["-m", spec.name.removesuffix(".__main__")] if spec else sys.argv[:1]
    return shlex.join(["python", *script, *sys.argv[1:]])
