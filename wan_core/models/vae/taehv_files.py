"""The tiny auto-encoders for previews (TAEHV): their sizes, and what a file of one says. No torch.

Published are ``taew2_1`` and ``taew2_2``, which take latents as the transformer sees them, and
``lighttaew2_1`` and ``lighttaew2_2``, which take those of the VAE itself. The tensors are the same;
only the files' names tell the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.models.vae.descriptor import COLOURS, WAN21, WAN22, VaeDescriptor
from wan_core.weights import TensorInfo, TensorSource, in_official_names
from wan_core.weights.dialects import Dialect

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Widths = tuple[int, int, int, int]


def _widths(values: Iterable[int]) -> Widths:
    first, second, third, fourth = values
    return first, second, third, fourth


@attrs.frozen
class TaehvConfig:
    """Sizes of a tiny auto-encoder; the defaults are those of the published ``taew2_1``.

    Attributes:
        z_dim: latent channels.
        patch: pixels per side folded into channels; 2 for the latents of Wan 2.2.
        decoder_widths: of its four parts.
        encoder_width: of all of its parts; None for a file that only decodes.
    """

    z_dim: int = 16
    patch: int = 1
    decoder_widths: Widths = attrs.field(default=(256, 128, 64, 64), converter=_widths)
    encoder_width: int | None = 64

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> TaehvConfig:
        """From the tensors of a file.

        Raises:
            LookupError: no decoder is in there.
        """
        widths = [shapes[f"decoder.{index}.weight"][0] for index in (1, 8, 14, 20)]
        patch = math.isqrt(shapes["decoder.22.weight"][0] // COLOURS)
        encoder = shapes.get("encoder.0.weight")
        width = None if encoder is None else encoder[0]
        return cls(shapes["decoder.1.weight"][1], patch, widths, width)

    @property
    def grown(self) -> dict[str, int]:
        """How many rows the layers have that make frames of one."""
        first, second, third, _ = self.decoder_widths
        return {
            "decoder.7.conv.weight": first,
            "decoder.13.conv.weight": 2 * second,
            "decoder.19.conv.weight": 2 * third,
        }

    @property
    def stride(self) -> tuple[int, int, int]:
        """Pixels per latent in time, height and width."""
        return (4, 8 * self.patch, 8 * self.patch)


TAEW21 = TaehvConfig()
TAEW22 = TaehvConfig(z_dim=48, patch=2)

Shapes = dict[str, tuple[int, ...]]


def taehv_shapes(config: TaehvConfig) -> Shapes:
    """Every tensor of a tiny auto-encoder of these sizes."""
    widths, pixel = config.decoder_widths, COLOURS * config.patch**2
    shapes = _conv("decoder.1", config.z_dim, widths[0]) | _conv("decoder.22", widths[-1], pixel)
    for at, width, following in zip((3, 9, 15), widths, widths[1:], strict=False):
        grown = f"decoder.{at + 4}.conv"
        shapes |= _blocks("decoder", at, width)
        shapes |= _conv(grown, width, config.grown[f"{grown}.weight"], side=1, bias=False)
        shapes |= _conv(f"decoder.{at + 5}", width, following, bias=False)
    inner = config.encoder_width
    if inner is None:
        return shapes
    shapes |= _conv("encoder.0", pixel, inner) | _conv("encoder.17", inner, config.z_dim)
    for at, stride in ((2, 2), (7, 2), (12, 1)):
        shapes |= _conv(f"encoder.{at}.conv", stride * inner, inner, side=1, bias=False)
        shapes |= _conv(f"encoder.{at + 1}", inner, inner, bias=False)
        shapes |= _blocks("encoder", at + 2, inner)
    return shapes


def _blocks(part: str, at: int, width: int) -> Shapes:
    shapes: Shapes = {}
    for index in range(at, at + 3):
        for layer, inputs in ((0, 2 * width), (2, width), (4, width)):
            shapes |= _conv(f"{part}.{index}.conv.{layer}", inputs, width)
    return shapes


def _conv(name: str, inputs: int, outputs: int, *, side: int = 3, bias: bool = True) -> Shapes:
    weight: Shapes = {f"{name}.weight": (outputs, inputs, side, side)}
    return weight | ({f"{name}.bias": (outputs,)} if bias else {})


def _is_taehv(names: Set[str]) -> bool:
    return "decoder.1.weight" in names and "decoder.3.conv.0.weight" in names


def _same(name: str) -> str:
    return name


TAEHV_DIALECTS = (Dialect("official", "taehv", _is_taehv, _same, _same),)


def taehv_config(source: TensorSource) -> TaehvConfig:
    """The sizes of a file.

    Raises:
        WeightsError: it holds no tiny auto-encoder, or not all of its decoder.
    """
    official = in_official_names(source, TAEHV_DIALECTS)
    try:
        config = TaehvConfig.from_shapes({n: info.shape for n, info in official.tensors.items()})
    except (LookupError, ValueError) as error:
        raise _not_whole(source) from error
    width = 1 if config.encoder_width is None else config.encoder_width
    if min(config.patch, config.z_dim, *config.decoder_widths, width) < 1:
        raise _not_whole(source)
    return config


def _not_whole(source: TensorSource) -> WeightsError:
    return WeightsError(
        "its tensors do not make a whole tiny preview VAE (TAEHV)",
        where=source.label,
        remedy="name taew2_1, taew2_2 or a conversion of one of them",
    )


def verify_taehv(source: TensorSource, known: Mapping[str, Any]) -> None:
    """Refuse a file that is not whole, or made for other latents than the family's.

    Args:
        known: what the family says; ``z_dim`` is the channels of its latents.

    Raises:
        WeightsError: what is wrong with it.
    """
    config = taehv_config(source)
    wanted = known.get("z_dim", config.z_dim)
    if config.z_dim != wanted:
        raise WeightsError(
            f"this tiny preview VAE decodes latents of {config.z_dim} channels, those of the model have "
            f"{wanted}",
            where=source.label,
            remedy="name taew2_2 for 48 channels, taew2_1 for 16",
        )
    for name, shape in taehv_shapes(config).items():
        found = source.shape(name) if name in source.tensors else ()
        more = name in config.grown and found[:1] > shape[:1]  # of which the last rows count
        if found != ((found[0], *shape[1:]) if more else shape):
            raise _not_whole(source)


def latents_of(source: TensorSource, config: TaehvConfig) -> VaeDescriptor | None:
    """The VAE whose own latents the file takes; None where it takes them as the transformer sees them."""
    if "lighttae" not in source.label.lower():
        return None
    return {vae.channels: vae for vae in (WAN21, WAN22)}.get(config.z_dim)


class LastRows(TensorSource):
    """A tiny auto-encoder's tensors, without rows of its ``TGrow`` layers that come too many.

    Files may hold them for more frames than are made; the last ones count.

    Args:
        source: under official names.
        rows: name -> how many rows are wanted.
    """

    def __init__(self, source: TensorSource, rows: Mapping[str, int]) -> None:
        self.base = source
        self.label, self.files = source.label, source.files
        self.metadata, self.container = source.metadata, source.container
        more = {n: r for n, r in rows.items() if n in source.tensors and _first(source, n) > r}
        self.rows = more
        self.tensors = {
            name: _cut(info, more[name]) if name in more else info
            for name, info in source.tensors.items()
        }

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See :class:`TensorSource`."""
        whole = self.base.get(name, device, dtype)
        return whole[-self.rows[name] :].clone() if name in self.rows else whole


def _first(source: TensorSource, name: str) -> int:
    return next(iter(source.shape(name)), 0)


def _cut(info: TensorInfo, rows: int) -> TensorInfo:
    nbytes = info.nbytes // info.shape[0] * rows
    return attrs.evolve(info, shape=(rows, *info.shape[1:]), nbytes=nbytes)
