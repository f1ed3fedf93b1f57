"""Weight files."""

from __future__ import annotations

from table import Group

from troubles import damaged, slots

GROUP = Group("A weight file does not load", (*slots.TROUBLES, *damaged.TROUBLES))
