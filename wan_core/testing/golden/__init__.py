"""The golden runner: ``python -m wan_core.testing.golden FOLDER…``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.testing.golden.case import Case as Case
    from wan_core.testing.golden.case import Check as Check
    from wan_core.testing.golden.case import NotBuilt as NotBuilt
    from wan_core.testing.golden.runner import Outcome as Outcome
    from wan_core.testing.golden.runner import Verdict as Verdict
    from wan_core.testing.golden.runner import find_cases as find_cases
    from wan_core.testing.golden.runner import handlers as handlers
    from wan_core.testing.golden.runner import run_case as run_case

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Case": "case",
        "Check": "case",
        "NotBuilt": "case",
        "Outcome": "runner",
        "Verdict": "runner",
        "find_cases": "runner",
        "handlers": "runner",
        "run_case": "runner",
    },
)
