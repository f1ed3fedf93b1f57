"""A model's LoRA files as its workflow uses them: opened, matched, and made part of its weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.contract.loras import LoraUse
from wan_core.weights.files import open_weights
from wan_core.weights.lora.keys import split
from wan_core.weights.lora.matching import LoraFile, read_lora
from wan_core.weights.lora.patches import Patch
from wan_core.weights.lora.targets import LoraTargets
from wan_core.weights.lora.unmatched import told
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import TensorSource

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wan_core.weights.lora.apart import KeptApart
    from wan_core.weights.lora.merging import Change

__all__ = [
    "apart",
    "factor_of",
    "match",
    "merged",
    "strength_of",
    "unit_of",
    "without_widened",
]

_BLOCK = re.compile(r"(?:^|\.|_)blocks\.(\d+)\.")


def match(use: LoraUse, source: TensorSource, targets: LoraTargets, expert: str = "") -> LoraFile:
    """A LoRA file as it fits a model; refused where the workflow does not say that parts may be left out.

    Args:
        source: the file, opened.
        expert: as :func:`wan_core.weights.lora.read_lora` takes it.

    Raises:
        WeightsError: tensors of the file have no place in the model, or none has.
    """
    file = read_lora(
        source, targets, rank_stabilised=use.scaling == "rank-stabilised", expert=expert
    )
    grown = [patch.target for patch in file.patches if patch.grown and not patch.inputs]
    grown += _twice_as_wide(file, targets)
    if grown:
        raise WeightsError(
            f"the LoRA makes {shown(grown[0])} larger, as control LoRAs do, and the model takes no such input",
            where=source.label,
            remedy="use one that keeps the model's shapes",
        )
    for patch in file.patches:
        _check_inputs(patch, file, targets)
    if not file.patches:
        why = next(iter(Counter(file.unmatched.values())), "it is empty")
        raise WeightsError(
            f"nothing in the LoRA fits the model: of {_first(file)}, {why}",
            where=source.label,
            remedy="use a LoRA that was made for this model",
        )
    if file.unmatched and use.unmatched == "refuse":
        raise WeightsError(
            f"the model has no place for {told(file)}",
            where=source.label,
            remedy='use a LoRA that was made for this model, or go on without them with unmatched = "skip"',
        )
    return file


def _check_inputs(patch: Patch, file: LoraFile, targets: LoraTargets) -> None:
    """A patch that widens a weight widens it to what the family says, to no other width."""
    wanted = targets.inputs.get(patch.target, 0)
    if patch.widens(targets.shapes[patch.target]) and patch.inputs != wanted:
        raise WeightsError(
            f"the LoRA makes {shown(patch.target)} {patch.inputs} input channels wide, and that of the family "
            f"has {wanted}",
            where=file.source.label,
            remedy=f"name a family that takes {patch.inputs}, or use a LoRA that keeps the model's shapes",
        )


def _twice_as_wide(file: LoraFile, targets: LoraTargets) -> Iterator[str]:
    """Convolutions of the model for which the file has factors of twice the channels: control LoRAs that do not
    say what they are."""
    for name in file.unmatched:
        path, part = split(name) or ("", "")
        target = targets.find(path) if part == "down" else ""
        wanted, found = targets.shapes.get(target, ()), file.source.shape(name)
        if len(wanted) == len(found) == 5 and found[1] == 2 * wanted[1]:
            yield target


def _first(file: LoraFile) -> str:
    return shown(next(iter(file.unmatched), ""))


def unit_of(target: str) -> str:
    """The block that a tensor belongs to: ``"blocks.3"``, ``"vace_blocks.0"``, ``""`` for the rest."""
    found = _BLOCK.search(target)
    return target[: found.end() - 1] if found else ""


def factor_of(use: LoraUse, patch: Patch) -> float:
    """By what the file's strength is multiplied for a patch: its block's factor, and 0 for what is skipped."""
    if any(patch.mentions(text) for text in use.skip):
        return 0.0
    found = _BLOCK.search(patch.target)
    return use.factor(int(found[1])) if found else 1.0


def strength_of(use: LoraUse, patch: Patch) -> float:
    """How strongly a patch counts: the file's strength, the strongest of a schedule, by block."""
    return max(use.strengths, key=abs) * factor_of(use, patch)


def without_widened(file: LoraFile, targets: LoraTargets) -> LoraFile:
    """A file without its patches of weights that are widened: these are merged, also of a file kept apart."""
    if not targets.widened:
        return file
    kept = tuple(patch for patch in file.patches if patch.target not in targets.widened)
    return attrs.evolve(file, patches=kept)


def merged(
    source: TensorSource,
    targets: LoraTargets,
    uses: Sequence[LoraUse],
    expert: str = "",
    kept_apart: Sequence[LoraUse] = (),
) -> TensorSource:
    """A checkpoint under official names with LoRA files merged into it, in order, as it is read.

    Without files, or when none of them counts for anything, it is ``source`` itself.

    Args:
        targets: its weights.
        uses: the files; each has one strength.
        expert: which of two experts ``source`` is.
        kept_apart: files that lie beside the weights: of these only what changes a widened weight is merged.

    Raises:
        WeightsError: a file does not fit.
        ValueError: a strength is a schedule, which can't be merged.
    """
    partly = kept_apart if targets.widened else ()
    changes: dict[str, list[Change]] = {}
    inputs: dict[str, int] = {}
    for number, use in enumerate((*uses, *partly)):
        file = match(use, open_weights(use.file), targets, expert)
        whole = number < len(uses)
        patches = [p for p in file.patches if whole or p.target in targets.widened]
        if len(use.strengths) > 1 and (whole or patches):
            raise ValueError("a LoRA file whose strength changes by step is kept apart, not merged")
        for patch in patches:
            if patch.widens(targets.shapes[patch.target]):
                inputs[patch.target] = patch.inputs
            if strength := strength_of(use, patch):
                changes.setdefault(patch.target, []).append((patch, file.source, strength))
    if not changes and not inputs:
        return source
    from wan_core.weights.lora.merging import MergedSource

    return MergedSource(source, changes, inputs)


def apart(
    module: nn.Module,
    targets: LoraTargets,
    uses: Sequence[LoraUse],
    expert: str = "",
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> KeptApart | None:
    """The counterpart of :func:`merged`: a loaded module gets LoRA files beside its weights.

    Args:
        module: its names are the official ones.
        targets: its weights.
        uses: the files; None is returned where there are none.
        expert: which of two experts it is.
        device, dtype: as :func:`wan_core.weights.lora.keep_apart` takes them.

    Raises:
        WeightsError: a file does not fit.
    """
    if not uses:
        return None
    from wan_core.weights.lora.apart import keep_apart

    matched = [(match(use, open_weights(use.file), targets, expert), use) for use in uses]
    files = [(without_widened(file, targets), use) for file, use in matched]
    return keep_apart(module, files, device=device, dtype=dtype)
