"""Rolling back mutable state: a step that failed leaves it as the step found it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

from torch import Tensor

from wan_core.contract.errors import PluginError
from wan_core.contract.state import State

Part = Mapping[str, Tensor]


class SpoiltStateError(PluginError):
    """A step that failed can't be tried again, because its model has changed a state in place."""


class Journal(MutableMapping[str, Part]):
    """The ``parts`` of a state during one step; remembers what was there before.

    Nothing is copied where the parts are a plain dictionary, because whoever changes a part assigns new
    tensors. Other mappings fetch what is read from wherever they keep it, and may not let it stay on the
    device: what they give is remembered in host memory.

    Args:
        parts: of the state.
    """

    def __init__(self, parts: MutableMapping[str, Part]) -> None:
        self.parts = parts
        self._plain = isinstance(parts, dict)
        self._before: dict[str, Part | None] = {}
        self._read: list[tuple[Tensor, int]] = []
        self._seen: set[str] = set()

    def __getitem__(self, unit: str) -> Part:
        part = self.parts[unit]
        if self._plain and unit not in self._before and unit not in self._seen:
            self._seen.add(unit)
            self._read += [(t, t._version) for t in part.values() if not t.is_inference()]
        return part

    def __setitem__(self, unit: str, part: Part) -> None:
        self._remember(unit)
        self.parts[unit] = part

    def __delitem__(self, unit: str) -> None:
        self._remember(unit)
        del self.parts[unit]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def _remember(self, unit: str) -> None:
        if unit in self._before:
            return
        if unit not in self.parts:
            self._before[unit] = None
        elif self._plain:
            self._before[unit] = dict(self[unit])
        else:
            self._before[unit] = {name: t.cpu() for name, t in self.parts[unit].items()}

    def roll_back(self) -> bool:
        """Put everything back; False when that can't be, because a tensor itself was written into."""
        for unit, part in self._before.items():
            if part is not None:
                self.parts[unit] = part
            elif unit in self.parts:
                del self.parts[unit]
        return all(tensor._version == version for tensor, version in self._read)


@contextmanager
def rolled_back(states: Mapping[str, State]) -> Iterator[None]:
    """A region after whose failure the states are as they were before it.

    Raises:
        SpoiltStateError: they can't be, because the model has written into the tensors of a state.
    """
    journals = {name: Journal(state.parts) for name, state in states.items()}
    for name, state in states.items():
        state.parts = journals[name]
    try:
        yield
    except BaseException as error:
        spoilt = [name for name, journal in journals.items() if not journal.roll_back()]
        if spoilt and isinstance(error, Exception):
            raise SpoiltStateError(
                f'a step failed ({error}) and can\'t be tried again: it has changed the state "{spoilt[0]}" '
                "in place",
                remedy="its model should assign parts that change whole",
            ) from error
        raise
    finally:
        for name, state in states.items():
            state.parts = journals[name].parts
