"""What a VAE file says of itself in its header. Imports no torch."""

from __future__ import annotations

import json
from typing import Any

from wan_core.contract.errors import WeightsError
from wan_core.models.vae.descriptor import WAN21, VaeConfig, VaeDescriptor
from wan_core.models.vae.dialects import DIALECTS
from wan_core.weights import TensorSource, in_official_names


def vae_descriptor(source: TensorSource) -> VaeDescriptor:
    """The descriptor of a VAE file in any of its dialects.

    A file may state its own ``latents_mean`` and ``latents_std`` (JSON lists) in its header; without
    them the published constants hold, whatever the width.

    Raises:
        WeightsError: it is no VAE, or the header's constants are no lists of numbers.
    """
    official = in_official_names(source, DIALECTS)
    shapes = {name: info.shape for name, info in official.tensors.items()}
    own = "latents_mean" in source.metadata
    return VaeDescriptor(
        name=source.label if own else WAN21.name,
        config=VaeConfig.from_shapes(shapes),
        mean=_numbers(source, "latents_mean") if own else WAN21.mean,
        std=_numbers(source, "latents_std") if own else WAN21.std,
    )


def _numbers(source: TensorSource, key: str) -> list[float]:
    try:
        stated: Any = json.loads(source.metadata[key])
        return [float(one) for one in stated]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"the header entry {key} is no list of numbers", where=source.label
        ) from error
