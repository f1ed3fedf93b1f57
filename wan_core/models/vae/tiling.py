"""Spatial tiling as published elsewhere. **Inexact**: pixels differ from an untiled run.

The attention in the middle of the network sees a whole frame, and every convolution pads with zeros
at the border, so tiles never know their surroundings; blending only hides the seams. The streamed
VAE needs no tiling for long clips, and ``at_once`` lowers its peak exactly. Nothing here is used
unless it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

import attrs
import torch
from torch import Tensor

from wan_core.models.vae.model import WanVAE
from wan_core.models.vae.stages import fold, unfold

Pair = tuple[int, int]


def _pair(values: Iterable[int]) -> Pair:
    height, width = values
    return height, width


class Tiling(Protocol):
    """A way to code a clip tile by tile. ``exact`` is what plans print."""

    exact: ClassVar[bool]

    def decode(self, vae: WanVAE, latents: Tensor) -> Tensor:
        """Frames ``[batch, 3, frames, height, width]``, float32 on the CPU, not clamped."""

    def encode(self, vae: WanVAE, video: Tensor) -> Tensor:
        """Latents (means), float32 on the CPU."""


@attrs.frozen
class RampTiling:
    """Overlapping tiles, weighted by ramps and averaged. Inexact.

    kijai/ComfyUI-WanVideoWrapper ``tiled_decode`` / ``tiled_encode`` (after DiffSynth-Studio).

    Attributes:
        tile, stride: (height, width) in latents; the stride is smaller than the tile.
    """

    tile: Pair = attrs.field(default=(34, 34), converter=_pair)
    stride: Pair = attrs.field(default=(18, 16), converter=_pair)
    exact: ClassVar[bool] = False

    def __attrs_post_init__(self) -> None:
        if any(not 0 < stride < tile for tile, stride in zip(self.tile, self.stride, strict=True)):
            raise ValueError(f"stride {self.stride} must be smaller than tile {self.tile}")

    def decode(self, vae: WanVAE, latents: Tensor) -> Tensor:
        """Frames of all tiles, averaged; not clamped."""
        return self._blend(latents, lambda part: _decoded(vae, part), 1, vae.config.stride[1])

    def encode(self, vae: WanVAE, video: Tensor) -> Tensor:
        """Latents of all tiles, averaged."""
        return self._blend(video, lambda part: _encoded(vae, part), vae.config.stride[1], 1)

    def _blend(
        self, source: Tensor, run: Callable[[Tensor], Tensor], inside: int, outside: int
    ) -> Tensor:
        """``inside`` and ``outside``: samples per latent on the side of source and result."""
        size = (source.shape[3] // inside, source.shape[4] // inside)
        total: Tensor | None = None
        weights = torch.zeros(size[0] * outside, size[1] * outside)
        for top in _starts(size[0], self.tile[0], self.stride[0]):
            for left in _starts(size[1], self.tile[1], self.stride[1]):
                down = slice(top, min(top + self.tile[0], size[0]))
                across = slice(left, min(left + self.tile[1], size[1]))
                result = run(source[:, :, :, _times(down, inside), _times(across, inside)])
                if total is None:
                    total = result.new_zeros(*result.shape[:3], *weights.shape)
                mask = torch.minimum(
                    self._ramp(down, size[0], 0, outside)[:, None],
                    self._ramp(across, size[1], 1, outside)[None],
                )
                place = (..., _times(down, outside), _times(across, outside))
                total[place] += result * mask
                weights[place] += mask
        assert total is not None
        return total.div_(weights)

    def _ramp(self, span: slice, size: int, axis: int, scale: int) -> Tensor:
        border = (self.tile[axis] - self.stride[axis]) * scale
        weight = torch.ones((span.stop - span.start) * scale)
        rise = (torch.arange(border) + 1) / border
        if span.start > 0:
            weight[:border] = rise
        if span.stop < size:
            weight[-border:] = rise.flip(0)
        return weight


@attrs.frozen
class InPlaceTiling:
    """Tiles at every multiple of the stride, each faded into its blended neighbours. Inexact.

    huggingface/diffusers ``AutoencoderKLWan.tiled_decode`` / ``tiled_encode``. Clips no larger than
    one tile are coded whole.

    Where the network folds pixels into channels (Wan 2.2), tiles are blended folded; encoding counts
    ``tile`` and ``stride`` in folded pixels, so that tiles are twice as large as for decoding.

    Attributes:
        tile, stride: (height, width) in pixels, multiples of the VAE's stride.
    """

    tile: Pair = attrs.field(default=(256, 256), converter=_pair)
    stride: Pair = attrs.field(default=(192, 192), converter=_pair)
    exact: ClassVar[bool] = False

    def __attrs_post_init__(self) -> None:
        if any(not 0 < stride <= tile for tile, stride in zip(self.tile, self.stride, strict=True)):
            raise ValueError(f"stride {self.stride} must not be larger than tile {self.tile}")

    def decode(self, vae: WanVAE, latents: Tensor) -> Tensor:
        """Frames of all tiles, blended; not clamped."""
        scale, patch = vae.config.stride[1], vae.config.patch

        def decode(part: Tensor) -> Tensor:
            return fold(_decoded(vae, part), patch)

        return unfold(self._blend(latents, decode, scale, 1, scale // patch), patch)

    def encode(self, vae: WanVAE, video: Tensor) -> Tensor:
        """Latents of all tiles, blended."""
        patch = vae.config.patch
        scale = vae.config.stride[1] // patch

        def encode(part: Tensor) -> Tensor:
            return _encoded(vae, unfold(part, patch))

        return self._blend(fold(video, patch), encode, scale, scale, 1)

    def _blend(
        self,
        source: Tensor,
        run: Callable[[Tensor], Tensor],
        scale: int,
        inside: int,
        outside: int,
    ) -> Tensor:
        """``inside`` and ``outside``: samples per latent on the side of source and result."""
        if any(pixels % scale for pixels in (*self.tile, *self.stride)):
            raise ValueError(f"tile {self.tile}, stride {self.stride}: not multiples of {scale}")
        tile = [pixels // scale for pixels in self.tile]
        stride = [pixels // scale for pixels in self.stride]
        size = (source.shape[3] // inside, source.shape[4] // inside)
        if size[0] <= tile[0] and size[1] <= tile[1]:
            return run(source)
        overlap = [(a - b) * outside for a, b in zip(tile, stride, strict=True)]
        keep = (..., slice(stride[0] * outside), slice(stride[1] * outside))
        rows: list[Tensor] = []
        above: list[Tensor] = []
        for top in range(0, size[0], stride[0]):
            row: list[Tensor] = []
            for left in range(0, size[1], stride[1]):
                down, across = slice(top, top + tile[0]), slice(left, left + tile[1])
                part = run(source[..., _times(down, inside), _times(across, inside)])
                if above:
                    _fade(above[len(row)], part, overlap[0], axis=3)
                if row:
                    _fade(row[-1], part, overlap[1], axis=4)
                row.append(part)
            rows.append(torch.cat([part[keep] for part in row], dim=4))
            above = row
        whole = torch.cat(rows, dim=3)
        return whole[..., : size[0] * outside, : size[1] * outside]


def _decoded(vae: WanVAE, latents: Tensor) -> Tensor:
    return torch.cat([part.float().cpu() for part in vae.decode_stream(latents)], dim=2)


def _encoded(vae: WanVAE, video: Tensor) -> Tensor:
    return torch.cat([mean.float().cpu() for mean, _ in vae.encode_stream(video)], dim=2)


def _starts(size: int, tile: int, stride: int) -> list[int]:
    """Multiples of the stride, without those whose predecessor already reaches the border."""
    return [s for s in range(0, size, stride) if s < stride or s - stride + tile < size]


def _times(span: slice, scale: int) -> slice:
    return slice(span.start * scale, span.stop * scale)


def _fade(before: Tensor, after: Tensor, overlap: int, axis: int) -> None:
    """Fade the first ``overlap`` rows or columns of ``after`` in from the last of ``before``."""
    overlap = min(before.shape[axis], after.shape[axis], overlap)
    shape = [1] * after.ndim
    shape[axis] = overlap
    share = (torch.arange(overlap) / overlap).view(shape)
    old = before.narrow(axis, before.shape[axis] - overlap, overlap)
    new = after.narrow(axis, 0, overlap)
    new.copy_(old * (1 - share) + new * share)
