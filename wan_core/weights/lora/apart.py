"""LoRA files kept apart from the weights: their strengths change while a model is loaded.

::

    kept = keep_apart(transformer, [(file, use), …])
    kept.assign([(1.0,), (1.0, 0.5, 0.0)])  # of each file: for all steps, and step by step
    for step in range(steps):
        kept.at(step)
        transformer(…)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from wan_core.contract.loras import LoraUse
from wan_core.weights.lora.beside import Beside, Change, Pair, adapted
from wan_core.weights.lora.deltas import FACTORED, refuse_broken, scale_of
from wan_core.weights.lora.matching import LoraFile
from wan_core.weights.lora.patches import Patch
from wan_core.weights.lora.uses import factor_of
from wan_core.weights.quantised.linear import QuantLinear

__all__ = ["KeptApart", "keep_apart"]


class KeptApart:
    """LoRA files that a module has beside its weights.

    Attributes:
        strengths: of the files, float32, where the module computes. Compiled code reads it in each call, so
            that other numbers need no other code.
    """

    def __init__(self, strengths: Tensor, modules: Sequence[nn.Module]) -> None:
        self.strengths = strengths
        self._now = strengths.tolist()
        self._modules = list(modules)
        self._schedules: tuple[tuple[float, ...], ...] = tuple((one,) for one in self._now)

    def to(self, device: torch.device) -> None:
        """Have the strengths where the module computes; its factors move with it."""
        if self.strengths.device == device:
            return
        self.strengths = torch.tensor(self._now, device=device)
        for module in self._modules:
            for one in module.lora.modules():  # type: ignore[union-attr]
                if isinstance(one, Beside):
                    one.strengths = self.strengths

    def set_strength(self, file: int, strength: float) -> None:
        """Change how strongly a file counts, everywhere, from the next call on."""
        if strength != self._now[file]:
            self._now[file] = strength
            self.strengths[file] = strength

    def assign(self, schedules: Sequence[Sequence[float]]) -> None:
        """Say how strongly each file counts, step by step; the last number of a shorter list goes on.

        A set of files is switched off by a strength of 0 throughout. It holds from the next call on, which is
        taken to be that of the first step until :meth:`at` says otherwise.
        """
        given = tuple(tuple(one) for one in schedules)
        if len(given) != len(self._now) or not all(given):
            raise ValueError(f"there are {len(self._now)} files, not {len(given)} with strengths")
        if given != self._schedules:
            self._schedules = given
            self.at(0)

    def at(self, step: int) -> None:
        """Take the strengths of a step, counted from 0."""
        for file, schedule in enumerate(self._schedules):
            self.set_strength(file, schedule[min(step, len(schedule) - 1)])

    def detach(self) -> None:
        """Take the files off again; the modules are what they were."""
        for module in self._modules:
            module.__class__ = type(module).__bases__[-1]
            del module.lora
        self._modules.clear()


def keep_apart(
    module: nn.Module,
    files: Sequence[tuple[LoraFile, LoraUse]],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> KeptApart:
    """Give a module the patches of LoRA files, beside its weights, whatever these are stored in.

    Patches of linear layers that are nothing but pairs are multiplied as they are; whatever else a file changes
    is made anew for each call (see :mod:`wan_core.weights.lora.beside`). Modules keep their names and weights
    and get another class. This comes before the module is compiled and before its units are swapped.

    Args:
        module: its names are the official ones.
        files: matched with it, and how they are used. Of a schedule the first number holds at first.
        device: where the module computes; None = where its first parameter is.
        dtype: of matrices of the files; None = that of the tensor that they change. All else is float32.

    Raises:
        WeightsError: a number in a file makes no sense.
    """
    place = next(module.parameters()).device if device is None else device
    strengths = torch.tensor([use.strengths[0] for _, use in files], device=place)
    changed: dict[str, dict[str, list[tuple[int, Patch, float]]]] = {}
    for number, (file, use) in enumerate(files):
        for patch in file.patches:
            owner, _, leaf = patch.target.rpartition(".")
            if factor := factor_of(use, patch):
                own = changed.setdefault(owner, {}).setdefault(leaf, [])
                own.append((number, patch, factor))
    sources = [file for file, _ in files]
    adopted = []
    for owner, leaves in changed.items():
        part = module.get_submodule(owner)
        _adapt(part, leaves, sources, strengths, dtype)
        adopted.append(part)
    return KeptApart(strengths, adopted)


def _adapt(
    module: nn.Module,
    leaves: dict[str, list[tuple[int, Patch, float]]],
    files: Sequence[LoraFile],
    strengths: Tensor,
    dtype: torch.dtype | None,
) -> None:
    routed = "weight" in leaves and (type(module) is nn.Linear or isinstance(module, QuantLinear))
    pairs: list[Pair] = []
    changes: dict[str, list[Change]] = {}
    for leaf, patches in leaves.items():
        own = getattr(module, leaf)
        device = next(t for t in _tensors(module) if not t.is_meta).device
        kind = dtype or own.dtype
        plain = routed and leaf == "weight" and all(p.is_pair for _, p, _ in patches)
        for number, patch, factor in patches:
            source = files[number].source
            parts = {part: source.get(name, device) for part, name in patch.parts.items()}
            refuse_broken(patch, parts, source)
            scale = scale_of(patch, parts, source) if patch.form in FACTORED else 1.0
            held = {
                part: tensor.to(kind if patch.is_matrix(part, tuple(own.shape)) else torch.float32)
                for part, tensor in parts.items()
                if part not in ("alpha", "factor")
            }
            if plain:
                down, up = held["down"].flatten(1), held["up"].flatten(1)
                pairs.append(Pair(number, down, up, scale * factor))
            else:
                one = Change(number, patch.form, held, scale, factor)
                changes.setdefault(leaf, []).append(one)
    read = frozenset(changes) - {"weight"} if routed else frozenset(changes)
    module.add_module("lora", Beside(pairs, changes, strengths))
    module.__class__ = adapted(type(module), read, routed)  # type: ignore[arg-type]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)
