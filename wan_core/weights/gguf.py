"""A GGUF file as a source of tensors."""

from __future__ import annotations

from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from wan_core.contract.errors import WeightsError
from wan_core.weights.gguf_header import read_gguf_header
from wan_core.weights.gguf_types import PLAIN
from wan_core.weights.places import place, printable, read_span, shortened, unreadable
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import TensorSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["GgufFile"]


class GgufFile(TensorSource):
    """One GGUF file. Its tensors are views of the memory-mapped file until converted.

    Blocks of numbers come as their bytes; :class:`~wan_core.weights.quantised.source.UnpackedSource` knows what
    they are worth.

    Attributes:
        offsets: name -> where its data begins in the file.
    """

    container = "GGUF"

    def __init__(self, path: Path) -> None:
        header = read_gguf_header(path)
        self.path = path
        self.label = printable(path.name)
        self.files = (path,)
        self.tensors = header.tensors
        self.offsets = header.offsets
        self.metadata = {key: str(value) for key, value in header.metadata.items()}

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        import torch

        from wan_core.weights.quantised.layouts import GGUF_BLOCKS
        from wan_core.weights.quantised.packed import Packed

        info = self.tensors[name]
        start = self.offsets[name]
        data = self._mapped[start : start + info.nbytes]
        if len(data) < info.nbytes:
            raise shortened(self.path)
        rows = info.shape[0] if len(info.shape) > 1 else 1
        if info.dtype in PLAIN:
            kind = TORCH_TYPES[info.dtype]
            plain = getattr(torch, kind)
            # views of larger numbers have to begin at a multiple of their size
            data = data.clone() if start % plain.itemsize else data
            return data.view(plain).reshape(info.shape).to(device=device, dtype=dtype)
        whole = rows and prod(info.shape) // rows % GGUF_BLOCKS.get(info.dtype, (1, 1))[0] == 0
        data = data.reshape(rows if whole else 1, -1)
        if dtype is None:
            return data.to(device)
        if info.dtype not in GGUF_BLOCKS:
            raise WeightsError(
                f"tensor {shown(name)} is of the type {info.dtype}, which is not read",
                where=place(self.path),
            )
        return Packed(info.dtype, info.shape, data).to(device).dense(dtype)

    def raw(self, name: str) -> bytes:
        return read_span(self.path, self.offsets[name], self.tensors[name].nbytes)

    @cached_property
    def _mapped(self) -> Tensor:
        """All bytes of the file; what is written into them never reaches it."""
        import torch

        try:
            size = self.path.stat().st_size
            storage = torch.UntypedStorage.from_file(str(self.path), shared=False, nbytes=size)
        except OSError as error:
            raise unreadable(self.path, error) from error
        except RuntimeError as error:
            raise WeightsError("cannot be mapped into memory", where=place(self.path)) from error
        return torch.tensor([], dtype=torch.uint8).set_(storage)  # type: ignore[arg-type]


TORCH_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
}
