"""The numbers of one quantised weight, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wan_core.weights.quantised.blocks import DECODERS
from wan_core.weights.quantised.layouts import CHUNK, GGUF_BLOCKS
from wan_core.weights.quantised.own import GROUP

__all__ = ["FP8_TYPES", "Packed", "float8", "pack", "untiled"]

FP8_TYPES = {"fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the lower three bits of a code of nvfp4 are worth; the fourth is the sign."""
HAVE_FLOAT8 = ("cpu", "cuda")


@dataclass(frozen=True, eq=False)  # made inside of compiled graphs (docs/decisions/007)
class Packed:
    """A quantised weight, as rows of codes.

    Attributes:
        scheme: see :class:`~wan_core.weights.quantised.layouts.Layout`.
        shape: of the weight.
        payload: ``[rows, bytes of a row]`` uint8 (int8 for ``"int8"``), as in the file. A row is an output
            channel; a tensor with less than two axes is one row.
        scale: factor of the codes, float32 ``[1, 1]`` or ``[rows, 1]``; None = 1.
        block_scales: ``[rows, blocks]`` uint8: the codes of a factor for each block; ``[rows, 2 blocks]``, the
            bytes of bfloat16 factors, for ``"int4"``.
    """

    scheme: str
    shape: tuple[int, ...]
    payload: Tensor
    scale: Tensor | None = None
    block_scales: Tensor | None = None

    def to(self, device: torch.device | str) -> Packed:
        """The same on another device."""
        parts = (self.payload, self.scale, self.block_scales)
        payload, scale, block_scales = (p if p is None else p.to(device) for p in parts)
        assert payload is not None
        return Packed(self.scheme, self.shape, payload, scale, block_scales)

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight in ``dtype``: each value is computed in float32 and rounded once."""
        rows, values = self.payload.shape[0], max(1, _count(self.shape))
        step = max(1, CHUNK * rows // values)
        if step >= rows:
            return self._rows(0, rows).to(dtype).reshape(self.shape)
        out = torch.empty(rows, values // rows, dtype=dtype, device=self.payload.device)
        for start in range(0, rows, step):
            out[start : start + step] = self._rows(start, min(rows, start + step))
        return out.reshape(self.shape)

    def _rows(self, start: int, stop: int) -> Tensor:
        """Some rows in float32."""
        payload, scale = self.payload[start:stop], self.scale
        if scale is not None and len(scale) > 1:
            scale = scale[start:stop]
        if self.scheme in GGUF_BLOCKS:
            blocks = payload.reshape(-1, GGUF_BLOCKS[self.scheme][1])
            return DECODERS[self.scheme](blocks).view(len(payload), -1)
        if self.block_scales is not None:
            return self._of_blocks(payload, self.block_scales[start:stop], scale)
        kind = FP8_TYPES.get(self.scheme)
        codes = float8(payload, kind) if kind else payload.to(torch.float32)
        return codes if scale is None else codes * scale

    def _of_blocks(self, payload: Tensor, scales: Tensor, scale: Tensor | None) -> Tensor:
        if self.scheme == "nvfp4":
            codes, factors = _float4(payload), float8(scales, torch.float8_e4m3fn)
        elif self.scheme == "int4":
            codes, factors = _int4(payload), scales.view(torch.bfloat16).float()
        else:
            codes, factors = float8(payload, torch.float8_e4m3fn), _power_of_two(scales)
        if scale is not None:
            factors = scale * factors
        return (codes.view(*factors.shape, -1) * factors.unsqueeze(2)).flatten(1)


def pack(weight: Tensor, scheme: str, *, by_channel: bool) -> Packed:
    """Quantise a matrix: the largest value of a channel, or of all, becomes the largest code.

    Args:
        weight: float32 ``[rows, columns]``, left as it is.
        scheme: ``"fp8_e4m3fn"``, ``"fp8_e5m2"``, ``"int8"``, or ``"int4"`` for columns in whole groups.
        by_channel: each row has a scale of its own; int4 has one for each group of a row.
    """
    if scheme == "int4":
        return _pack_int4(weight)
    kind = FP8_TYPES.get(scheme)
    # a tensor, because torch makes a quotient by a number a product on a GPU, which rounds otherwise
    largest = weight.new_tensor(torch.finfo(kind).max if kind else 127.0)
    peak = weight.abs().amax(1, keepdim=True) if by_channel else weight.abs().amax().view(1, 1)
    scale = peak / largest  # NaN where there is one, which whole numbers can't say
    scale = torch.where(scale == 0, 1.0, scale)
    codes = (weight / scale).clamp_(-largest, largest)
    payload = codes.to(kind).view(torch.uint8) if kind else codes.round_().to(torch.int8)
    return Packed(scheme, tuple(weight.shape), payload, scale)


def _pack_int4(weight: Tensor) -> Packed:
    groups = weight.reshape(weight.shape[0], -1, GROUP)
    scales = (groups.abs().amax(2, keepdim=True) / weight.new_tensor(7.0)).bfloat16()
    scales = torch.where(scales == 0, 1, scales)
    # of the scale as it is stored
    codes = ((groups / scales.float()).round_().clamp_(-7, 7) + 8).to(torch.uint8).flatten(1)
    payload = codes[:, ::2] | codes[:, 1::2] << 4
    blocks = scales.flatten(1).contiguous().view(torch.uint8)
    return Packed("int4", tuple(weight.shape), payload, block_scales=blocks)


def float8(codes: Tensor, kind: torch.dtype) -> Tensor:
    """What the codes of an 8-bit float (uint8) are worth, in float32; also on devices without the type.

    Compiled code never meets the type: compilers know it only on cards that have it in hardware.
    """
    if codes.device.type in HAVE_FLOAT8 and not torch.compiler.is_compiling():
        return codes.view(kind).to(torch.float32)
    whole = codes.int()
    if kind == torch.float8_e5m2:  # the upper half of a float16
        return _halves(whole << 8)
    # in a float16, whose exponent begins 8 lower
    exact = _halves((whole & 0x80) << 8 | (whole & 0x7F) << 7) * 256
    return torch.where((whole & 0x7F) == 0x7F, torch.nan, exact)


def _halves(bits: Tensor) -> Tensor:
    """Bits of float16 in whole numbers, in float32."""
    return bits.to(torch.int16).view(torch.float16).to(torch.float32)


def untiled(scales: Tensor, rows: int, blocks: int) -> Tensor:
    """Block scales in their rows, out of the order in which tensor cores read them.

    A tile is 128 rows of 4 blocks, stored as 32 rows of 4 groups of 4: row ``r`` lies in row ``r % 32``, group
    ``r // 32``. Tiles follow each other along the blocks first; the last ones are filled up.

    Args:
        scales: uint8, as stored.

    Returns:
        ``[rows, blocks]``.
    """
    down, across = -(-rows // 128), -(-blocks // 4)
    tiles = scales.reshape(down, across, 32, 4, 4)
    return tiles.permute(0, 3, 2, 1, 4).reshape(128 * down, 4 * across)[:rows, :blocks].contiguous()


def _float4(payload: Tensor) -> Tensor:
    """4-bit floats ``[rows, 2 k]``: the upper half of a byte is the even column."""
    codes = torch.stack((payload >> 4, payload & 15), 2).flatten(1)
    table = torch.tensor((*E2M1, *(-value for value in E2M1)), device=payload.device)
    return table[codes.int()]


def _int4(payload: Tensor) -> Tensor:
    """Whole numbers from -8 to 7 ``[rows, 2 k]`` float32: the lower half of a byte is the even column."""
    codes = torch.stack((payload & 15, payload >> 4), 2).flatten(1)
    return codes.float() - 8


def _power_of_two(codes: Tensor) -> Tensor:
    """The scales of mxfp8 (E8M0): 2 to the power of the code less 127; code 255 is no number."""
    table = torch.tensor([*(2.0 ** (code - 127) for code in range(255)), torch.nan])
    return table.to(codes.device)[codes.int()]


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
