"""wan-core: a small, exact core for the Wan family of AI video models; every feature is a plugin.

::

    from wan_core import Session, load_workflow

    with Session() as session:
        result = session.run(load_workflow("examples/hello.toml"))
    print(result.outputs)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.contract.errors import WanCoreError as WanCoreError
    from wan_core.engine import RunResult as RunResult
    from wan_core.engine import Session as Session
    from wan_core.engine import SweepResult as SweepResult
    from wan_core.planning import Plan as Plan
    from wan_core.planning import make_plan as make_plan
    from wan_core.planning import make_plans as make_plans
    from wan_core.plugins import Plugins as Plugins
    from wan_core.workflow import Workflow as Workflow
    from wan_core.workflow import load_workflow as load_workflow
    from wan_core.workflow import load_workflows as load_workflows
    from wan_core.workflow import parse_workflow as parse_workflow

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Plan": "planning",
        "Plugins": "plugins",
        "RunResult": "engine",
        "Session": "engine",
        "SweepResult": "engine",
        "WanCoreError": "contract.errors",
        "Workflow": "workflow",
        "load_workflow": "workflow",
        "load_workflows": "workflow",
        "make_plan": "planning",
        "make_plans": "planning",
        "parse_workflow": "workflow",
    },
)
