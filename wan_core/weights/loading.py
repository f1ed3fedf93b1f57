"""Loading a checkpoint into a module that was built on the meta device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import attrs
import torch
from torch import Tensor, nn

from wan_core.contract.errors import WeightsError
from wan_core.weights.dialects import Dialect
from wan_core.weights.identity import identify
from wan_core.weights.naming import in_official_names, matches
from wan_core.weights.numbers import unpacked
from wan_core.weights.quantised.linear import QuantLinear
from wan_core.weights.quantised.packed import HAVE_FLOAT8, Packed
from wan_core.weights.quantised.source import UnpackedSource
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import RenamedSource, TensorSource

__all__ = ["Keep", "load_into"]

Place = torch.device | str


class Keep(Protocol):
    """Takes parts of a module as they are filled: units that are to lie in host memory.

    Attributes:
        names: of the parts, as paths in the module.
        device: where they will compute.
    """

    names: Sequence[str]
    device: torch.device

    def keep(self, name: str, module: nn.Module) -> None:
        """Take a part whose tensors are there, in ordinary memory."""
        ...

    def without(self, names: Collection[str]) -> Keep:
        """The same that leaves some parts in ordinary memory."""
        ...


def load_into(
    module: nn.Module,
    source: TensorSource,
    dialects: Sequence[Dialect] = (),
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    keep_float32: Collection[str] = (),
    module_dialect: Dialect | None = None,
    ignore: Collection[str] = (),
    pack: Callable[[Tensor], Packed] | None = None,
    packed: Collection[str] = (),
    keep: Keep | None = None,
) -> None:
    """Assign the tensors of ``source`` to the parameters and buffers of ``module``, strictly.

    Quantised weights of plain linear layers stay as they are stored: the layer becomes a
    :class:`QuantLinear`. All other quantised tensors, also those of subclasses of ``nn.Linear``, become
    numbers of ``dtype``.

    Every tensor is read once and put in place as it is; on the CPU in its stored type it stays a
    view of the memory-mapped file. Parameters that the module shares between several names stay
    shared. Nothing is read before all names and shapes have been found right.

    Args:
        module: built under ``torch.device("meta")``. Afterwards it needs no gradients.
        source: a checkpoint, or what :func:`in_official_names` made of one.
        dialects: the names that ``source`` may use; empty when it has official names already.
        dtype: precision of all floating-point tensors; None keeps the stored one.
        keep_float32: ``fnmatch`` patterns of the module's names that become float32 nevertheless.
        module_dialect: the dialect of the module's own names, when they are not the official ones.
        ignore: ``fnmatch`` patterns of official names that the file may hold and the module lacks.
        pack: quantises a float32 matrix.
        packed: official names of the weights that it is for; such a layer becomes a :class:`QuantLinear`.
        keep: takes its parts one after the other, each read into ordinary memory, whatever ``device`` is. What
            has to be worked out is worked out on its device, so that a part has the bits that it has there.

    Raises:
        WeightsError: a tensor is missing, left over or of the wrong shape, or the file is
            quantised in a way that is not read. The message says what the file is, how many tensors are
            wrong, and which.
    """
    if dialects:
        source = in_official_names(source, dialects)
    plain = unpacked(source)
    own = module.state_dict(keep_vars=True)
    stored = {_module_name(name, module_dialect): name for name in plain.names()}
    _refuse_mismatch(plain, stored, own, ignore)
    linears = _quantised_linears(module, own, stored, plain, keep_float32, packed)

    def precision(name: str) -> torch.dtype | None:
        return torch.float32 if matches(name, keep_float32) else dtype

    filling = _Filling(module, plain, stored, own, frozenset(linears), precision, pack, packed)
    parts = {part: _within(part, own) for part in keep.names} if keep else {}
    apart = {name for names in parts.values() for name in names}
    made = keep.device if keep else device
    filling.fill([name for name in own if name not in apart], device, made)
    for part, names in parts.items():
        filling.fill(names, "cpu", made)
        if keep and names:
            keep.keep(part, module.get_submodule(part))


def _within(part: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{part}.")]


@attrs.frozen(eq=False)
class _Filling:
    """Puts tensors in their places.

    Attributes:
        module: it is for.
        source: they are from.
        stored: name in the module -> name in the source.
        own: name in the module -> what is there at first, on the meta device.
        linears: names of weights that stay or become quantised.
        precision: of a name in the module.
        pack, packed: see :func:`load_into`.
    """

    module: nn.Module
    source: UnpackedSource
    stored: Mapping[str, str]
    own: Mapping[str, Tensor]
    linears: frozenset[str]
    precision: Callable[[str], torch.dtype | None]
    pack: Callable[[Tensor], Packed] | None
    packed: Collection[str]
    _loaded: dict[int, Tensor] = attrs.field(factory=dict)

    def fill(self, names: Iterable[str], device: Place, made: Place) -> None:
        """Read what is in ``names`` to ``device``; what has to be worked out is on ``made`` before."""
        for name in names:
            linear, _, leaf = name.rpartition(".")
            if name in self.linears:
                self._quantised(linear, device, made)
            elif leaf != "bias" or f"{linear}.weight" not in self.linears:
                setattr(self.module.get_submodule(linear), leaf, self._plain(name, device, made))

    def _quantised(self, linear: str, device: Place, made: Place) -> None:
        weight, bias = f"{linear}.weight", f"{linear}.bias"
        dtype = self.precision(weight)
        there = made if self.stored[weight] in self.packed else device
        found = _packed(self.source, self.stored[weight], there, self.pack).to(device)
        rest = self.source.get(self.stored[bias], device, dtype) if bias in self.own else None
        self.module.set_submodule(linear, QuantLinear(found, rest, dtype))

    def _plain(self, name: str, device: Place, made: Place) -> Tensor:
        target = self.own[name]
        if id(target) not in self._loaded:
            there = made if self.source.is_made(self.stored[name]) else device
            dtype = self.precision(name) if target.is_floating_point() else None
            tensor = self.source.get(self.stored[name], there, dtype).to(device)
            if isinstance(target, nn.Parameter):
                tensor = nn.Parameter(tensor, requires_grad=False)
            self._loaded[id(target)] = tensor
        return self._loaded[id(target)]


def _quantised_linears(
    module: nn.Module,
    own: Mapping[str, Tensor],
    stored: Mapping[str, str],
    source: UnpackedSource,
    keep_float32: Collection[str],
    packed: Collection[str],
) -> list[str]:
    """Weights that stay quantised: of plain linear layers, in no other place, and not wanted in float32."""
    places = Counter(map(id, own.values()))
    return [
        name
        for name, target in own.items()
        if name.endswith(".weight")
        and (source.stays_packed(stored.get(name, "")) or stored.get(name) in packed)
        and type(module.get_submodule(name.removesuffix(".weight"))) is nn.Linear
        and places[id(target)] == 1
        and not matches(name, keep_float32)
    ]


def _packed(
    source: UnpackedSource,
    name: str,
    device: torch.device | str,
    pack: Callable[[Tensor], Packed] | None,
) -> Packed:
    """A weight as it is stored, or quantised now: on its device, where that has the types for it."""
    if pack is None or name in source.layouts:
        return source.packed(name, device)
    place = device if torch.device(device).type in HAVE_FLOAT8 else "cpu"
    return pack(source.get(name, place, torch.float32)).to(device)


def _module_name(name: str, dialect: Dialect | None) -> str:
    return (dialect and dialect.from_official(name)) or name


def _refuse_mismatch(
    source: UnpackedSource, stored: dict[str, str], own: dict[str, Tensor], ignore: Collection[str]
) -> None:
    """Raise unless ``source`` has exactly the tensors of the module (``own``), in their shapes."""
    # a tensor that the module has under several names needs to be in the file once, under the first
    first = {id(target): name for name, target in reversed(own.items())}
    missing = [name for name in first.values() if name not in stored]
    left = [name for name in stored if name not in own and not matches(stored[name], ignore)]
    left += source.unknown
    wrong = [
        f"{name} {info.dtype} {list(info.shape)} instead of {list(own[name].shape)}"
        for name, info in ((name, source.tensors[old]) for name, old in stored.items())
        if name in own
        and (info.shape, info.is_float) != (own[name].shape, own[name].is_floating_point())
    ]
    problems = [
        *_listed("missing", missing),
        *_listed("unexpected", left),
        *_listed("of the wrong shape or kind", wrong),
    ]
    if problems:
        base = source.base.base if isinstance(source.base, RenamedSource) else source.base
        raise WeightsError(
            f"this is {identify(base)} and its tensors do not fit: {'; '.join(problems)}",
            where=source.label,
        )


def _listed(what: str, names: Sequence[str]) -> Iterable[str]:
    if names:
        some = ", ".join(shown(name) for name in sorted(names)[:3])
        yield f"{len(names)} {what} ({some}{', …' if len(names) > 3 else ''})"
