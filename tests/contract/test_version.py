"""A plugin made for an earlier minor version of the contract is served: what it was written against holds."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from wan_core import contract

EARLIER = Path(__file__).with_name("fields_1_0.txt").read_text(encoding="utf-8").splitlines()
"""Classes of the contract 1.0, and what they were made of, in order."""


@pytest.mark.parametrize("line", EARLIER, ids=[line.partition(" ")[0] for line in EARLIER])
def test_what_contract_1_0_had_is_where_it_was(line: str) -> None:
    """By place and by name; what is new has a default."""
    name, *earlier = line.split()
    fields = [one for one in attrs.fields(getattr(contract, name)) if one.init]
    assert [one.name for one in fields if not one.kw_only][: len(earlier)] == earlier
    needed = {one.name for one in fields if one.default is attrs.NOTHING}
    assert needed <= set(earlier)
