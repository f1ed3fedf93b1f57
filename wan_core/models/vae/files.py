"""What a VAE file says of itself in its header. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from wan_core.contract.errors import WeightsError
from wan_core.models.vae.descriptor import WAN21, WAN22, VaeConfig, VaeDescriptor
from wan_core.models.vae.dialects import DIALECTS
from wan_core.weights import TensorSource, identify, in_official_names
from wan_core.weights.numbers import refuse_unread_numbers


def vae_descriptor(source: TensorSource) -> VaeDescriptor:
    """The descriptor of a VAE file in any of its dialects.

    A file may state its own ``latents_mean`` and ``latents_std`` (JSON lists) in its header; without
    them the published constants of the network hold, whatever the width.

    Raises:
        WeightsError: it is no whole Wan VAE, or the header's constants are no lists of numbers,
            one for each latent channel.
    """
    official = in_official_names(source, DIALECTS)
    shapes = {name: info.shape for name, info in official.tensors.items()}
    try:
        if "decoder.conv1.weight" not in shapes:
            raise KeyError("decoder.conv1.weight")
        config = VaeConfig.from_shapes(shapes)
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(
            "its tensors do not make a whole Wan VAE, which is an encoder and a decoder",
            where=source.label,
            remedy="name a file with both",
        ) from error
    own = "latents_mean" in source.metadata
    published = WAN22 if config.shortcuts else WAN21
    mean = _numbers(source, "latents_mean") if own else published.mean
    std = _numbers(source, "latents_std") if own else published.std
    if not len(mean) == len(std) == config.z_dim or min(std) <= 0:
        raise WeightsError(
            f"latents_mean and latents_std need {config.z_dim} numbers each, those of std above 0",
            where=source.label,
        )
    return VaeDescriptor(source.label if own else published.name, config, mean, std)


PLAUSIBLE = (1e-2, 1e2)
"""Standard deviations that the latents of a VAE may have, and the bound of their means."""


def verify_vae(source: TensorSource, known: Mapping[str, Any]) -> None:
    """Refuse a VAE file that is not whole, or whose constants would give a black or noisy video.

    Args:
        known: what the family says of its VAE; one with ``z_dim`` 48 takes that of Wan 2.2.

    Raises:
        WeightsError: what is wrong with it.
    """
    newer = known.get("z_dim") == WAN22.channels
    if identify(source, "wan-vae").variant == ("2.1" if newer else "2.2"):
        raise _other_vae(source, newer)
    refuse_unread_numbers(in_official_names(source, DIALECTS))
    descriptor = vae_descriptor(source)
    if descriptor.config.shortcuts != newer:
        raise _other_vae(source, newer)
    low, high = PLAUSIBLE
    if min(descriptor.std) < low or max(descriptor.std) > high:
        spread = f"{min(descriptor.std):.3g} to {max(descriptor.std):.3g}"
        raise WeightsError(
            f"latents_std goes from {spread}, which no trained VAE has", where=source.label
        )
    if max(map(abs, descriptor.mean)) > high:
        largest = max(map(abs, descriptor.mean))
        raise WeightsError(
            f"latents_mean holds {largest:.3g}, which no trained VAE has", where=source.label
        )


def _other_vae(source: TensorSource, newer: bool) -> WeightsError:
    here, there = ("2.1", "2.2 5B") if newer else ("2.2 5B", "2.1")
    return WeightsError(
        f"this is the VAE of Wan {here}, and the model takes that of Wan {there}",
        where=source.label,
        remedy=f"name Wan{there[:3]}_VAE or a conversion of it",
    )


def _numbers(source: TensorSource, key: str) -> tuple[float, ...]:
    try:
        stated: Any = json.loads(source.metadata[key])
        numbers = tuple(float(one) for one in stated)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _no_numbers(source, key) from error
    if not isinstance(stated, list) or not all(map(math.isfinite, numbers)):
        raise _no_numbers(source, key)
    return numbers


def _no_numbers(source: TensorSource, key: str) -> WeightsError:
    return WeightsError(f"the header entry {key} is no list of numbers", where=source.label)
