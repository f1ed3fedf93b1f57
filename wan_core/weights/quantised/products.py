"""Products in 8 bits: inputs are rounded to e4m3 row by row and multiplied with codes as they are stored.

Of a linear layer with codes ``C``, scales ``t`` (one for each output) and inputs ``x`` the result is
``s t (Q Cᵀ) + b``, where ``Q`` and ``s`` are the codes and scales of the inputs, a scale for each row. Tensor
cores multiply such codes twice as fast as 16-bit numbers, and no weight is unpacked. It is not exact: inputs
keep four digits (binary), which changes the result of a layer by some 3 %.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from wan_core.kernels import is_shortage, quantise_rows, quantise_rows_reference
from wan_core.weights.quantised.packed import Packed

__all__ = ["can_multiply", "fp8_linear", "fp8_linear_reference", "rounded_inputs", "suits_fp8"]

MULTIPLE = 16
"""What inputs and outputs of a layer are a multiple of, for tensor cores."""
LEAST = 128
"""Outputs from which a layer is multiplied in fp8: cuBLAS can't add a bias to some that have fewer (48, 64)."""
Rounded = tuple[Tensor, Tensor]
"""Codes and scales of inputs."""
CAPABILITY = (8, 9)
"""Compute capability from which NVIDIA's cards multiply 8-bit floats."""


def rounded_inputs(x: Tensor) -> Rounded:
    """Inputs ``[…, inputs]`` as rows of codes and their scales."""
    return quantise_rows(x.reshape(-1, x.shape[-1]))


def fp8_linear(
    x: Tensor, packed: Packed, bias: Tensor | None, rounded: Rounded | None = None
) -> Tensor:
    """A linear layer in products of 8 bits, on the tensor cores of a GPU.

    Args:
        x: ``[…, inputs]`` bfloat16; left as it is.
        packed: a weight that :func:`suits_fp8`.
        bias: bfloat16.
        rounded: what :func:`rounded_inputs` made of ``x``, where several layers share it.

    Returns:
        ``[…, outputs]`` bfloat16.
    """
    outputs = packed.shape[0]
    codes, scales = rounded or rounded_inputs(x)
    out = torch._scaled_mm(
        codes,
        packed.payload.view(torch.float8_e4m3fn).t(),
        scale_a=scales,
        scale_b=_by_output(packed),
        bias=bias,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,  # sums in less than float32, small beside what rounding inputs costs
    )
    return out.view(*x.shape[:-1], outputs)


def fp8_linear_reference(x: Tensor, packed: Packed, bias: Tensor | None) -> Tensor:
    """The same in plain torch on every device: codes are multiplied in float32, the result is rounded once."""
    codes, scales = quantise_rows_reference(x.reshape(-1, x.shape[-1]))
    weight = packed.payload.view(torch.float8_e4m3fn).float()
    out = codes.float() @ weight.t() * scales * _by_output(packed)
    if bias is not None:
        out = out + bias.float()
    return out.to(torch.bfloat16).view(*x.shape[:-1], -1)


def suits_fp8(packed: Packed) -> bool:
    """Whether a weight can be multiplied as it is stored."""
    if packed.scheme != "fp8_e4m3fn" or len(packed.shape) != 2:
        return False
    outputs, inputs = packed.shape
    return outputs >= LEAST and inputs > 0 and outputs % MULTIPLE == inputs % MULTIPLE == 0


@cache
def can_multiply(device: torch.device) -> bool:
    """Whether a device multiplies 8-bit floats, with scales for rows: it is tried with a small product."""
    if device.type != "cuda" or torch.version.hip or not torch.cuda.is_available():
        return False
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        return False
    try:
        codes = torch.ones(MULTIPLE, MULTIPLE, dtype=torch.uint8, device=device)
        packed = Packed("fp8_e4m3fn", (MULTIPLE, MULTIPLE), codes)
        x = torch.ones(MULTIPLE, MULTIPLE, dtype=torch.bfloat16, device=device)
        return bool(fp8_linear(x, packed, x[0]).isfinite().all())
    except (RuntimeError, AttributeError) as error:  # a build of torch without it
        if is_shortage(error):
            raise
        return False


def _by_output(packed: Packed) -> Tensor:
    """The scales of a weight as ``[1, outputs]``."""
    outputs = packed.shape[0]
    if packed.scale is None:
        return torch.ones(1, outputs, device=packed.payload.device)
    return packed.scale.reshape(1, -1).expand(1, outputs).contiguous()
