"""The option ``guidance`` as a field of an options class; a workflow is checked while it is read."""

from __future__ import annotations

from typing import Any

import attrs

from wan_core.sampling.guidance_table import ALLOWED, check_guidance


def guidance_field(*, help: str, unset: str) -> Any:
    """The attrs field; None means the family's preset."""
    return attrs.field(
        default=None,
        converter=attrs.Converter(_convert, takes_field=True),
        metadata={"help": help, "unset": unset, "allowed": ALLOWED, "raw": True},
    )


def _convert(value: Any, field: attrs.Attribute[Any]) -> Any:
    return None if value is None else check_guidance(value, field.name)
