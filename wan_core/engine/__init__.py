"""The engine: runs a plan, streams events, and lets nothing get lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.engine.results import RunResult as RunResult
    from wan_core.engine.results import SweepResult as SweepResult
    from wan_core.engine.run import circumstances as circumstances
    from wan_core.engine.session import Session as Session

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "RunResult": "results",
        "Session": "session",
        "SweepResult": "results",
        "circumstances": "run",
    },
)
