"""The Wan video auto-encoders: whole clips for training, streams with explicit state for use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wan_core.models.vae.constants import constants, denormalised, normalised
from wan_core.models.vae.descriptor import VaeConfig, VaeDescriptor
from wan_core.models.vae.network import Decoder, Encoder
from wan_core.models.vae.stages import fold, unfold
from wan_core.models.vae.state import DecoderState, EncoderState
from wan_core.models.vae.streams import regroup

if TYPE_CHECKING:
    from wan_core.models.vae.tiling import Tiling


class WanVAE(nn.Module):
    """Video ``[batch, 3, frames, height, width]`` in [-1, 1] to latents and back.

    Parameter names are the official ones. *Latents* are always normalised by ``mean`` and ``std``,
    as the transformer sees them; without constants they are what the network itself gives.

    ``encode`` and ``decode`` take whole clips, are differentiable and compile. ``encode_chunk`` and
    ``decode_chunk`` take a clip in pieces and carry an explicit state: for any cutting they equal
    the whole clip up to rounding, and the same pieces give the same bits however the calls are
    grouped. ``encode_stream`` and ``decode_stream`` are loops over them whose memory does not grow
    with the clip. Of a clip only ``1 + 4n`` frames count (in general 1 + stride * n): ``encode``
    and ``encode_stream`` drop the frames left over at its end, ``encode_chunk`` refuses them.

    Args:
        config: the network.
        mean, std: constants per latent channel; both or neither.

    Attributes:
        at_once: what ``encode_stream`` and ``decode_stream`` take for theirs when they are given none.
        tiling: the way in which ``decode_stream`` decodes whole clips tile by tile; None = it does not.
    """

    def __init__(
        self,
        config: VaeConfig,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ValueError("mean and std belong together")
        self.config = config
        # plain numbers, not buffers: they stay exact in every dtype and exist on every device
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)
        self.at_once: int | None = None
        self.tiling: Tiling | None = None
        self.encoder = Encoder(config)
        self.conv1 = nn.Conv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.conv2 = nn.Conv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config)

    @classmethod
    def of(cls, descriptor: VaeDescriptor) -> WanVAE:
        """The network of a descriptor, with its constants."""
        return cls(descriptor.config, descriptor.mean, descriptor.std)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """See :meth:`VaeConfig.latent_shape`."""
        return self.config.latent_shape(frames, height, width)

    # constants

    def normalise(self, raw: Tensor) -> Tensor:
        """Raw network means to latents (float32 where there are constants)."""
        return normalised(raw, self.mean, self.std)

    def denormalise(self, latents: Tensor) -> Tensor:
        """Latents to what the network itself knows; the inverse of ``normalise``."""
        return denormalised(latents, self.mean, self.std)

    # encoding

    def encoder_state(self) -> EncoderState:
        """A fresh state for ``encode_chunk``."""
        return self.encoder.new_state()

    def moments(
        self, video: Tensor, state: EncoderState | None = None, *, at_once: int | None = None
    ) -> Tensor:
        """Raw means and log-variances ``[batch, 2 * channels, …]`` of a clip or its next chunk."""
        _, down, across = self.config.stride
        if not video.shape[2] or video.shape[3] % down or video.shape[4] % across:
            raise ValueError(f"video {tuple(video.shape)} does not fit stride {self.config.stride}")
        folded = fold(self._enter(video), self.config.patch)
        moments: Tensor = self.conv1(self.encoder(folded, state, at_once))
        return moments

    def encode(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a whole clip at once; frames left over after ``1 + 4n`` are dropped.

        Args:
            video: ``[batch, 3, frames, height, width]`` in [-1, 1].

        Returns:
            mean and log-variance of the latents, each ``[batch, channels, latent frames, …]``,
            height and width divided by the stride. The mean is what pipelines use; a sample would be
            mean + exp(log_variance / 2) * noise.

        Raises:
            ValueError: no frame, or height or width no multiple of the stride.
        """
        frames, stride = video.shape[2], self.config.stride[0]
        return self._split(self.moments(video[:, :, : (frames - 1) // stride * stride + 1]))

    def encode_chunk(
        self, video: Tensor, state: EncoderState, *, at_once: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode the next frames of a clip and change the state: ``1 + 4n`` first, then ``4n``.

        Args:
            at_once: frames that the large early blocks hold at a time; fewer need less memory and
                differ by rounding.

        Returns:
            as ``encode``, for this chunk.

        Raises:
            ValueError: a number of frames that is not allowed, or a size no multiple of the stride.
        """
        frames, stride = video.shape[2], self.config.stride[0]
        if frames < 1 or (frames - (not state.started)) % stride:
            raise ValueError(
                f"{frames} frames: the first chunk has 1 + {stride}n, others {stride}n"
            )
        return self._split(self.moments(video, state, at_once=at_once))

    @torch.no_grad()
    def encode_stream(
        self, video: Tensor | Iterable[Tensor], chunk: int = 4, *, at_once: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Encode a clip, which may come in pieces of any length, at constant memory.

        The network gets 1 frame, then ``chunk`` (a multiple of 4) at a time; frames left over after
        ``1 + 4n`` are dropped at the end. Frames are moved to the network's device and dtype.

        Yields:
            mean and log-variance of the next latents.
        """
        stride = self.config.stride[0]
        if chunk < stride or chunk % stride:
            raise ValueError(f"chunk is {chunk}; it must be a multiple of {stride}")
        state = self.encoder_state()
        pieces = (video,) if isinstance(video, Tensor) else video
        for part in regroup(pieces, first=1, then=chunk):
            if state.started:  # only the clip's last part can be ragged
                part = part[:, :, : part.shape[2] // stride * stride]
            if part.shape[2]:
                yield self.encode_chunk(part, state, at_once=at_once or self.at_once)

    # decoding

    def decoder_state(self) -> DecoderState:
        """A fresh state for ``decode_chunk``."""
        return self.decoder.new_state()

    def decode(self, latents: Tensor) -> Tensor:
        """Decode a whole clip at once.

        Args:
            latents: ``[batch, channels, latent frames, height, width]``.

        Returns:
            ``[batch, 3, 1 + 4 * (latent frames - 1), …]``, height and width times the stride, not
            clamped to [-1, 1].
        """
        return self._pixels(self.decoder(self._latent(latents)))

    def decode_chunk(self, latents: Tensor, state: DecoderState) -> Tensor:
        """Decode the next latents of a clip (any number of them) and change the state.

        Returns:
            4 frames per latent, not clamped; for the first latent of the clip 1 frame.
        """
        return self._pixels(self.decoder(self._latent(latents), state))

    @torch.no_grad()
    def decode_stream(
        self,
        latents: Tensor,
        chunk: int = 1,
        *,
        at_once: int | None = None,
        state: DecoderState | None = None,
    ) -> Iterator[Tensor]:
        """Decode ``chunk`` latents at a time and hand out frames as they come, keeping none.

        Peak memory does not depend on the number of frames. Latents may lie on any device; what is
        needed is moved to the network's device and dtype.

        Args:
            chunk: latents per step.
            at_once: frames that a block holds at a time, 1 to 4 * ``chunk``; None for all of a
                step. Fewer need less memory, take more time and differ by rounding.
            state: the state of a stream to continue; it is changed.

        Yields:
            ``[batch, 3, frames, height, width]`` on the network's device, not clamped; with
            ``at_once`` so many frames or fewer, else 4 * ``chunk`` (the first time 3 fewer).
        """
        if chunk < 1 or (at_once is not None and at_once < 1):
            raise ValueError(f"chunk ({chunk}) and at_once ({at_once}) must be at least 1")
        at_once = at_once or self.at_once
        if self.tiling is not None and state is None:
            yield from torch.split(self._tiled(self.tiling, latents), self.config.stride[0], dim=2)
            return
        state = self.decoder_state() if state is None else state
        for start in range(0, latents.shape[2], chunk):
            raw = self._latent(latents[:, :, start : start + chunk])
            if at_once is None:
                yield self._pixels(self.decoder(raw, state))
            else:
                yield from map(self._pixels, self.decoder.pieces(raw, state, at_once))

    # plumbing

    def _tiled(self, tiling: Tiling, latents: Tensor) -> Tensor:
        self.tiling = None  # a tile is a clip that is decoded whole
        try:
            return tiling.decode(self, latents)
        finally:
            self.tiling = tiling

    def _enter(self, x: Tensor) -> Tensor:
        return x.to(self.conv2.weight.device, self.conv2.weight.dtype)

    def _latent(self, latents: Tensor) -> Tensor:
        raw: Tensor = self.conv2(self._enter(self.denormalise(latents)))
        return raw

    def _pixels(self, frames: Tensor) -> Tensor:
        return unfold(frames, self.config.patch)

    def _split(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = moments.chunk(2, dim=1)
        known = constants(self.mean, self.std, moments)
        if known is not None:
            log_variance = log_variance + 2 * known[1].log()
        return self.normalise(mean), log_variance
