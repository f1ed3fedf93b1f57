"""How a model uses a LoRA file: an entry of ``loras`` in a ``[model]`` table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.options import OptionError, choice, path, show

_RANGE = re.compile(r"(\d{1,4})(?:\s*-\s*(\d{1,4}))?")
_MOST = 64
LIMIT = 100.0
"""The strongest that anything may be."""
LONGEST = 1000
"""Numbers of a list of strengths."""
SHOWN = 6
"""Of these, those that are told."""


def _blocks(value: Any) -> str | Mapping[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, str | Mapping):
        raise OptionError("blocks", f"must be text or a table, not {show(value)}")
    for span in value.split(",") if isinstance(value, str) else value:
        found = _RANGE.fullmatch(str(span).strip())
        if found is None or int(found[1]) > int(found[2] or found[1]):
            problem = f'holds {show(str(span).strip())}, which is no block such as "3" or "0-9"'
            raise OptionError("blocks", problem)
    for span, factor in value.items() if isinstance(value, Mapping) else ():
        good = isinstance(factor, int | float) and -LIMIT <= factor <= LIMIT
        if not good:
            problem = f"must be from {-LIMIT:g} to {LIMIT:g}, not {show(factor)}"
            raise OptionError(f"blocks.{span}", problem)
    return value


def _skip(value: Any) -> tuple[str, ...]:
    listed = tuple(value) if isinstance(value, list | tuple) else ("",)
    if len(listed) > _MOST or not all(isinstance(one, str) and one for one in listed):
        raise OptionError("skip", f"must be a list of at most {_MOST} texts that are not empty")
    return listed


def _strength(value: Any) -> float | tuple[float, ...]:
    if not isinstance(value, list | tuple):
        return _number(value)
    if not 1 <= len(value) <= LONGEST:
        raise OptionError("strength", f"must have 1 to {LONGEST} numbers, not {len(value)}")
    return tuple(map(_number, value))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError("strength", f"must be a number or a list of numbers, not {show(value)}")
    if not -LIMIT <= value <= LIMIT:
        raise OptionError("strength", f"must be from {-LIMIT:g} to {LIMIT:g}, not {value:g}")
    return float(value)


def _merge(value: Any) -> bool | None:
    if not isinstance(value, bool | None):
        raise OptionError("merge", f"must be true or false, not {show(value)}")
    return value


@attrs.frozen
class LoraUse:
    """A LoRA file and how it is used.

    Attributes:
        file: the file.
        strength: its changes are multiplied by this; 0 leaves the file out. A list has a number for each
            step; the last one goes on.
        blocks: which blocks it changes: ``"0-9, 12"``, or a table that gives factors of the strength, such as
            ``{ "0-9" = 1.0, "10-29" = 0.5 }``; blocks that are not named keep their weights. What belongs to
            no block is changed anyway. None = all.
        skip: weights whose names contain one of these texts keep their numbers.
        transformer: of two experts, which it is for.
        scaling: of a file that states no alpha: ``"file"`` takes its factors as they are,
            ``"rank-stabilised"`` makes them stronger by the root of the rank.
        unmatched: what to do with tensors of the file that the model has no place for.
        merge: the changes become part of the weights while these are loaded, or are kept apart from them.
            None = as suits weights and strength.
    """

    file: Path = path(help="the LoRA file")
    strength: float | tuple[float, ...] = attrs.field(
        default=1.0,
        converter=_strength,
        metadata={
            "help": "its changes times this; 0 leaves the file out; a list has one number per step",
            "allowed": f"a number from {-LIMIT:g} to {LIMIT:g}, or a list of 1 to {LONGEST} such numbers",
            "raw": True,
        },
    )
    blocks: str | Mapping[str, float] | None = attrs.field(
        default=None,
        converter=_blocks,
        metadata={
            "help": "which blocks it changes, others keep their weights",
            "allowed": '"0-9, 12", or factors by block: { "0-9" = 1.0, "10-29" = 0.5 }',
            "unset": "all blocks",
        },
    )
    skip: tuple[str, ...] = attrs.field(
        default=(),
        converter=_skip,
        metadata={
            "help": "weights whose names contain one of these texts are left alone",
            "allowed": f"a list of at most {_MOST} texts",
        },
    )
    transformer: str = choice(
        "both", "high", "low", default="both", help="of two experts, which it is for"
    )
    scaling: str = choice(
        "file",
        "rank-stabilised",
        default="file",
        help="scale of a file that states no alpha: its factors as they are, or times about the root of "
        "the rank",
    )
    unmatched: str = choice(
        "refuse",
        "skip",
        default="refuse",
        help="what to do when the model has no place for some of its tensors",
    )
    merge: bool | None = attrs.field(
        default=None,
        converter=_merge,
        metadata={
            "help": "true makes it part of the weights, false keeps it apart from them",
            "allowed": "true or false",
            "unset": "as suits weights and strength",
        },
    )

    @property
    def strengths(self) -> tuple[float, ...]:
        """By step; the last one goes on."""
        return self.strength if isinstance(self.strength, tuple) else (self.strength,)

    @property
    def told(self) -> str:
        """Its strength for people: ``"0.8"``, ``"[1, 1, 0.5, …]"``."""
        shown = [f"{one:g}" for one in self.strengths[:SHOWN]]
        if len(self.strengths) == 1:
            return shown[0]
        return f"[{', '.join(shown + ['…'] * (len(self.strengths) > SHOWN))}]"

    def factor(self, block: int) -> float:
        """By what the strength is multiplied in a block, counted from 0."""
        if self.blocks is None:
            return 1.0
        for span in self.blocks.split(",") if isinstance(self.blocks, str) else self.blocks:
            found = _RANGE.fullmatch(span.strip())
            if found and int(found[1]) <= block <= int(found[2] or found[1]):
                return 1.0 if isinstance(self.blocks, str) else self.blocks[span]
        return 0.0
