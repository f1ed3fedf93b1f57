"""Formats of the workflow file. Conversions from older formats to the newest live here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wan_core.contract.errors import WorkflowError
from wan_core.contract.options import show
from wan_core.workflow.source import Source

FORMAT = 1
"""The format that this version writes, and the only one there has been."""


def check_format(table: Mapping[str, Any], source: Source) -> None:
    """Refuse a document whose format is missing or not known.

    Raises:
        WorkflowError: with the formats that are known.
    """
    where = source.where("format")
    if "format" not in table:
        raise WorkflowError(
            "format is missing", where=source.name, remedy=f'add "format = {FORMAT}" as first line'
        )
    found = table["format"]
    if isinstance(found, bool) or not isinstance(found, int):
        raise WorkflowError(
            f"format must be a whole number, not {show(found)}",
            where=where,
            remedy=f'write "format = {FORMAT}"',
        )
    if found != FORMAT:
        newer = f", or update wan-core if a newer one wrote format {show(found)}"
        raise WorkflowError(
            f"format {show(found)} is not known, this wan-core knows format {FORMAT}",
            where=where,
            remedy=f'write "format = {FORMAT}"' + (newer if found > FORMAT else ""),
        )
