"""Weight files."""

from __future__ import annotations

from table import Group

from troubles import damaged, numbers, slots

GROUP = Group(
    "A weight file does not load", (*slots.TROUBLES, *numbers.TROUBLES, *damaged.TROUBLES)
)
