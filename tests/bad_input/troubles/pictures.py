"""Given pictures, videos and masks, and the weights of families that take them."""

from __future__ import annotations

from table import Group

from troubles import given_files, given_options, given_weights

GROUP = Group(
    "Pictures, videos and masks to start from",
    (*given_files.TROUBLES, *given_options.TROUBLES, *given_weights.TROUBLES),
)
