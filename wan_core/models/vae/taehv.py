"""The tiny auto-encoders for previews (TAEHV): convolutions of frames that see one frame back.

Made by madebyollin; the names are those of its files. A nineteenth of the operations of the Wan 2.1 VAE,
and one in 160 of those of Wan 2.2; for looking at, as the result is not what the VAE gives.

Inside, every tensor is ``[batch, frames, channels, height, width]`` and pixels lie in [0, 1]; outside
they are as everywhere else: ``[batch, channels, frames, …]``, pixels in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from wan_core.models.vae.constants import denormalised, normalised
from wan_core.models.vae.descriptor import COLOURS, VaeDescriptor
from wan_core.models.vae.state import StreamState
from wan_core.models.vae.streams import regroup
from wan_core.models.vae.taehv_files import TaehvConfig

LARGEST = 3.0  # latents are bent to stay within it
TOO_EARLY = 3  # frames that the first latent gives before the clip begins


class TaehvState(StreamState):
    """The last input frame of every block that sees one."""


class Bend(nn.Module):
    """``3 * tanh(x / 3)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / LARGEST) * LARGEST


class MemBlock(nn.Module):
    """Three convolutions over a frame and the one before it, and the frame added."""

    slot: int

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor, state: TaehvState | None = None) -> Tensor:
        """``x`` is ``[batch, frames, …]``; the state keeps its last frame."""
        past = None if state is None else state.slots[self.slot]
        first = torch.zeros_like(x[:, :1]) if past is None else past
        if state is not None:
            state.slots[self.slot] = x[:, -1:].clone()
        before = torch.cat((first, x[:, :-1]), dim=1)
        return F.relu(_framewise(self.conv, torch.cat((x, before), dim=2)) + x)


class TPool(nn.Module):
    """``stride`` frames become one."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels * stride, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return _framewise(self.conv, rearrange(x, "b (f s) c h w -> b f (s c) h w", s=self.stride))


class TGrow(nn.Module):
    """A frame becomes ``stride`` of them."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels, channels * stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        grown = _framewise(self.conv, x)
        frames: Tensor = rearrange(grown, "b f (s c) h w -> b (f s) c h w", s=self.stride)
        return frames


class _Layers(nn.Sequential):
    """Layers in a row: those that know of frames get them, the others frame by frame."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        blocks = [layer for layer in layers if isinstance(layer, MemBlock)]
        for slot, block in enumerate(blocks):
            block.slot = slot
        self.slots = len(blocks)

    def new_state(self) -> TaehvState:
        """The state before the first frame."""
        return TaehvState([None] * self.slots)

    def forward(self, x: Tensor, state: TaehvState | None = None) -> Tensor:
        for layer in self:
            if isinstance(layer, MemBlock):
                x = layer(x, state)
            else:
                x = layer(x) if isinstance(layer, TPool | TGrow) else _framewise(layer, x)
        return x


def _decoder(config: TaehvConfig) -> _Layers:
    widths = config.decoder_widths
    layers: list[nn.Module] = [Bend(), _conv(config.z_dim, widths[0]), nn.ReLU()]
    for width, following, stride in zip(widths, widths[1:], (1, 2, 2), strict=False):
        layers += [MemBlock(width) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), TGrow(width, stride)]
        layers += [_conv(width, following, bias=False)]
    return _Layers(*layers, nn.ReLU(), _conv(widths[-1], COLOURS * config.patch**2))


def _encoder(config: TaehvConfig, width: int) -> _Layers:
    layers: list[nn.Module] = [_conv(COLOURS * config.patch**2, width), nn.ReLU()]
    for stride in (2, 2, 1):
        layers += [TPool(width, stride), _conv(width, width, stride=2, bias=False)]
        layers += [MemBlock(width) for _ in range(3)]
    return _Layers(*layers, _conv(width, config.z_dim))


class Taehv(nn.Module):
    """Latents to frames for looking at, and back, as they come and at constant memory.

    Args:
        config: the sizes.
        latents: the VAE whose own latents it works on, which differ from those of the transformer by
            the VAE's constants; None for a network that takes the transformer's.
    """

    def __init__(self, config: TaehvConfig, latents: VaeDescriptor | None = None) -> None:
        super().__init__()
        self.config = config
        self.mean = None if latents is None else latents.mean
        self.std = None if latents is None else latents.std
        width = config.encoder_width
        self.encoder = None if width is None else _encoder(config, width)
        self.decoder = _decoder(config)

    def decoder_state(self) -> TaehvState:
        """A fresh state for ``decode_chunk``."""
        return self.decoder.new_state()

    def decode(self, latents: Tensor) -> Tensor:
        """A whole clip at once; see ``decode_chunk``."""
        return self.decode_chunk(latents, None)

    def decode_chunk(self, latents: Tensor, state: TaehvState | None) -> Tensor:
        """Decode the next latents of a clip (all of it without a state) and change the state.

        Args:
            latents: ``[batch, channels, latent frames, height, width]`` as the transformer sees them.

        Returns:
            ``[batch, 3, frames, height, width]`` in [-1, 1]: 4 frames per latent; for the first
            latent of the clip 1 frame.
        """
        begins = state is None or not state.started
        x = self._enter(denormalised(latents, self.mean, self.std)).transpose(1, 2)
        pixels = F.pixel_shuffle(self.decoder(x, state), self.config.patch)
        frames = pixels[:, TOO_EARLY if begins else 0 :].clamp(0, 1)
        return frames.transpose(1, 2) * 2 - 1

    @torch.no_grad()
    def decode_stream(
        self, latents: Tensor, chunk: int = 1, *, state: TaehvState | None = None
    ) -> Iterator[Tensor]:
        """Decode ``chunk`` latents at a time and hand out frames as they come, keeping none.

        Args:
            latents: on any device.
            state: the state of a stream to continue; it is changed.
        """
        if chunk < 1:
            raise ValueError(f"chunk ({chunk}) must be at least 1")
        state = self.decoder_state() if state is None else state
        for part in torch.split(latents, chunk, dim=2):
            yield self.decode_chunk(part, state)

    def encode(self, video: Tensor) -> Tensor:
        """Encode a whole clip; its last frame is repeated to make a multiple of 4.

        Args:
            video: ``[batch, 3, frames, height, width]`` in [-1, 1].

        Returns:
            ``[batch, channels, frames / 4 rounded up, …]``, latents as the transformer sees them.

        Raises:
            ValueError: no frame, height or width no multiple of the stride, or the network only
                decodes.
        """
        return self._encode(video, None)

    @torch.no_grad()
    def encode_stream(self, video: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode a clip, which may come in pieces of any length, 4 frames at a time."""
        pieces = (video,) if isinstance(video, Tensor) else video
        state: TaehvState | None = None
        for part in regroup(pieces, first=4, then=4):
            if state is None and self.encoder is not None:
                state = self.encoder.new_state()
            yield self._encode(part, state)

    def _encode(self, video: Tensor, state: TaehvState | None) -> Tensor:
        if self.encoder is None:
            raise ValueError("this tiny preview VAE only decodes")
        time, down, across = self.config.stride
        frames, height, width = video.shape[2:]
        if not frames or height % down or width % across:
            raise ValueError(f"video {tuple(video.shape)} does not fit stride {self.config.stride}")
        x = (self._enter(video).transpose(1, 2) + 1) / 2
        if frames % time:
            x = torch.cat((x, x[:, -1:].repeat_interleave(time - frames % time, dim=1)), dim=1)
        latents = self.encoder(F.pixel_unshuffle(x, self.config.patch), state)
        return normalised(latents.transpose(1, 2), self.mean, self.std)

    def _enter(self, x: Tensor) -> Tensor:
        weight = self.decoder[1].weight
        assert isinstance(weight, Tensor)
        return x.to(weight.device, weight.dtype)


def _conv(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


def _framewise(layer: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = layer(x.flatten(0, 1))
    return y.reshape(*x.shape[:2], *y.shape[1:])
