"""What a video will look like, straight from its latents: a linear map to colours, no file needed.

One small picture for every frame of latents, in a millisecond. The maps for Wan 2.1 and 2.2 were fitted
by others with the published VAEs (Comfy-Org/ComfyUI, ``comfy/latent_formats.py``); that of the bundled
toy model by ``zoo/fit_preview.py``, 22 dB on average on unseen clips: shapes and colours are told, no
more. Latents of other VAEs have no map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from wan_core.contract.errors import WeightsError
from wan_core.models.vae.descriptor import WAN21, WAN22, VaeConfig, VaeDescriptor

Colour = tuple[float, float, float]


def _colours(rows: Iterable[Colour]) -> tuple[Colour, ...]:
    return tuple((red, green, blue) for red, green, blue in rows)


@attrs.frozen
class Colours:
    """A linear map from latents to red, green and blue.

    Attributes:
        rows: what a latent channel adds, one row a channel.
        base: the colour of latents that are all zero.
    """

    rows: tuple[Colour, ...] = attrs.field(converter=_colours)
    base: Colour

    def __call__(self, latents: Tensor) -> Tensor:
        """``[batch, channels, frames, height, width]`` to ``[batch, 3, frames, height, width]``."""
        rows = torch.tensor(self.rows, dtype=torch.float32, device=latents.device)
        base = torch.tensor(self.base, dtype=torch.float32, device=latents.device)
        mixed = torch.einsum("bcfhw,cr->brfhw", latents.float(), rows)
        return (mixed + base.view(-1, 1, 1, 1)).clamp(-1, 1)


def latent_preview(latents: Tensor, descriptor: VaeDescriptor) -> Tensor:
    """Small pictures of latents.

    Args:
        latents: ``[batch, channels, latent frames, height, width]`` as the transformer sees them, of a
            clean video or what a step believes it to be.
        descriptor: the VAE that they belong to.

    Returns:
        ``[batch, 3, latent frames, height, width]`` in [-1, 1], float32: a pixel for a latent.

    Raises:
        WeightsError: the VAE's latents have no map.
        ValueError: the latents have another number of channels than the VAE.
    """
    if latents.shape[1] != descriptor.channels:
        raise ValueError(f"{latents.shape[1]} channels are no latents of {descriptor.name}")
    colours = colours_of(descriptor)
    if colours is None:
        raise WeightsError(
            f"no colours are known for the latents of {descriptor.name}",
            remedy="preview them with a tiny VAE made for them, or not at all",
        )
    return colours(latents)


class Normalised(Protocol):
    """A VAE, or its descriptor: whatever has the constants of its latents."""

    @property
    def mean(self) -> Sequence[float] | None:
        """One for each latent channel."""
        ...


def colours_of(vae: Normalised) -> Colours | None:
    """The map for the latents of a VAE; its mean tells which latents they are."""
    return None if vae.mean is None else _KNOWN.get(tuple(vae.mean))


def mean_colours(video: Tensor, config: VaeConfig) -> Tensor:
    """A clip at the size of its latents, each pixel the mean of those that a latent stands for.

    Args:
        video: ``[batch, 3, 1 + stride * n frames, height, width]``.
    """
    time, down, across = config.stride
    first, rest = video[:, :, :1], video[:, :, 1:]
    small = F.avg_pool3d(first, (1, down, across))
    if not rest.shape[2]:
        return small
    return torch.cat((small, F.avg_pool3d(rest, (time, down, across))), dim=2)


def fit_colours(latents: Tensor, video: Tensor, config: VaeConfig) -> Colours:
    """The map with the least squared error for some clips.

    Args:
        latents: of the clips, ``[batch, channels, latent frames, …]``.
        video: the clips, ``[batch, 3, 1 + stride * n frames, …]`` in [-1, 1].
    """
    wanted = mean_colours(video.double(), config).movedim(1, -1).reshape(-1, 3)
    known = latents.double().movedim(1, -1).reshape(-1, latents.shape[1])
    known = torch.cat((known, torch.ones(len(known), 1, dtype=known.dtype)), dim=1)
    *rows, base = torch.linalg.lstsq(known, wanted).solution.tolist()
    return Colours(rows, tuple(base))


WAN21_COLOURS = Colours(
    (
        (-0.1299, -0.1692, 0.2932), (0.0671, 0.0406, 0.0442), (0.3568, 0.2548, 0.1747),
        (0.0372, 0.2344, 0.1420), (0.0313, 0.0189, -0.0328), (0.0296, -0.0956, -0.0665),
        (-0.3477, -0.4059, -0.2925), (0.0166, 0.1902, 0.1975), (-0.0412, 0.0267, -0.1364),
        (-0.1293, 0.0740, 0.1636), (0.0680, 0.3019, 0.1128), (0.0032, 0.0581, 0.0639),
        (-0.1251, 0.0927, 0.1699), (0.0060, -0.0633, 0.0005), (0.3477, 0.2275, 0.2950),
        (0.1984, 0.0913, 0.1861),
    ),
    base=(-0.1835, -0.0868, -0.3360),
)  # fmt: skip
WAN22_COLOURS = Colours(
    (
        (0.0119, 0.0103, 0.0046), (-0.1062, -0.0504, 0.0165), (0.0140, 0.0409, 0.0491),
        (-0.0813, -0.0677, 0.0607), (0.0656, 0.0851, 0.0808), (0.0264, 0.0463, 0.0912),
        (0.0295, 0.0326, 0.0590), (-0.0244, -0.0270, 0.0025), (0.0443, -0.0102, 0.0288),
        (-0.0465, -0.0090, -0.0205), (0.0359, 0.0236, 0.0082), (-0.0776, 0.0854, 0.1048),
        (0.0564, 0.0264, 0.0561), (0.0006, 0.0594, 0.0418), (-0.0319, -0.0542, -0.0637),
        (-0.0268, 0.0024, 0.0260), (0.0539, 0.0265, 0.0358), (-0.0359, -0.0312, -0.0287),
        (-0.0285, -0.1032, -0.1237), (0.1041, 0.0537, 0.0622), (-0.0086, -0.0374, -0.0051),
        (0.0390, 0.0670, 0.2863), (0.0069, 0.0144, 0.0082), (0.0006, -0.0167, 0.0079),
        (0.0313, -0.0574, -0.0232), (-0.1454, -0.0902, -0.0481), (0.0714, 0.0827, 0.0447),
        (-0.0304, -0.0574, -0.0196), (0.0401, 0.0384, 0.0204), (-0.0758, -0.0297, -0.0014),
        (0.0568, 0.1307, 0.1372), (-0.0055, -0.0310, -0.0380), (0.0239, -0.0305, 0.0325),
        (-0.0663, -0.0673, -0.0140), (-0.0416, -0.0047, -0.0023), (0.0166, 0.0112, -0.0093),
        (-0.0211, 0.0011, 0.0331), (0.1833, 0.1466, 0.2250), (-0.0368, 0.0370, 0.0295),
        (-0.3441, -0.3543, -0.2008), (-0.0479, -0.0489, -0.0420), (-0.0660, -0.0153, 0.0800),
        (-0.0101, 0.0068, 0.0156), (-0.0690, -0.0452, -0.0927), (-0.0145, 0.0041, 0.0015),
        (0.0421, 0.0451, 0.0373), (0.0504, -0.0483, -0.0356), (-0.0837, 0.0168, 0.0055),
    ),
    base=(0.0317, -0.0878, -0.1388),
)  # fmt: skip
TINY_COLOURS = Colours(
    (
        (-0.1424, 0.3022, -0.0026), (0.3258, 0.0443, -0.1724), (0.0381, -0.0964, 0.1731),
        (0.1028, -0.0104, -0.0431), (-0.0997, 0.0026, 0.0636), (-0.2379, 0.0678, 0.0374),
        (-0.1758, 0.2269, -0.0010), (-0.2766, 0.1849, 0.2674), (0.0718, 0.1426, 0.0080),
        (-0.0030, 0.1950, 0.0663), (0.0115, 0.0323, -0.0117), (-0.4942, 0.1091, -0.0379),
        (-0.0564, 0.1216, -0.0166), (-0.0642, 0.0064, -0.1066), (-0.1770, 0.0271, 0.0827),
        (-0.2831, 0.1447, -0.0124),
    ),
    base=(-0.4059, -0.3787, -0.3374),
)  # fmt: skip
# the bundled VAE's mean, which tells its latents from those of another training
TINY_MEAN = (
    -0.14385, -0.22206, -0.063, 0.18993, 0.06419, 0.16381, -0.0531, -0.28081,
    0.17653, -0.00563, -0.05187, 0.28466, -0.08666, 0.30166, -0.01498, -0.00596,
)  # fmt: skip

_KNOWN = {WAN21.mean: WAN21_COLOURS, WAN22.mean: WAN22_COLOURS, TINY_MEAN: TINY_COLOURS}
