"""The building blocks of the Wan video VAEs. Parameter names are those of the published files.

Every tensor is ``[batch, channels, frames, height, width]``. Blocks that look back in time take a
``CausalState`` or None; None means that the tensor is the whole clip, and nothing is remembered.

With gradients or under ``torch.compile`` the blocks are plain functional torch. Otherwise they save
memory: normalisation and SiLU are written straight into the buffer that the next convolution reads,
behind its past frames, so that no activation is ever copied just to be padded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from wan_core.models.vae.state import CausalState

PAST = 2  # frames that a kernel of three frames sees before its own
SMALLEST = 1e-12  # below it a channel vector counts as zero

_plain: ContextVar[bool] = ContextVar("_plain", default=False)


@contextmanager
def plain_arithmetic() -> Iterator[None]:
    """Compute as with gradients: op for op what upstream does, and on a CPU with its very bits.

    Saving memory changes no formula, but vectorised functions round the last elements of a row
    differently when rows lie in a wider buffer. References that amplify rounding need this.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def functional() -> bool:
    """Whether to compute without writing in place: autograd and compilers want it so."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling() or _plain.get()


class CausalConv3d(nn.Conv3d):
    """A 3-D convolution whose input brings its past frames along (see ``with_past``).

    Padded in height and width by the convolution itself and not at all in time.
    """

    slot: int  # place of its past frames in the state; numbered by the network

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1
    ) -> None:
        _, height, width = kernel
        padding = (0, height // 2, width // 2)
        super().__init__(inputs, outputs, kernel, (stride, 1, 1), padding)


def number_slots(network: nn.Module) -> int:
    """Give every causal convolution its slot; return how many there are."""
    convolutions = [m for m in network.modules() if isinstance(m, CausalConv3d)]
    for slot, convolution in enumerate(convolutions):
        convolution.slot = slot
    return len(convolutions)


def past_of(conv: CausalConv3d, state: CausalState | None) -> Tensor | None:
    """The frames remembered for ``conv``, or None at the start of a clip."""
    return None if state is None else state.slots[conv.slot]


def with_past(x: Tensor, conv: CausalConv3d, state: CausalState | None) -> Tensor:
    """``x`` behind the two frames before it (zeros at the start); the state keeps its last two."""
    past = past_of(conv, state)
    seen = F.pad(x, (0, 0, 0, 0, PAST, 0)) if past is None else torch.cat((past, x), dim=2)
    del past
    if state is not None:
        state.remember(conv.slot, seen, PAST)
    return seen


def normed_with_past(
    x: Tensor, norm: RMSNorm, conv: CausalConv3d, state: CausalState | None
) -> Tensor:
    """``with_past(silu(norm(x)))``, made in one buffer when nothing forbids writing in place."""
    if functional():
        return with_past(F.silu(norm(x)), conv, state)
    batch, channels, frames, height, width = x.shape
    seen = x.new_empty(batch, channels, PAST + frames, height, width)
    past = past_of(conv, state)
    seen[:, :, :PAST] = 0 if past is None else past
    del past
    F.silu(norm(x, out=seen[:, :, PAST:]), inplace=True)
    if state is not None:
        state.remember(conv.slot, seen, PAST)
    return seen


def per_frame(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a 2-D module to every frame; one after the other where memory counts."""
    batch, _, frames, _, _ = x.shape
    if functional() or frames == 1:
        y = module(rearrange(x, "b c f h w -> (b f) c h w"))
        whole: Tensor = rearrange(y, "(b f) c h w -> b c f h w", b=batch)
        return whole
    first = module(x[:, :, 0])
    out: Tensor = first.new_empty(*first.shape[:2], frames, *first.shape[2:])
    out[:, :, 0] = first
    del first
    for index in range(1, frames):
        out[:, :, index] = module(x[:, :, index])
    return out


class RMSNorm(nn.Module):
    """``x / max(|x|, 1e-12) * sqrt(channels) * gamma``, the norm taken over channels.

    For half dtypes it is taken in float32: in theirs 1e-12 would become 0 (and an all-zero pixel
    NaN), and the norm itself could overflow.
    """

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * axes))

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Normalise ``x``, into ``out`` when one is given."""
        root: float = x.shape[1] ** 0.5
        wide = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=wide)
        gamma = self.gamma.to(x.dtype)
        if out is None:
            unit: Tensor = x / length.clamp_min(SMALLEST)
            return (unit * root).to(x.dtype) * gamma
        length.clamp_min_(SMALLEST)
        if x.dtype == wide:
            torch.div(x, length, out=out).mul_(root)  # upstream's order, hence its bits
        else:
            torch.div(x, length.div_(root), out=out)  # one rounding to half less
        return out.mul_(gamma)


class NormedConvolutions(nn.Sequential):
    """Norm, SiLU and causal convolution, once or several times; other members do nothing."""

    def forward(self, x: Tensor, state: CausalState | None = None) -> Tensor:
        for layer in self:
            if isinstance(layer, RMSNorm):
                norm = layer
            elif isinstance(layer, CausalConv3d):
                # two statements, so that what was normed is gone while the convolution runs
                x = normed_with_past(x, norm, layer, state)
                x = layer(x)
        return x


class Head(NormedConvolutions):
    """How encoder and decoder end."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(RMSNorm(inputs, 3), nn.SiLU(), CausalConv3d(inputs, outputs, (3, 3, 3)))


class ResidualBlock(nn.Module):
    """``shortcut(x) + conv(silu(norm(conv(silu(norm(x))))))``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = NormedConvolutions(
            RMSNorm(inputs, 3),
            nn.SiLU(),
            CausalConv3d(inputs, outputs, (3, 3, 3)),
            RMSNorm(outputs, 3),
            nn.SiLU(),
            nn.Identity(),  # upstream's dropout, which is never used
            CausalConv3d(outputs, outputs, (3, 3, 3)),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)

    @property
    def first_convolution(self) -> CausalConv3d:
        """The first of its two; it has seen what the block has seen."""
        first = self.residual[2]
        assert isinstance(first, CausalConv3d)
        return first

    def forward(self, x: Tensor, state: CausalState | None = None) -> Tensor:
        y: Tensor = self.residual(x, state)
        short = self.shortcut(x)
        return y + short if functional() else y.add_(short)


class AttentionBlock(nn.Module):
    """Self-attention over the positions of each frame: one head, no mask, nothing across time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels, 2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.proj.weight)

    def forward(self, x: Tensor, state: CausalState | None = None) -> Tensor:
        return per_frame(self.attend, x)

    def attend(self, x: Tensor) -> Tensor:
        """Attention of single frames, ``[batch, channels, height, width]``.

        Widths above 256 have no flash kernel; where SDPA falls back to plain matrices it holds the
        scores of all frames it gets, which is why ``forward`` hands them over one by one.
        """
        qkv = rearrange(self.to_qkv(self.norm(x)), "b (n c) h w -> n b 1 (h w) c", n=3)
        # fused attention kernels want the channels side by side in memory
        q, k, v = qkv.contiguous()
        y = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(rearrange(y, "b 1 p c -> b c p").reshape(x.shape))
        return x + projected


class Downsample(nn.Module):
    """Halves height and width; with ``time`` then also the frames after the clip's first."""

    def __init__(self, channels: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2)
        )
        self.time_conv = CausalConv3d(channels, channels, (3, 1, 1), stride=2) if time else None

    def forward(self, x: Tensor, state: CausalState | None = None) -> Tensor:
        x = per_frame(self.resample, x)
        conv = self.time_conv
        if conv is None:
            return x
        past = past_of(conv, state)
        seen = x if past is None else torch.cat((past, x), dim=2)
        if state is not None:
            state.remember(conv.slot, seen, 1)
        # the clip's first frame passes as it is; a later result joins two new frames and one before
        passed = x[:, :, : 1 if past is None else 0]
        if seen.shape[2] < 3:
            return passed
        joined: Tensor = conv(seen)
        return joined if past is not None else torch.cat((passed, joined), dim=2)


class Upsample(nn.Module):
    """Doubles height and width; with ``time`` before it the frames after the clip's first."""

    def __init__(self, channels: int, outputs: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(channels, outputs, 3, padding=1),
        )
        self.time_conv = CausalConv3d(channels, 2 * channels, (3, 1, 1)) if time else None

    def forward(self, x: Tensor, state: CausalState | None = None) -> Tensor:
        if self.time_conv is not None:
            x = self._double(x, self.time_conv, state)
        return per_frame(self.resample, x)

    @staticmethod
    def _double(x: Tensor, conv: CausalConv3d, state: CausalState | None) -> Tensor:
        # the clip's first frame passes as it is and is never seen by the convolution
        passed = 0 if past_of(conv, state) is not None else 1
        first, rest = x[:, :, :passed], x[:, :, passed:]
        seen = with_past(rest, conv, state)
        if rest.shape[2] == 0:
            return x
        y = rearrange(conv(seen), "b (two c) f h w -> b c (f two) h w", two=2)
        return torch.cat((first, y), dim=2) if passed else y
