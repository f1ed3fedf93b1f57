"""What a video auto-encoder is, said without torch: its configuration, constants and size rules.

Numbers of the published VAEs: Wan-Video/Wan2.1 ``wan/modules/vae.py``, Wan-Video/Wan2.2
``wan/modules/vae2_2.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

COLOURS = 3

PREVIEW_SLOT = "preview_vae"
"""What families call the tiny VAE that previews are decoded with."""

WAN21_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN21_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
WAN22_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557,
    -0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825,
    -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230,
    -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
    0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
WAN22_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013,
    0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
    0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
    0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
    0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


def _flags(values: Iterable[bool]) -> tuple[bool, ...]:
    return tuple(values)


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


@attrs.frozen
class VaeConfig:
    """Widths and depth of a network; the defaults are those of the published Wan 2.1 VAE.

    Attributes:
        dim: width of the encoder's first stage; stage ``i`` is ``dim * dim_mult[i]`` wide.
        z_dim: latent channels.
        dim_mult: one entry per stage; every stage but the last halves height and width.
        num_res_blocks: residual blocks per encoder stage (decoder stages have one more).
        temporal_downsample: for each halving, whether it also halves time.
        patch: pixels per side folded into channels before the encoder (2 in the Wan 2.2 network).
        shortcuts: the Wan 2.2 network: every stage is a block with a shortcut around it, and going up
            keeps the width, which Wan 2.1 halves.
        decoder_dim: as ``dim`` for the decoder; the same unless it is said.
    """

    dim: int = 96
    z_dim: int = 16
    dim_mult: tuple[int, ...] = attrs.field(default=(1, 2, 4, 4), converter=_ints)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = attrs.field(
        default=(False, True, True), converter=_flags
    )
    patch: int = 1
    shortcuts: bool = False
    decoder_dim: int = attrs.field(default=attrs.Factory(lambda self: self.dim, takes_self=True))

    def __attrs_post_init__(self) -> None:
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise ValueError("temporal_downsample needs one entry less than dim_mult")
        if self.patch < 1:
            raise ValueError("patch is the side of a square of pixels")
        if self.shortcuts:
            self._check_shortcuts()

    def _check_shortcuts(self) -> None:
        """A shortcut shares channels out evenly; widths that it can't share are no network."""
        down = [4 * (2 if time else 1) for time in self.temporal_downsample]
        shared = zip((1, *self.dim_mult), self.dim_mult, (*down, 1), strict=False)
        uneven = any(inputs * factor % outputs for inputs, outputs, factor in shared)
        up = self.dim_mult[::-1]
        repeated = zip((up[0], *up), up, down[::-1], strict=False)
        if uneven or any(outputs * factor % inputs for inputs, outputs, factor in repeated):
            raise ValueError(f"stages of {self.dim_mult} widths can't have shortcuts")

    @classmethod
    def from_official(cls, config: Mapping[str, Any]) -> VaeConfig:
        """From upstream's argument names (``temperal_downsample``, …); unknown ones are ignored.

        ``dec_dim`` is what only the Wan 2.2 network has.
        """
        newer = config.get("dec_dim") is not None
        return cls(
            dim=config["dim"],
            z_dim=config["z_dim"],
            dim_mult=config["dim_mult"],
            num_res_blocks=config["num_res_blocks"],
            temporal_downsample=config["temperal_downsample"],
            patch=2 if newer else 1,
            shortcuts=newer,
            decoder_dim=config["dec_dim"] if newer else config["dim"],
        )

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> VaeConfig:
        """From the tensors of a file under official names: what Wan 2.1, 2.2 and light ones are.

        Raises:
            KeyError: no encoder or no latents are in there.
            ValueError: no such network can be.
        """
        dim, inputs = shapes["encoder.conv1.weight"][:2]
        newer = "encoder.downsamples.0.downsamples.0.residual.2.weight" in shapes
        widths: list[int] = []  # of each stage
        halves_time: list[bool] = []  # between the stages
        residuals = 0
        for block in _encoder_blocks(shapes, newer):
            if block + "residual.2.weight" in shapes:
                residuals += 1
                widths[len(halves_time) :] = [shapes[block + "residual.2.weight"][0]]
            else:
                halves_time.append(block + "time_conv.weight" in shapes)
        mult = [width // dim for width in widths]
        return cls(
            dim=dim,
            z_dim=shapes["conv2.weight"][0],
            dim_mult=mult,
            num_res_blocks=residuals // len(widths),
            temporal_downsample=halves_time,
            patch=math.isqrt(inputs // COLOURS),
            shortcuts=newer,
            decoder_dim=shapes["decoder.conv1.weight"][0] // mult[-1] if newer else dim,
        )

    @property
    def stride(self) -> tuple[int, int, int]:
        """Pixels per latent in time, height and width."""
        space: int = self.patch * 2 ** (len(self.dim_mult) - 1)
        return (2 ** sum(self.temporal_downsample), space, space)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """``(channels, frames, height, width)`` of the latents of a clip of that many pixels.

        Of ``frames`` only ``1 + stride * n`` count; the encoder drops the rest at the end.

        Raises:
            ValueError: no frame, or height or width no multiple of the stride.
        """
        time, down, across = self.stride
        if frames < 1 or height % down or width % across:
            size = f"{frames} frames of {height} x {width}"
            raise ValueError(f"{size} do not fit the VAE's stride {self.stride}")
        return (self.z_dim, 1 + (frames - 1) // time, height // down, width // across)


def _encoder_blocks(shapes: Mapping[str, Sequence[int]], newer: bool) -> Iterator[str]:
    """The beginnings of the names of the encoder's residual and resampling blocks, in order."""
    for stage in itertools.count():
        found = False
        for index in itertools.count() if newer else (0,):
            inner = f".downsamples.{index}" if newer else ""
            block = f"encoder.downsamples.{stage}{inner}."
            if (
                block + "residual.2.weight" not in shapes
                and block + "resample.1.weight" not in shapes
            ):
                break
            found = True
            yield block
        if not found:
            return


@attrs.frozen
class VaeDescriptor:
    """A VAE as the rest of the system sees it: configuration, constants and size rules.

    Attributes:
        name: how plans and messages call it.
        config: the network.
        mean, std: per-channel constants; ``latents = (network mean - mean) / std``.
    """

    name: str
    config: VaeConfig
    mean: tuple[float, ...] = attrs.field(converter=_floats)
    std: tuple[float, ...] = attrs.field(converter=_floats)

    def __attrs_post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.config.z_dim:
            raise ValueError(f"{self.name}: mean and std need {self.config.z_dim} entries each")

    @property
    def channels(self) -> int:
        """Latent channels."""
        return self.config.z_dim

    @property
    def stride(self) -> tuple[int, int, int]:
        """Pixels per latent in time, height and width; the first frame is a latent of its own."""
        return self.config.stride

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """See :meth:`VaeConfig.latent_shape`."""
        return self.config.latent_shape(frames, height, width)


WAN21 = VaeDescriptor("wan2.1", VaeConfig(), WAN21_MEAN, WAN21_STD)
# LightX2V's "lightvae": every width is a quarter, latents and constants are those of the full VAE.
LIGHT21 = VaeDescriptor("lightvae-wan2.1", VaeConfig(dim=24), WAN21_MEAN, WAN21_STD)
# the 5 B model's: four times the area per latent, and three times the channels
WAN22 = VaeDescriptor(
    "wan2.2",
    VaeConfig(dim=160, z_dim=48, patch=2, shortcuts=True, decoder_dim=256),
    WAN22_MEAN,
    WAN22_STD,
)
