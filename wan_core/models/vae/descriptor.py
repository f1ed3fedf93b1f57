"""What a video auto-encoder is, said without torch: its configuration, constants and size rules.

Numbers of the published Wan 2.1 VAE: Wan-Video/Wan2.1, ``wan/modules/vae.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

WAN21_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN21_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


def _flags(values: Iterable[bool]) -> tuple[bool, ...]:
    return tuple(values)


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


@attrs.frozen
class VaeConfig:
    """Widths and depth of the Wan 2.1 network; the defaults are the published ones.

    Attributes:
        dim: width of the first stage; stage ``i`` is ``dim * dim_mult[i]`` wide.
        z_dim: latent channels.
        dim_mult: one entry per stage; every stage but the last halves height and width.
        num_res_blocks: residual blocks per encoder stage (decoder stages have one more).
        temporal_downsample: for each halving, whether it also halves time.
        patch: pixels per side folded into channels before the encoder (2 in the Wan 2.2 network).
    """

    dim: int = 96
    z_dim: int = 16
    dim_mult: tuple[int, ...] = attrs.field(default=(1, 2, 4, 4), converter=_ints)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = attrs.field(
        default=(False, True, True), converter=_flags
    )
    patch: int = 1

    def __attrs_post_init__(self) -> None:
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise ValueError("temporal_downsample needs one entry less than dim_mult")

    @classmethod
    def from_official(cls, config: Mapping[str, Any]) -> VaeConfig:
        """From upstream's argument names (``temperal_downsample``, …); unknown ones are ignored."""
        return cls(
            dim=config["dim"],
            z_dim=config["z_dim"],
            dim_mult=config["dim_mult"],
            num_res_blocks=config["num_res_blocks"],
            temporal_downsample=config["temperal_downsample"],
        )

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> VaeConfig:
        """From the tensors of a file under official names; the encoder says it all.

        Raises:
            KeyError: no Wan 2.1 encoder is in there.
        """
        dim = shapes["encoder.conv1.weight"][0]
        widths: list[int] = []  # of each stage
        halves_time: list[bool] = []  # between the stages
        residuals = index = 0
        while True:
            block = f"encoder.downsamples.{index}."
            if block + "residual.2.weight" in shapes:
                residuals += 1
                widths[len(halves_time) :] = [shapes[block + "residual.2.weight"][0]]
            elif block + "resample.1.weight" in shapes:
                halves_time.append(block + "time_conv.weight" in shapes)
            else:
                break
            index += 1
        return cls(
            dim=dim,
            z_dim=shapes["conv2.weight"][0],
            dim_mult=[width // dim for width in widths],
            num_res_blocks=residuals // len(widths),
            temporal_downsample=halves_time,
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
