"""A quantised checkpoint as one of plain tensors. Imports torch only to read numbers."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from wan_core.weights.quantised.layouts import GGUF_BLOCKS, layouts_of
from wan_core.weights.sources import RenamedSource, TensorInfo, TensorSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wan_core.weights.quantised.packed import Packed

__all__ = ["UnpackedSource"]


class UnpackedSource(RenamedSource):
    """Another source with its quantised weights as float32 ones, and without what stands beside them.

    Attributes:
        layouts: name -> how it is stored, of the quantised ones.

    Raises:
        WeightsError: a weight is quantised in a way that is not read, or does not fit its scales.
    """

    def __init__(self, base: TensorSource) -> None:
        self.layouts, beside = layouts_of(base)
        stored = {name: name for name in base.tensors if name not in beside}
        super().__init__(base, stored, base.unknown if isinstance(base, RenamedSource) else ())
        self.tensors = {
            **self.tensors,
            **{n: TensorInfo("F32", one.shape, one.nbytes) for n, one in self.layouts.items()},
        }

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        import torch

        if name not in self.layouts:
            return self.base.get(name, device, dtype)
        return self.packed(name, device).dense(dtype or torch.float32)

    def stays_packed(self, name: str) -> bool:
        """Can a linear layer keep this weight as it is stored?"""
        layout = self.layouts.get(name)
        if layout is None or len(layout.shape) != 2:
            return False
        return layout.shape[1] % GGUF_BLOCKS.get(layout.scheme, (1, 1))[0] == 0

    def packed(self, name: str, device: torch.device | str = "cpu") -> Packed:
        """A quantised weight as it is stored.

        Raises:
            KeyError: it is none.
        """
        import torch

        from wan_core.weights.quantised.packed import Packed, untiled

        layout = self.layouts[name]
        stored = self.base.get(name).contiguous()
        rows = layout.shape[0] if len(layout.shape) > 1 else 1
        if layout.scheme in GGUF_BLOCKS:  # which may go over the end of what an axis is said to be
            rows = stored.shape[0]
        kind = torch.int8 if layout.scheme == "int8" else torch.uint8
        payload = stored.reshape(rows, -1).view(kind)
        scale = blocks = None
        if layout.scale:
            scale = self.base.get(layout.scale).to(torch.float32).reshape(-1, 1)
        if layout.block_scales and layout.scheme == "int4":
            blocks = self.base.get(layout.block_scales).contiguous().view(torch.uint8)
        elif layout.block_scales:
            count = prod(layout.shape) // rows // (16 if layout.scheme == "nvfp4" else 32)
            tiles = self.base.get(layout.block_scales).contiguous().view(torch.uint8)
            blocks = untiled(tiles, rows, count)
        return Packed(layout.scheme, layout.shape, payload, scale, blocks).to(device)
