"""Sources of tensors: what a checkpoint looks like to everything that reads one.

A source knows the name, shape and type of every tensor from headers alone; a tensor's data is read
when it is asked for, and memory-mapped where the format allows: no model is ever held twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["RenamedSource", "TensorInfo", "TensorSource"]


@attrs.frozen
class TensorInfo:
    """What a header says of one tensor.

    Attributes:
        dtype: in the spelling of safetensors (``"F32"``, ``"BF16"``, ``"F8_E4M3"``, ``"I64"`` …),
            whatever the file's format is; GGUF's block formats by their own names (``"Q4_K"``).
        shape: sizes of the axes.
        nbytes: bytes of its data in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("F", "BF"))


class TensorSource(ABC):
    """Tensors by name, read one at a time.

    Attributes:
        label: what error messages call it: the file's name.
        files: the files that hold it, in order.
        tensors: name -> shape and type, in the file's order.
        metadata: free strings that the file carries.
        container: the format of the files, for people.
    """

    container: str = ""

    label: str
    files: tuple[Path, ...]
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    @abstractmethod
    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Read one tensor.

        On the CPU and in its stored type the result may be a view of the memory-mapped file: treat
        it as read-only.

        Args:
            dtype: the type to convert to; None keeps the stored one. GGUF's blocks, for which torch has no
                type, then come as bytes ``[rows, bytes of a row]``.

        Raises:
            KeyError: there is no such tensor.
            WeightsError: the file cannot be read (any more).
        """

    def raw(self, name: str) -> bytes:
        """The bytes of a tensor, which is small; files give them without torch.

        Raises:
            KeyError: there is no such tensor.
            WeightsError: the file cannot be read (any more).
        """
        import torch

        data = self.get(name).contiguous().flatten().view(torch.uint8)
        return bytes(data.tolist())

    def is_made(self, name: str) -> bool:
        """Whether a tensor is worked out of several when it is read, on the device that it is read for."""
        return False

    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def dtype(self, name: str) -> str:
        return self.tensors[name].dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return sum(info.nbytes for info in self.tensors.values())


class RenamedSource(TensorSource):
    """Another source under other names.

    Attributes:
        stored: name here -> name in ``base``. Tensors of ``base`` that it leaves out are not here.
        unknown: names of ``base`` that mean nothing to whoever did the renaming; a strict loader
            reports them.
    """

    def __init__(
        self, base: TensorSource, stored: Mapping[str, str], unknown: tuple[str, ...] = ()
    ) -> None:
        self.base = base
        self.stored = stored
        self.unknown = unknown
        self.label = base.label
        self.files = base.files
        self.metadata = base.metadata
        self.container = base.container
        self.tensors = {name: base.tensors[old] for name, old in stored.items()}

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        return self.base.get(self.stored[name], device, dtype)

    def raw(self, name: str) -> bytes:
        return self.base.raw(self.stored[name])

    def is_made(self, name: str) -> bool:
        return self.base.is_made(self.stored[name])
