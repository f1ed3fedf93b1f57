"""What of a LoRA file has no place in a model, in words: every name and why, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from wan_core.weights.lora.keys import split
from wan_core.weights.lora.matching import LoraFile
from wan_core.weights.safetensors_header import shown

__all__ = ["told"]

MOST = 600
"""Characters of all names together, at most; those of ordinary files take a tenth of it."""

_NUMBER = re.compile(r"(?<=blocks[._])\d{1,4}(?=[._])")


def told(file: LoraFile) -> str:
    """How many tensors of a file match nothing, which these are, and why.

    Names that differ only in the number of their block are one (``blocks.0-39.ffn.0.diff``), and so are the
    tensors of a module of which none matches (``blocks.0-39.cross_attn.k_img.*``).
    """
    of_reason: dict[str, dict[str, list[str]]] = {}
    for label, name in _labels(file):
        patterns = of_reason.setdefault(file.unmatched[name], {})
        patterns.setdefault(_NUMBER.sub("{}", label, count=1), []).append(label)
    reasons = sorted(of_reason.items(), key=lambda one: -sum(map(len, one[1].values())))
    left, told_of = MOST, []
    for why, patterns in reasons:
        names: list[str] = []
        rest = 0
        for pattern, labels in patterns.items():
            name = shown(pattern.replace("{}", _spans(labels), 1) if len(labels) > 1 else labels[0])
            if names and len(name) > left:
                rest += len(labels)
                continue
            names.append(name)
            left -= len(name)
        told_of.append(f"{', '.join(names)}{f' and {rest} more' if rest else ''} ({why})")
    return f"{len(file.unmatched)} of the LoRA's {len(file.source.tensors)} tensors: {', '.join(told_of)}"


def _labels(file: LoraFile) -> Iterator[tuple[str, str]]:
    """A name of each module of which nothing matches, for one reason, and of each other tensor that does not;
    with each a name of the file."""
    modules: dict[str, list[str]] = {}
    for name in file.source.names():
        modules.setdefault((split(name) or (name,))[0], []).append(name)
    for path, names in modules.items():
        reasons = {file.unmatched.get(name) for name in names}
        if len(names) > 1 and len(reasons) == 1 and None not in reasons:
            yield f"{path}.*", names[0]
        else:
            yield from ((name, name) for name in names if name in file.unmatched)


def _spans(labels: Iterable[str]) -> str:
    """The numbers of blocks in names: ``"0-3,7"``."""
    numbers = sorted({int(found[0]) for label in labels if (found := _NUMBER.search(label))})
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number, number])
    return ",".join(f"{a}-{b}" if a < b else f"{a}" for a, b in spans)
