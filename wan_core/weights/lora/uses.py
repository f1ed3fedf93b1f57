"""A model's LoRA files as its workflow uses them: opened, matched, and made part of its weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wan_core.contract.errors import WeightsError
from wan_core.contract.loras import LoraUse
from wan_core.weights.files import open_weights
from wan_core.weights.lora.matching import LoraFile, read_lora
from wan_core.weights.lora.patches import Patch
from wan_core.weights.lora.targets import LoraTargets
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import TensorSource

if TYPE_CHECKING:
    from wan_core.weights.lora.merging import Change

__all__ = ["match", "merged", "strength_of"]

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
    grown = [patch.target for patch in file.patches if patch.grown]
    if grown:
        raise WeightsError(
            f"the LoRA makes {shown(grown[0])} larger, as control LoRAs do, and the model takes no such input",
            where=source.label,
            remedy="use one that keeps the model's shapes",
        )
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


def told(file: LoraFile) -> str:
    """What of a file matches nothing, in words: how many tensors, some of them, and why."""
    reasons = Counter(file.unmatched.values())
    first = {why: next(n for n, w in file.unmatched.items() if w == why) for why in reasons}
    listed = [
        f"{shown(first[why])}{f' and {count - 1} more' if count > 1 else ''} ({why})"
        for why, count in reasons.most_common(3)
    ]
    rest = len(file.unmatched) - sum(count for _, count in reasons.most_common(3))
    listed += [f"{rest} others"] * bool(rest)
    return f"{len(file.unmatched)} of the LoRA's {len(file.source.tensors)} tensors: {', '.join(listed)}"


def _first(file: LoraFile) -> str:
    return shown(next(iter(file.unmatched), ""))


def strength_of(use: LoraUse, patch: Patch) -> float:
    """How strongly a patch counts: the file's strength, by block, and 0 for what is skipped."""
    if any(patch.mentions(text) for text in use.skip):
        return 0.0
    found = _BLOCK.search(patch.target)
    return use.strength * (use.factor(int(found[1])) if found else 1.0)


def merged(
    source: TensorSource, targets: LoraTargets, uses: Sequence[LoraUse], expert: str = ""
) -> TensorSource:
    """A checkpoint under official names with LoRA files merged into it, in order, as it is read.

    Without files, or when none of them counts for anything, it is ``source`` itself.

    Args:
        targets: its weights.
        uses: the files.
        expert: which of two experts ``source`` is.

    Raises:
        WeightsError: a file does not fit.
    """
    changes: dict[str, list[Change]] = {}
    for use in uses:
        file = match(use, open_weights(use.file), targets, expert)
        for patch in file.patches:
            if strength := strength_of(use, patch):
                changes.setdefault(patch.target, []).append((patch, file.source, strength))
    if not changes:
        return source
    from wan_core.weights.lora.merging import MergedSource

    return MergedSource(source, changes)
