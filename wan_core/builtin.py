"""The core as its own first plugin: built-in families, stages, features, solvers and attention backends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.conditioning import Conditioning
from wan_core.contract.descriptions import AttentionBackend, Description, Feature, Stage
from wan_core.contract.lazy import resolve
from wan_core.contract.requests import ConditioningRequest
from wan_core.hookspecs import hookimpl
from wan_core.models.families import FAMILIES
from wan_core.sampling.catalog import SOLVERS

WAN_CORE_CONTRACT = CONTRACT_VERSION

STAGES = (
    Stage(
        name="generate",
        summary="make a video from a prompt, from pictures or from another video",
        options="wan_core.stages.options:GenerateOptions",
        run="wan_core.stages.generate:run",
        plan="wan_core.stages.generate_plan:plan",
        outputs=("video",),
    ),
)

VACE = "vace"
FEATURES = (
    Feature(
        name=VACE,
        summary="follow or change a video, with masks and reference pictures (VACE)",
        options="wan_core.stages.vace_options:VaceOptions",
        families=tuple(family.name for family in FAMILIES if VACE in family.features),
        writes=("add_ons", "prepend"),
        replaces=("add_ons", "prepend"),  # it adds to what is there, its own contexts above all
        check="wan_core.stages.vace_plan:check",
    ),
)
CONDITIONS = {VACE: "wan_core.stages.vace:condition"}

ATTENTION_BACKENDS = (
    AttentionBackend(
        name="sdpa",
        summary="torch's scaled-dot-product attention: the reference",
        attend="wan_core.models.wan:attend",
    ),
)


@hookimpl
def wan_register() -> Sequence[Description]:
    return [*FAMILIES, *STAGES, *FEATURES, *SOLVERS, *ATTENTION_BACKENDS]


@hookimpl
def wan_condition(request: ConditioningRequest, conditioning: Conditioning) -> Conditioning | None:
    changed: Conditioning | None = resolve(CONDITIONS[request.feature])(request, conditioning)
    return changed


plugin = sys.modules[__name__]
