"""One reference case (``name.json`` + ``name.safetensors``) and the comparison rules.

The form of the files is that of the reference data's own README: a runner picks the code by ``kind``
and reads every size, count and option from the case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import safe_open
from torch import Tensor

CHECKED_PREFIXES = ("outputs.", "outputs_base.", "expected.", "intermediates.")


class NotBuilt(Exception):
    """This variety of a known kind has no implementation yet (the message says which)."""


def stated(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object without its nulls, which count as missing."""
    return {key: value for key, value in entry.items() if value is not None}


@attrs.define
class Check:
    """The result of one comparison: the worst error in units of the rule, and its bound."""

    name: str
    error: float
    bound: float
    note: str = ""

    @property
    def ok(self) -> bool:
        # a NaN error compares false, so it fails
        return self.error <= self.bound


class Case:
    """A reference case: its JSON, its tensors (read once, lazily), and the checks made so far.

    Raises:
        ValueError: the file is no JSON object, or has no ``kind`` or no number ``tolerance_rel``.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(self.data, dict):
            raise ValueError("the case is no JSON object")
        kind, tolerance = self.data.get("kind"), self.data.get("tolerance_rel")
        if not isinstance(kind, str):
            raise ValueError(f"kind is {kind!r}, not a name")
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
            raise ValueError(f"tolerance_rel is {tolerance!r}, not a number")
        self.kind = kind
        self.tolerance = float(tolerance)
        self.checks: list[Check] = []
        self.got: dict[str, Tensor] = {}  # what was compared last, by name
        self._seen: set[str] = set()
        self._tensors: dict[str, Tensor] | None = None

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        """A JSON field; null counts as missing."""
        value = self.data.get(key)
        return default if value is None else value

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors under their full names (``inputs.x``); empty for JSON-only cases."""
        if self._tensors is None:
            file = self.path.with_suffix(".safetensors")
            self._tensors = {}
            if file.exists():
                with safe_open(str(file), framework="pt") as opened:
                    self._tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return self._tensors

    def tensor(self, name: str) -> Tensor:
        """The tensor of that full name."""
        return self.tensors[name]

    def has(self, name: str) -> bool:
        return name in self.tensors

    def group(self, prefix: str) -> dict[str, Tensor]:
        """All tensors whose name starts with ``prefix`` (give the dot), names without it."""
        return {n[len(prefix) :]: t for n, t in self.tensors.items() if n.startswith(prefix)}

    def series(self, prefix: str) -> list[Tensor]:
        """``prefix`` + ``.0``, ``.1``, … as long as they exist, in order."""
        found: list[Tensor] = []
        while self.has(f"{prefix}.{len(found)}"):
            found.append(self.tensor(f"{prefix}.{len(found)}"))
        return found

    def check(
        self,
        name: str,
        got: Tensor,
        *,
        tolerance: float | None = None,
        absolute: bool = False,
        want: Tensor | None = None,
    ) -> None:
        """Compare ``got`` with the tensor of that full name and record the outcome.

        Float tensors: ``max|got - want| <= tolerance * max|want|`` (``<= tolerance`` when ``want`` is
        all zero, or when ``absolute``). Integer and boolean tensors: equal. Names with ``sigmas`` are
        compared absolutely to 1e-6, names with ``timestep`` exactly (integer) or to 1e-6 relative.

        Args:
            want: the part of the stored tensor to compare with, when not all of it counts.
        """
        stored = self.tensors[name] if want is None else want
        self._seen.add(name)
        self.got[name] = got
        if tuple(got.shape) != tuple(stored.shape):
            shapes = f"shape {tuple(got.shape)}, expected {tuple(stored.shape)}"
            self.checks.append(Check(name, float("inf"), 0.0, shapes))
            return
        if not stored.is_floating_point():
            wrong = int((got.to(torch.int64) != stored.to(torch.int64)).sum())
            self.checks.append(Check(name, float(wrong), 0.0, "" if not wrong else "differs"))
            return
        bound = self.tolerance if tolerance is None else tolerance
        last = name.removeprefix("outputs.")
        if tolerance is None and "sigmas" in last:
            bound, absolute = 1e-6, True
        elif tolerance is None and "timestep" in last:
            bound = 1e-6
        if stored.numel() == 0:
            self.checks.append(Check(name, 0.0, bound))
            return
        error = float((got.detach().double() - stored.double()).abs().max())
        scale = float(stored.double().abs().max())
        if not absolute and scale > 0:
            error /= scale
        self.checks.append(Check(name, error, bound))

    def in_double(self) -> Case:
        """The same case with its floats in double precision, to see what rounding does to it."""
        exact = Case(self.path)
        exact.data, exact.tolerance = self.data, self.tolerance
        exact._tensors = {
            name: tensor.double() if tensor.is_floating_point() else tensor
            for name, tensor in self.tensors.items()
        }
        return exact

    def allow_rounding(self, exact: Case) -> None:
        """Judge checks that failed by the exact result, as far as float32 is the reason.

        Some references are ill-conditioned: float32 on another processor rounds them by more than the
        tolerance. Then the result in double precision counts, and it may be off by what rounding to float32
        does to it here, because the reference was rounded like that, too. A mistake is in both results alike,
        so that nothing of it is allowed for.

        Args:
            exact: the case of :meth:`in_double` after the same handler.
        """
        after = {check.name: check for check in exact.checks}
        for index, check in enumerate(self.checks):
            judged = after.get(check.name)
            if check.ok or judged is None or check.name not in self.got:
                continue
            mine, best = self.got[check.name].double(), exact.got[check.name].double()
            if mine.shape != best.shape or not mine.numel():
                continue
            scale = float(self.tensors[check.name].double().abs().max()) or 1.0
            rounding = float((mine - best).abs().max()) / scale
            note = f"in double precision; float32 rounds it by {rounding:.1e} here"
            bound = max(check.bound, rounding)
            self.checks[index] = Check(check.name, judged.error, bound, note)

    def check_value(self, name: str, got: Any, want: Any) -> None:
        """Compare a plain value (string, integer, list) exactly and record it."""
        same = got == want
        note = "" if same else f"got {got!r}, expected {want!r}"[:200]
        self.checks.append(Check(name, 0.0 if same else float("inf"), 0.0, note))

    def skip(self, name: str) -> None:
        """Mark a stored tensor as information: the form says it is not to be compared."""
        self._seen.add(name)

    def uncompared(self) -> list[str]:
        """Stored results that no check touched; a case with any of them does not pass."""
        return sorted(
            n for n in self.tensors if n.startswith(CHECKED_PREFIXES) and n not in self._seen
        )
