"""Planning: everything that can fail fails here, before a weight is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.planning.files import PlannedFile as PlannedFile
    from wan_core.planning.fitting import bundled as bundled
    from wan_core.planning.fitting import identify_for as identify_for
    from wan_core.planning.fitting import misfit as misfit
    from wan_core.planning.library import Library as Library
    from wan_core.planning.library import configured as configured
    from wan_core.planning.machine import Machine as Machine
    from wan_core.planning.machine import has_cuda as has_cuda
    from wan_core.planning.machine import is_cuda as is_cuda
    from wan_core.planning.machine import look as look
    from wan_core.planning.making import make_plan as make_plan
    from wan_core.planning.making import make_plans as make_plans
    from wan_core.planning.plan import Handover as Handover
    from wan_core.planning.plan import Plan as Plan
    from wan_core.planning.plan import PlannedModel as PlannedModel
    from wan_core.planning.plan import PlannedStage as PlannedStage
    from wan_core.planning.provenance import Provenance as Provenance
    from wan_core.planning.provenance import read_record as read_record
    from wan_core.planning.untrusted import check_confined as check_confined
    from wan_core.planning.untrusted import confine as confine
    from wan_core.planning.vram_table import BudgetRow as BudgetRow
    from wan_core.planning.vram_table import table_of_budgets as table_of_budgets

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "BudgetRow": "vram_table",
        "Handover": "plan",
        "Library": "library",
        "Machine": "machine",
        "Plan": "plan",
        "PlannedFile": "files",
        "PlannedModel": "plan",
        "PlannedStage": "plan",
        "check_confined": "untrusted",
        "confine": "untrusted",
        "configured": "library",
        "bundled": "fitting",
        "identify_for": "fitting",
        "has_cuda": "machine",
        "is_cuda": "machine",
        "look": "machine",
        "Provenance": "provenance",
        "make_plan": "making",
        "make_plans": "making",
        "read_record": "provenance",
        "misfit": "fitting",
        "table_of_budgets": "vram_table",
    },
)
