"""Patches: how one tensor of a LoRA file, or several together, change one weight. Known from the header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Literal

import attrs

from wan_core.weights.sources import TensorInfo

__all__ = ["BESIDE", "Form", "Patch", "inputs_of", "misfit"]

Form = Literal["pair", "loha", "lokr", "diff", "set"]
Shape = tuple[int, ...]

BESIDE = ("alpha", "factor", "dora", "magnitude", "reshape")
"""Parts that stand beside factors and change what they mean."""


@attrs.frozen
class Patch:
    """A change of one weight.

    Attributes:
        target: official name of the weight.
        form: ``"pair"`` (up times down), ``"loha"``, ``"lokr"``, ``"diff"`` (the change itself) or
            ``"set"`` (the new weight itself).
        parts: part, as :func:`wan_core.weights.lora.keys.split` calls it -> name in the file.
        alpha: of the scale ``alpha / rank`` where the file has no tensor for it; None = no scale.
        grown: the weight becomes larger, with zeros at the end of its axes, before it is changed.
        inputs: of a weight that files may widen, how many inputs the weight has that this is for; 0 = of
            another weight.
    """

    target: str
    form: Form
    parts: Mapping[str, str]
    alpha: float | None = None
    grown: bool = False
    inputs: int = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its tensors in the file."""
        return tuple(self.parts.values())

    @property
    def is_pair(self) -> bool:
        """Whether it adds nothing but a product of two matrices."""
        return (
            self.form == "pair" and not {"mid", "dora", "magnitude", "reshape"} & self.parts.keys()
        )

    def is_matrix(self, part: str, target: Shape) -> bool:
        """Whether a part is kept in the precision of weights: a factor, or as large as a matrix.

        Args:
            part: one of :attr:`parts`.
            target: shape of the weight.
        """
        if part in ("diff", "set"):
            return len(target) > 1 and self.target.endswith(".weight")
        return part in ("down", "up", "mid") or part.startswith(("hada_", "lokr_"))

    def widens(self, target: Shape) -> bool:
        """Whether a weight of this shape gets more inputs."""
        return self.inputs > 0 and self.inputs > target[1]

    def mentions(self, text: str) -> bool:
        """Whether the official name of its weight, or a name in the file, contains this text."""
        return any(text in name for name in (self.target, *self.keys))


def misfit(form: Form, parts: Mapping[str, TensorInfo], wanted: Shape) -> str:
    """Why tensors of these shapes can't change a weight of shape ``wanted``; ``""`` when they can."""
    shapes = {part: info.shape for part, info in parts.items()}
    for part, info in parts.items():
        if not (info.is_float or part in ("reshape", "alpha", "factor")):
            return f"its {part} is stored as {info.dtype}, which is not read"
    if not all(map(prod, shapes.values())):
        return "it holds no numbers"
    for part in ("alpha", "factor"):
        if part in shapes and prod(shapes[part]) != 1:
            return f"its {part} is no single number"
    found = _FORMS[form](shapes)
    if found is None:
        return "its factors do not fit each other"
    if "reshape" in shapes:
        # what shape the weight gets stands in the tensor, which is not read here
        alone = len(shapes["reshape"]) == 1 and not {"dora", "magnitude"} & shapes.keys()
        return "" if alone else "it makes the weight larger in a way that is not read"
    rows, columns = wanted[0] if wanted else 1, prod(wanted[1:])
    if (found[0], prod(found[1:])) != (rows, columns):
        return _differs(found, wanted)
    for part in ("dora", "magnitude"):
        if part in shapes and not _magnitudes_fit(shapes[part], wanted, part == "dora"):
            return "its magnitudes do not fit the weight"
    return ""


def inputs_of(form: Form, parts: Mapping[str, TensorInfo], wanted: Shape) -> int:
    """How many inputs a weight has that these parts change, and that is like ``wanted`` in all else.

    Returns:
        0 where there is none.
    """
    found = _FORMS[form]({part: info.shape for part, info in parts.items()})
    cells = prod(wanted[2:])
    if found is None or len(found) < 2 or found[0] != wanted[0] or not cells:
        return 0
    inputs, rest = divmod(prod(found[1:]), cells)
    return 0 if rest else inputs


def _magnitudes_fit(shape: Shape, wanted: Shape, by_columns: bool) -> bool:
    """One magnitude a row; or, of ``dora_scale`` alone, one a column: ``[1, columns]``."""
    if len(wanted) < 2:
        return False
    if shape[:1] == wanted[:1] and prod(shape) == wanted[0]:
        return True
    return by_columns and shape[:1] == (1,) and prod(shape) == wanted[1]


def _differs(found: Shape, wanted: Shape) -> str:
    return f"it is for a weight of shape {list(found)}, the model's is {list(wanted)}"


def _pair(shapes: Mapping[str, Shape]) -> Shape | None:
    down, up = shapes["down"], shapes["up"]
    if len(down) < 2 or len(up) < 2 or up[1] != down[0] or prod(up[2:]) != 1:
        return None
    if "mid" not in shapes:
        return (up[0], *down[1:])
    mid = shapes["mid"]
    fits = len(mid) > 2 and mid[:2] == (up[1], down[0]) and prod(down[2:]) == 1
    return (up[0], down[1], *mid[2:]) if fits else None


def _product(left: Shape, right: Shape, core: Shape | None = None) -> Shape | None:
    """The shape of a factor that is itself a product, of LyCORIS: with a core, both are ``[rank, …]``."""
    if len(left) != 2 or len(right) < 2:
        return None
    if core is None:
        return (left[0], *right[1:]) if left[1] == right[0] else None
    fits = len(core) > 2 and len(right) == 2 and core[:2] == (left[0], right[0])
    return (left[1], right[1], *core[2:]) if fits else None


def _loha(shapes: Mapping[str, Shape]) -> Shape | None:
    one, two = (
        _product(shapes[f"hada_w{i}_a"], shapes[f"hada_w{i}_b"], shapes.get(f"hada_t{i}"))
        for i in (1, 2)
    )
    return one if one == two else None


def _lokr(shapes: Mapping[str, Shape]) -> Shape | None:
    one, two = (
        shapes[f"lokr_w{i}"]
        if f"lokr_w{i}" in shapes
        else _product(
            shapes[f"lokr_w{i}_a"],
            shapes[f"lokr_w{i}_b"],
            shapes.get("lokr_t2") if i == 2 else None,
        )
        for i in (1, 2)
    )
    if one is None or two is None or len(one) != 2 or len(two) < 2:
        return None
    return (one[0] * two[0], one[1] * two[1], *two[2:])


_FORMS: Mapping[Form, Callable[[Mapping[str, Shape]], Shape | None]] = {
    "pair": _pair,
    "loha": _loha,
    "lokr": _lokr,
    "diff": lambda shapes: shapes["diff"] or (1,),
    "set": lambda shapes: shapes["set"] or (1,),
}
