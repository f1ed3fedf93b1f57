"""What a text encoder's file says of itself in its header. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wan_core.models.encoders.dialects import UMT5_DIALECTS
from wan_core.weights import TensorSource, in_official_names
from wan_core.weights.numbers import refuse_unread_numbers


def verify_text_encoder(source: TensorSource, known: Mapping[str, Any]) -> None:
    """Refuse a UMT5 file whose numbers are not read.

    Raises:
        WeightsError: what is wrong with it.
    """
    refuse_unread_numbers(in_official_names(source, UMT5_DIALECTS))
