"""What the headers of several shards say together. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from wan_core.weights.safetensors_header import unique_keys

__all__ = ["NOTES", "together"]

NOTES = "_quantization_metadata"
"""ComfyUI's entry on the formats of layers: that of a shard is on the shard's own layers."""
LONGEST = 2**22


def together(headers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The entries on which all headers agree that have them, and what each says of the formats of its layers.

    Notes that can't be read are passed on as they are: whoever reads them says what is wrong.
    """
    said: dict[str, set[str]] = {}
    for header in headers:
        for key, value in header.items():
            said.setdefault(key, set()).add(value)
    notes = [header[NOTES] for header in headers if NOTES in header]
    agreed = {key: values.pop() for key, values in said.items() if len(values) == 1}
    return {**agreed, NOTES: _joined(notes)} if notes else agreed


def _joined(notes: Sequence[str]) -> str:
    layers: dict[str, object] = {}
    for note in notes:
        try:
            if len(note) > LONGEST:
                return note
            layers |= dict(json.loads(note, object_pairs_hook=unique_keys)["layers"].items())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return note
    return json.dumps({"layers": layers})
