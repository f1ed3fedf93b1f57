"""A state dict as a source: tensors in memory, or in a memory-mapped pickle."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from wan_core.contract.errors import WeightsError
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import TensorInfo, TensorSource

__all__ = ["StateDict"]

DTYPE_NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}


class StateDict(TensorSource):
    """Named tensors as a source.

    Raises:
        WeightsError: a tensor is sparse, quantised by torch or of an unusual type.
    """

    def __init__(
        self,
        held: Mapping[str, Tensor],
        label: str = "state dict",
        files: tuple[Path, ...] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.held = held
        self.label = label
        self.files = files
        self.metadata = metadata or {}
        self.container = "pickled state dict" if files else ""
        self.tensors = {name: self._info(name, tensor) for name, tensor in held.items()}

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        return self.held[name].detach().to(device=device, dtype=dtype)

    def _info(self, name: str, tensor: Tensor) -> TensorInfo:
        dtype = DTYPE_NAMES.get(tensor.dtype)
        if dtype is None or tensor.layout is not torch.strided:
            raise WeightsError(
                f"tensor {shown(name)} is of an unsupported kind ({tensor.dtype}, {tensor.layout})",
                where=self.label,
            )
        return TensorInfo(dtype, tuple(tensor.shape), prod(tensor.shape) * tensor.element_size())
