"""Components of a model: shared, counted, and let go even when a stage fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wan_core import Session
from wan_core.contract.events import Event, TaskProgress
from wan_core.workflow import Workflow

Make = Callable[..., Workflow]


def users(session: Session) -> dict[str, int]:
    return {one.title: one.users for one in session._residencies["cpu"]._residents.values()}


def test_after_a_run_nothing_is_in_use_and_everything_is_resident(make: Make) -> None:
    with Session() as session:
        session.run(make())
        assert set(users(session).values()) == {0}
        assert len(users(session)) == 3
    assert users(session) == {}


def test_a_failed_run_lets_its_components_go(make: Make) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task in ("sampling", "encoding"):
            raise RuntimeError("boom")

    with Session() as session:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="boom"):
                session.run(make(), listen=fail)
            assert set(users(session).values()) == {0}
