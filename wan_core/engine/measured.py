"""The calls that a calibration times: of the sorts that models make, from small to large."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F

from wan_core.contract.conditioning import Inputs
from wan_core.models.vae.workspaces import SMALL_CONVOLUTION
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.planning.work import PAST

Work = Callable[[], object]

Case = tuple[float, float, float, Callable[[], Work]]
"""Size for the curve, units of one call, bytes that it needs, and what makes the call."""

# rows, inputs, outputs: from the bundled model's to those of 14 B at 1280x720
MATMULS = (
    (256, 64, 64), (324, 192, 192), (512, 512, 512), (2048, 1536, 1536), (8192, 2048, 2048),
    (16384, 5120, 5120), (32768, 5120, 13824),
)  # fmt: skip
# tokens, heads, width of a head
ATTENTIONS = (
    (64, 4, 48), (324, 4, 48), (1024, 12, 128), (4096, 12, 128), (16384, 12, 128), (32768, 40, 128),
)  # fmt: skip
# channels, and pixels per side that a VAE has at so many
CONVOLUTIONS = ((16, 480), (32, 240), (64, 128), (96, 480), (192, 240), (384, 90))
SMALL_CONVOLUTIONS = ((8, 128), (16, 128), (32, 64), (64, 32), (96, 24), (192, 12))
CPU_SIDE = 64  # a CPU is as fast per operation on a part of the picture, and much sooner done
ELEMENTS = (2**10, 2**14, 2**18, 2**22, 2**26)
BLOCKS = 8


def small_calls(device: torch.device) -> Work:
    """A transformer of :data:`BLOCKS` blocks on next to nothing: what calls cost, whatever they do."""
    config = WanConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=BLOCKS, text_dim=16, text_len=4)
    with device:
        denoiser = WanDenoiser(WanTransformer(config).eval())
        latents = {"video": torch.randn(1, config.in_dim, 1, 4, 4)}
        inputs = Inputs(text={"video": torch.randn(1, 4, 16)})
        timesteps = {"video": torch.zeros(1)}
    return lambda: denoiser(latents, timesteps, inputs)


def elementwise(device: torch.device) -> Iterator[Case]:
    """Reading and writing: units are bytes."""
    for count in ELEMENTS:

        def make(count: int = count) -> Work:
            x = torch.randn(count, device=device)
            return lambda: x.mul(1.5)

        yield 8.0 * count, 8.0 * count, 8.0 * count, make


def norms(device: torch.device) -> Iterator[Case]:
    """Lengths of the vectors that lie across the channels, as the VAE takes them: units are bytes."""
    for channels, side in ((16, 48), (16, 192), (96, 480)):

        def make(channels: int = channels, side: int = side) -> Work:
            x = torch.randn(1, channels, 4, side, side, device=device)
            return lambda: torch.linalg.vector_norm(x, dim=1, keepdim=True)

        size = 16.0 * channels * side**2
        yield size, size, size, make


def _matmuls(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    for rows, inputs, outputs in MATMULS:

        def make(rows: int = rows, inputs: int = inputs, outputs: int = outputs) -> Work:
            x = torch.randn(rows, inputs, device=device, dtype=dtype)
            layer = torch.nn.Linear(inputs, outputs, device=device, dtype=dtype)
            return lambda: layer(x)

        flop = 2.0 * rows * inputs * outputs
        needed = (rows * inputs + rows * outputs + inputs * outputs) * dtype.itemsize
        yield flop, flop, needed, make


def _attentions(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    for tokens, heads, width in ATTENTIONS:

        def make(tokens: int = tokens, heads: int = heads, width: int = width) -> Work:
            shape = (1, heads, tokens, width)
            q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
            return lambda: F.scaled_dot_product_attention(q, k, v)

        flop = 4.0 * tokens**2 * heads * width
        yield flop, flop, 4.0 * tokens * heads * width * dtype.itemsize, make


def _convolutions(
    device: torch.device,
    dtype: torch.dtype,
    shapes: Sequence[tuple[int, int]] = CONVOLUTIONS,
    *,
    flat: bool = False,
) -> Iterator[Case]:
    frames = 1 if flat else 4
    kernel = 9 if flat else 27
    for channels, side in shapes:
        if device.type == "cpu":
            enough = SMALL_CONVOLUTION // (channels * (frames + PAST)) + 1
            side = min(side, max(CPU_SIDE, enough))

        def make(channels: int = channels, side: int = side) -> Work:
            if flat:
                conv: torch.nn.Module = torch.nn.Conv2d(channels, channels, 3, padding=1)
                x = torch.randn(1, channels, side, side, device=device, dtype=dtype)
            else:
                conv = torch.nn.Conv3d(channels, channels, 3, padding=(0, 1, 1))
                x = torch.randn(1, channels, frames + 2, side, side, device=device, dtype=dtype)
            conv = conv.to(device, dtype)
            return lambda: conv(x)

        pixels = float(frames * side * side)
        needed = 2 * channels * (pixels + 2 * side * side) * dtype.itemsize
        yield float(channels), 2.0 * kernel * channels**2 * pixels, needed, make


Cases = Callable[[torch.device, torch.dtype], Iterator[Case]]

CASES: Mapping[str, Cases] = {
    "matmul": _matmuls,
    "attention": _attentions,
    "convolution": _convolutions,
    "small_convolution": lambda device, dtype: _convolutions(device, dtype, SMALL_CONVOLUTIONS),
    "flat_convolution": lambda device, dtype: _convolutions(device, dtype, flat=True),
}
