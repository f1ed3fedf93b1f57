"""What a text encoder's file says of itself in its header. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wan_core.models.encoders.dialects import UMT5_DIALECTS
from wan_core.weights import Dialect, TensorSource, in_official_names
from wan_core.weights.numbers import refuse_unread_numbers, unpacked
from wan_core.weights.stacks import StoredStack, numbered

EMBEDDING = "shared"
"""The module of the table that ids are looked up in: where that lies, it is used."""


def verify_text_encoder(source: TensorSource, known: Mapping[str, Any]) -> None:
    """Refuse a UMT5 file whose numbers are not read.

    Raises:
        WeightsError: what is wrong with it.
    """
    refuse_unread_numbers(in_official_names(source, UMT5_DIALECTS))


def stored_units(
    source: TensorSource, known: Mapping[str, Any], dialects: Sequence[Dialect] = ()
) -> StoredStack:
    """The layers of a UMT5 file, as the encoder's ``units()`` are."""
    official = unpacked(in_official_names(source, (*UMT5_DIALECTS, *dialects)))
    return StoredStack(
        official,
        numbered("encoder.block.{}", "blocks.", official.names()),
        {EMBEDDING: "token_embedding."},
        on_host=frozenset((EMBEDDING,)),
        keep_half=("*.ffn.fc2.weight",),
        unpacks=("token_embedding.weight", "*.pos_embedding.*"),
    )
