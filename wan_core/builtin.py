"""The core as its own first plugin: built-in families, stages, solvers and attention backends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import AttentionBackend, Description, Stage
from wan_core.hookspecs import hookimpl
from wan_core.models.families import FAMILIES
from wan_core.sampling.catalog import SOLVERS

WAN_CORE_CONTRACT = CONTRACT_VERSION

STAGES = (
    Stage(
        name="generate",
        summary="make a video from a prompt",
        options="wan_core.stages.options:GenerateOptions",
        run="wan_core.stages.generate:run",
        plan="wan_core.stages.generate_plan:plan",
        outputs=("video",),
    ),
)

ATTENTION_BACKENDS = (
    AttentionBackend(
        name="sdpa",
        summary="torch's scaled-dot-product attention: the reference",
        attend="wan_core.models.wan:attend",
    ),
)


@hookimpl
def wan_register() -> Sequence[Description]:
    return [*FAMILIES, *STAGES, *SOLVERS, *ATTENTION_BACKENDS]


plugin = sys.modules[__name__]
