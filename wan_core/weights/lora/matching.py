"""From a LoRA file's header to patches on the official weights of a model. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.weights.lora.keys import split
from wan_core.weights.lora.patches import BESIDE, Form, Patch, inputs_of, misfit
from wan_core.weights.lora.stated import Alphas, stated_alphas
from wan_core.weights.lora.targets import LoraTargets
from wan_core.weights.prefixes import is_marker
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import TensorSource

__all__ = ["LoraFile", "is_for_second", "read_lora"]

SECOND = "transformer_2."
"""Before the names of the expert for low noise, in a file of diffusers that is for both."""

_TEXT = ("lora_te", "text_encoder", "lora_te1", "cond_stage_model")
# what factors there have to be, in the order in which a module's parts are looked at
_FACTORS: tuple[tuple[Form, tuple[tuple[str, ...], ...]], ...] = (
    ("pair", (("down", "up"),)),
    ("loha", (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),)),
    (
        "lokr",
        tuple(
            (*one, *two)
            for one in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
            for two in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))
        ),
    ),
)
_CORES: Mapping[Form, tuple[str, ...]] = {
    "pair": ("mid",),
    "loha": ("hada_t1", "hada_t2"),
    "lokr": ("lokr_t2",),
}
# parts that change a tensor by themselves: which of the module's, and how
_ALONE: tuple[tuple[str, str, Form], ...] = (
    ("diff", "weight", "diff"),
    ("diff_b", "bias", "diff"),
    ("diff_m", "modulation", "diff"),
    ("up_bias", "bias", "diff"),
    ("set", "weight", "set"),
)


@attrs.frozen
class LoraFile:
    """A LoRA file as it fits a model.

    Attributes:
        source: the file.
        patches: what it changes.
        unmatched: name in the file -> why it changes nothing.
        scaled: whether every low-rank patch has an alpha from the file.
    """

    source: TensorSource
    patches: tuple[Patch, ...]
    unmatched: Mapping[str, str]
    scaled: bool = True

    @property
    def matched(self) -> int:
        """How many tensors of the file are used."""
        return len(self.source.tensors) - len(self.unmatched)


def read_lora(
    source: TensorSource,
    targets: LoraTargets,
    *,
    rank_stabilised: bool = False,
    expert: str = "",
) -> LoraFile:
    """Match a LoRA file with a model, by names and shapes alone.

    Args:
        targets: the model's weights.
        rank_stabilised: a file without alpha was trained with rank-stabilised scales: its alpha is
            ``rank² / √rank``, rounded down.
        expert: ``"high"`` or ``"low"``, of two: in a file for both, names that begin with ``transformer_2.``
            are those for low noise. ``""`` for a model with one transformer.

    Raises:
        WeightsError: two tensors of the file play one part, also under two spellings of a module's name.
    """
    halves = {name.startswith(SECOND) for name in source.names()}
    both = len(halves) == 2
    modules: dict[str, dict[str, str]] = {}
    unmatched: dict[str, str] = {}
    for name in source.names():
        if is_marker(name):
            continue
        if both and name.startswith(SECOND) != (expert == "low"):
            if not expert:
                unmatched[name] = "it is for the second of two experts"
            continue
        found = split(name)
        if found is None:
            unmatched[name] = "it is no part of a LoRA that is known"
            continue
        path, part = found
        parts = modules.setdefault(path, {})
        if part in parts:
            raise _two_adapters(parts[part], name, "are the same part of one module", source)
        parts[part] = name
    alphas = stated_alphas(source.metadata)
    patches: list[Patch] = []
    scaled = True
    first: dict[str, tuple[str, Patch]] = {}
    for path, parts in modules.items():
        left = dict(parts)
        for patch in _patches(path, left, unmatched, source, targets):
            spelled, other = first.setdefault(patch.target, (path, patch))
            if spelled != path:
                raise _two_adapters(other.keys[0], patch.keys[0], "change one weight", source)
            if patch.form in _CORES and not {"alpha", "factor"} & patch.parts.keys():
                alpha = _alpha(path, patch, source, alphas, rank_stabilised)
                scaled = scaled and alpha is not None
                patch = attrs.evolve(patch, alpha=alpha)
            patches.append(patch)
        if len(left) < len(parts):
            left.pop(
                "alpha", None
            )  # trainers write it beside differences, too, which it does not scale
        for name in left.values():
            unmatched.setdefault(name, "what belongs to it is missing")
    return LoraFile(source, tuple(patches), unmatched, scaled)


def is_for_second(source: TensorSource) -> bool:
    """Whether a file is for the expert for low noise alone, of two, by its names."""
    return all(name.startswith(SECOND) for name in source.names())


def _two_adapters(one: str, other: str, how: str, source: TensorSource) -> WeightsError:
    return WeightsError(
        f"{shown(one)} and {shown(other)} {how}: the file holds two adapters",
        where=source.label,
        remedy="save one of them by itself",
    )


def _patches(
    path: str,
    left: dict[str, str],
    unmatched: dict[str, str],
    source: TensorSource,
    targets: LoraTargets,
) -> Iterator[Patch]:
    """The patches of one module, whose parts are taken out of ``left`` as they are used."""

    def taken(form: Form, leaf: str, names: Mapping[str, str]) -> Iterator[Patch]:
        target, inputs = targets.find(path, leaf), 0
        if target:
            infos = {part: source.tensors[name] for part, name in names.items()}
            shape = targets.shapes[target]
            if target in targets.widens:
                inputs = inputs_of(form, infos, shape)
                shape = (shape[0], max(inputs, shape[1]), *shape[2:])
            why = misfit(form, infos, shape)
        else:
            why = _nowhere(path, leaf, targets)
        if why:
            unmatched.update(dict.fromkeys(names.values(), why))
        else:
            yield Patch(target, form, names, grown="reshape" in names, inputs=inputs)

    for form, choices in _FACTORS:
        needed = next((one for one in choices if all(part in left for part in one)), ())
        if needed:
            beside = (*_CORES[form], *BESIDE)
            names = {part: left.pop(part) for part in (*needed, *beside) if part in left}
            yield from taken(form, "weight", names)
    for part, leaf, form in _ALONE:
        if part in left:
            yield from taken(form, leaf, {form: left.pop(part)})


def _nowhere(path: str, leaf: str, targets: LoraTargets) -> str:
    if path.startswith(_TEXT):
        return "it is for a text encoder"
    if leaf != "weight" and targets.knows(path):
        return f"this module of the model has no {leaf}"
    return "the model has no such module"


def _alpha(
    path: str, patch: Patch, source: TensorSource, alphas: Alphas, rank_stabilised: bool
) -> float | None:
    rank = rank_of({part: source.shape(name) for part, name in patch.parts.items()}, patch.form)
    stated = alphas(path, rank) if rank else None
    if stated is None and rank_stabilised and rank:
        return float(rank * rank // math.sqrt(rank))
    return stated


def rank_of(shapes: Mapping[str, tuple[int, ...]], form: Form) -> int:
    """The rank that alpha is divided by; 0 where alpha counts for nothing (LoKr of two full factors)."""
    if form == "pair":
        return shapes["down"][0]
    if form == "loha":
        return shapes["hada_w1_b"][0]
    decomposed = (s for s in ("lokr_w2_b", "lokr_w1_b") if s in shapes)
    return next((shapes[one][0] for one in decomposed), 0)
