"""What of a LoRA file has no place in a model, in words: every name and why, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs

from wan_core.contract.text import spans
from wan_core.weights.lora.keys import split
from wan_core.weights.lora.matching import LoraFile
from wan_core.weights.safetensors_header import shown

__all__ = ["told"]

MOST = 600
"""Characters of names and reasons, about; those of ordinary files take a third of it."""

_NUMBER = re.compile(r"(?<=blocks[._])\d{1,4}(?=[._])")


def told(file: LoraFile) -> str:
    """How many tensors of a file match nothing, which these are, and why.

    Names that differ only in the number of their block are one (``blocks.0-39.ffn.0.diff``), and so are the
    tensors of a module of which none matches (``blocks.0-39.cross_attn.k_img.*``).
    """
    of_reason: dict[str, dict[str, list[_Label]]] = {}
    for label in _labels(file):
        patterns = of_reason.setdefault(label.why, {})
        patterns.setdefault(_NUMBER.sub("{}", label.text, count=1), []).append(label)
    counts = {why: sum(map(_count, patterns.values())) for why, patterns in of_reason.items()}
    left, others, parts = MOST, 0, []
    for why, patterns in sorted(of_reason.items(), key=lambda one: -counts[one[0]]):
        names: list[str] = []
        rest = 0
        for pattern, labels in patterns.items():
            name = shown(pattern.replace("{}", _spans(labels), 1) if labels[1:] else labels[0].text)
            # each reason has a name while there is room for any
            if len(name) > left and (names or left <= 0):
                rest += _count(labels)
                continue
            names.append(name)
            left -= len(name)
        if names:
            left -= len(why)
            parts.append(f"{', '.join(names)}{f' and {rest} more' if rest else ''} ({why})")
        else:
            others += rest
    parts += [f"{others} others"] * bool(others)
    return f"{len(file.unmatched)} of the LoRA's {len(file.source.tensors)} tensors: {', '.join(parts)}"


@attrs.frozen
class _Label:
    """A tensor without a place, or all of a module's."""

    text: str
    tensors: int
    why: str


def _labels(file: LoraFile) -> Iterator[_Label]:
    modules: dict[str, list[str]] = {}
    for name in file.source.names():
        modules.setdefault((split(name) or (name,))[0], []).append(name)
    for path, names in modules.items():
        reasons = {file.unmatched.get(name, "") for name in names}
        if len(names) > 1 and len(reasons) == 1 and all(reasons):
            yield _Label(f"{path}.*", len(names), *reasons)
        else:
            yield from (_Label(n, 1, file.unmatched[n]) for n in names if n in file.unmatched)


def _count(labels: Iterable[_Label]) -> int:
    return sum(label.tensors for label in labels)


def _spans(labels: Iterable[_Label]) -> str:
    """The numbers of blocks in names: ``"0-3,7"``."""
    numbers = (int(found[0]) for label in labels if (found := _NUMBER.search(label.text)))
    return ",".join(f"{a}-{b}" if a < b else f"{a}" for a, b in spans(numbers))
