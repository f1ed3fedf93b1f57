"""GGUF's block formats: bytes to numbers, in torch and so on every device.

Each function gets the bytes of blocks ``[n, bytes]`` uint8 and gives their values ``[n, values]`` float32. A
block begins or ends with one or two float16 scales; the rest are small whole numbers, packed. Source of the
layouts: ggml's ``ggml-common.h`` (structs ``block_*``) and ``ggml-quants.c`` (what a code is worth).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["DECODERS"]

IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""What the codes of IQ4 are worth."""


def q4_0(b: Tensor) -> Tensor:
    return _half(b, 0) * (_nibbles(b[:, 2:]) - 8)


def q4_1(b: Tensor) -> Tensor:
    return _half(b, 0) * _nibbles(b[:, 4:]) + _half(b, 2)


def q5_0(b: Tensor) -> Tensor:
    return _half(b, 0) * (_nibbles(b[:, 6:]) + 16 * _bits(b[:, 2:6]) - 16)


def q5_1(b: Tensor) -> Tensor:
    return _half(b, 0) * (_nibbles(b[:, 8:]) + 16 * _bits(b[:, 4:8])) + _half(b, 2)


def q8_0(b: Tensor) -> Tensor:
    return _half(b, 0) * _signed(b[:, 2:])


def q2_k(b: Tensor) -> Tensor:
    scales = b[:, :16]
    codes = _quarters(b[:, 16:80]).view(-1, 16, 16)
    d = _half(b, 80) * (scales & 15)
    m = _half(b, 82) * (scales >> 4)
    return (d.unsqueeze(2) * codes - m.unsqueeze(2)).flatten(1)


def q3_k(b: Tensor) -> Tensor:
    low, high = b[:, 96:104], b[:, 104:108]
    scales = torch.cat((low & 15, low >> 4), 1) | (_shifted(high, 2, 4).flatten(1) & 3) << 4
    # a set bit in the mask means that 4 is not taken away
    kept = (_shifted(b[:, :32], 1, 8) & 1).view(-1, 2, 4, 32)
    codes = (_quarters(b[:, 32:96]).float() + 4 * kept - 4).view(-1, 16, 16)
    d = _half(b, 108) * (scales.float() - 32)
    return (d.unsqueeze(2) * codes).flatten(1)


def q4_k(b: Tensor) -> Tensor:
    return _with_minimum(b, _paired(b[:, 16:]).float())


def q5_k(b: Tensor) -> Tensor:
    high = _shifted(b[:, 16:48], 1, 8) & 1
    return _with_minimum(b, _paired(b[:, 48:]).float() + 16 * high)


def q6_k(b: Tensor) -> Tensor:
    low = (_shifted(b[:, :128].reshape(-1, 64), 4, 2) & 15).view(-1, 2, 4, 32)
    codes = (low | _quarters(b[:, 128:192]) << 4).float() - 32
    d = _half(b, 208) * _signed(b[:, 192:208])
    return (d.unsqueeze(2) * codes.view(-1, 16, 16)).flatten(1)


def iq4_nl(b: Tensor) -> Tensor:
    return _half(b, 0) * _looked_up(_nibbles(b[:, 2:]))


def iq4_xs(b: Tensor) -> Tensor:
    high = _shifted(b[:, 2:4].reshape(-1, 1), 2, 4).view(-1, 8) & 3
    low = _shifted(b[:, 4:8].reshape(-1, 1), 4, 2).view(-1, 8) & 15
    d = _half(b, 0) * ((low | high << 4).float() - 32)
    codes = _nibbles(b[:, 8:].reshape(-1, 16)).view(-1, 8, 32)
    return (d.unsqueeze(2) * _looked_up(codes)).flatten(1)


DECODERS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": q4_0,
    "Q4_1": q4_1,
    "Q5_0": q5_0,
    "Q5_1": q5_1,
    "Q8_0": q8_0,
    "Q2_K": q2_k,
    "Q3_K": q3_k,
    "Q4_K": q4_k,
    "Q5_K": q5_k,
    "Q6_K": q6_k,
    "IQ4_NL": iq4_nl,
    "IQ4_XS": iq4_xs,
}
"""Name of a format -> what its blocks are worth."""


def _half(b: Tensor, at: int) -> Tensor:
    """A float16 at byte ``at``: ``[n, 1]`` float32."""
    return b[:, at : at + 2].contiguous().view(torch.float16).float()


def _signed(b: Tensor) -> Tensor:
    return b.contiguous().view(torch.int8).float()


def _shifted(b: Tensor, step: int, count: int) -> Tensor:
    """``[n, k]`` -> ``[n, count, k]``: shifted right by 0, ``step``, 2 ``step`` …"""
    shifts = torch.arange(0, step * count, step, dtype=torch.uint8, device=b.device)
    return b.unsqueeze(1) >> shifts.view(1, count, 1)


def _nibbles(b: Tensor) -> Tensor:
    """The low halves of all bytes, then the high ones: ``[n, 2 k]`` float32."""
    return (_shifted(b, 4, 2) & 15).flatten(1).float()


def _bits(b: Tensor) -> Tensor:
    """Bits in their order, lowest first: ``[n, 8 k]`` float32."""
    return (_shifted(b.reshape(-1, 1), 1, 8) & 1).view(b.shape[0], -1).float()


def _quarters(b: Tensor) -> Tensor:
    """Two bits each of 64 bytes: ``[n, 2 halves, 4 shifts, 32]``."""
    return (_shifted(b.reshape(-1, 32), 2, 4) & 3).view(-1, 2, 4, 32)


def _paired(b: Tensor) -> Tensor:
    """Nibbles of 128 bytes, 32 bytes at a time, low halves first: ``[n, 8, 32]``."""
    return (_shifted(b.reshape(-1, 32), 4, 2) & 15).view(-1, 8, 32)


def _with_minimum(b: Tensor, codes: Tensor) -> Tensor:
    """The K formats with a minimum: eight groups, whose 6-bit scales and minima are packed in 12 bytes."""
    first, second, third = b[:, 4:8], b[:, 8:12], b[:, 12:16]
    scales = torch.cat((first & 63, (third & 15) | (first >> 6) << 4), 1)
    minima = torch.cat((second & 63, (third >> 4) | (second >> 6) << 4), 1)
    d, m = _half(b, 0) * scales, _half(b, 2) * minima
    return (d.unsqueeze(2) * codes - m.unsqueeze(2)).flatten(1)


def _looked_up(codes: Tensor) -> Tensor:
    return torch.tensor(IQ4, dtype=torch.float32, device=codes.device)[codes.long()]
