"""``workflow.toml`` to frozen objects and back, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.workflow.models import COMPANIONS as COMPANIONS
    from wan_core.workflow.reading import load_workflow as load_workflow
    from wan_core.workflow.reading import load_workflows as load_workflows
    from wan_core.workflow.reading import parse_workflow as parse_workflow
    from wan_core.workflow.reading import parse_workflows as parse_workflows
    from wan_core.workflow.source import Source as Source
    from wan_core.workflow.spec import FeatureSpec as FeatureSpec
    from wan_core.workflow.spec import MemorySpec as MemorySpec
    from wan_core.workflow.spec import ModelSpec as ModelSpec
    from wan_core.workflow.spec import OutputSpec as OutputSpec
    from wan_core.workflow.spec import StageSpec as StageSpec
    from wan_core.workflow.spec import Workflow as Workflow
    from wan_core.workflow.writing import fingerprint as fingerprint
    from wan_core.workflow.writing import to_toml as to_toml

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "COMPANIONS": "models",
        "FeatureSpec": "spec",
        "MemorySpec": "spec",
        "ModelSpec": "spec",
        "OutputSpec": "spec",
        "Source": "source",
        "StageSpec": "spec",
        "Workflow": "spec",
        "fingerprint": "writing",
        "load_workflow": "reading",
        "load_workflows": "reading",
        "parse_workflow": "reading",
        "parse_workflows": "reading",
        "to_toml": "writing",
    },
)
