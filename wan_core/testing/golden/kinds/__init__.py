"""Handlers for the kinds of reference cases that the core itself computes, one module a topic.

``planned.txt`` lists the kinds that exist as reference data but are computed by packages that may not be
installed or written yet: the runner calls them "not built" instead of unknown.
"""

from __future__ import annotations

from pathlib import Path

PLANNED = frozenset(Path(__file__).with_name("planned.txt").read_text(encoding="utf-8").split())
