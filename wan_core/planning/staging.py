"""Stages of a workflow: their needs, the features they ask for, and the file that is written."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

import attrs

from wan_core.contract.descriptions import Family
from wan_core.contract.errors import PluginError, WorkflowError
from wan_core.contract.lazy import resolve
from wan_core.contract.options import show
from wan_core.contract.requests import FeatureCheck, PlanContext, StageNeeds, VideoSize
from wan_core.media import check_target, exact_rate
from wan_core.media.formats import unit_of
from wan_core.planning.handover import POST, hand_over
from wan_core.planning.output import output_path
from wan_core.planning.plan import PlannedModel, PlannedStage, frame_rate, output_stage
from wan_core.plugins import Plugins
from wan_core.workflow import StageSpec, Workflow
from wan_core.workflow.paths import options_by_key, paths_in


def plan_stages(
    workflow: Workflow, models: Mapping[str, PlannedModel], plugins: Plugins
) -> tuple[PlannedStage, ...]:
    """All stages in order; each knows what those before it make.

    Raises:
        WanCoreError: for everything that can't work.
    """
    planned: list[PlannedStage] = []
    inputs: dict[str, VideoSize | None] = {}
    for spec in workflow.every_stage:
        stage = _plan_stage(workflow, spec, models, plugins, dict(inputs))
        inputs |= {f"{spec.name}.{name}": stage.needs.size for name in stage.description.outputs}
        planned.append(stage)
    return hand_over(workflow, tuple(planned), models, plugins)


def _plan_stage(
    workflow: Workflow,
    spec: StageSpec,
    models: Mapping[str, PlannedModel],
    plugins: Plugins,
    inputs: Mapping[str, VideoSize | None],
) -> PlannedStage:
    """A stage with its options filled in and checked, and so are its features.

    Args:
        inputs: what earlier stages make, by ``"NAME.output"``.

    Raises:
        WanCoreError: for everything that can't work.
    """
    description = plugins.stage(spec.use)
    model = models[spec.model] if spec.model else None
    if model and spec.use not in model.family.stages:
        raise WorkflowError(
            f"stage {spec.use} can't be driven by family {model.family.name}",
            where=workflow.source.where(f"{spec.key}.use"),
            remedy="its stages are " + ", ".join(model.family.stages),
        )
    needs = StageNeeds(spec.options)
    if description.plan:
        context = PlanContext(
            stage=spec.name,
            options=spec.options,
            where=lambda option: workflow.source.where(f"{spec.key}.{option}"),
            folder=workflow.source.folder,
            family=model.family if model else None,
            solver=plugins.solver,
            inputs=inputs,
            dtype=model.dtype if model else "float32",
        )
        with plugins.attributed(description):
            needs = resolve(description.plan)(context)
    if model:
        notes = _check_features(workflow, spec, model.family, needs, inputs, plugins)
        needs = attrs.evolve(needs, notes=(*needs.notes, *notes))
    return PlannedStage(spec, description, needs)


def _check_features(
    workflow: Workflow,
    spec: StageSpec,
    family: Family,
    needs: StageNeeds,
    inputs: Mapping[str, VideoSize | None],
    plugins: Plugins,
) -> list[str]:
    """Refuse features that don't go with the family or with each other; notes for the user."""
    notes: list[str] = []
    if family.features and not {asked.use for asked in spec.apply} & set(family.features):
        notes.append(
            f"{family.name} was made for feature {' or '.join(family.features)}, and this stage asks for "
            "none; ask for it under [[stages.apply]]"
        )
    if needs.size is None:
        return notes
    writers: dict[str, str] = {}
    for asked in spec.apply:
        where = workflow.source.where(asked.key)
        feature = plugins.feature(asked.use)
        fits = not feature.families or family.name in feature.families
        if not fits and feature.name not in family.features:
            raise WorkflowError(
                f"feature {feature.name} does not fit family {family.name}",
                where=where,
                remedy="it fits " + ", ".join(feature.families),
            )
        for slot in feature.slots(asked.options):
            if slot in writers and slot not in (*feature.replaces, POST):
                raise PluginError(
                    f"features {writers[slot]} and {feature.name} both write {slot}",
                    where=where,
                    remedy="ask for only one of them in this stage",
                )
            writers[slot] = feature.name
        if feature.check:
            check = FeatureCheck(
                feature=feature.name,
                options=asked.options,
                stage=spec.name,
                where=partial(_place_of, workflow, asked.key),
                folder=workflow.source.folder,
                family=family,
                size=needs.size,
                steps=needs.steps,
                inputs=inputs,
                pictures=needs.pictures,
            )
            with plugins.attributed(feature):
                told = resolve(feature.check)(check) or ()
                if isinstance(told, str) or not all(isinstance(one, str) for one in told):
                    raise TypeError(f"check returned {told!r}, not a list of notes")
                notes += told
    return notes


def _place_of(workflow: Workflow, key: str, option: str) -> str:
    return workflow.source.where(f"{key}.{option}")


def plan_output(
    workflow: Workflow,
    stages: tuple[PlannedStage, ...],
    models: Mapping[str, PlannedModel],
    taken: Collection[str],
) -> Path:
    """The file that will be written; it can be.

    Args:
        taken: what other runs of the same sweep will write.

    Raises:
        WorkflowError: no stage makes a video, or the path's template is wrong.
        MediaError: such a video can't be written there.
        ResourceError: the folder may not be written to, or the disk has no room.
    """
    makers = {s.name: s for s in stages if "video" in s.description.outputs}
    if not makers:
        raise WorkflowError("no stage makes a video", where=workflow.source.where("stages"))
    if workflow.output.stage and workflow.output.stage not in makers:
        raise WorkflowError(
            f'stage "{workflow.output.stage}" makes no video',
            where=workflow.source.where("output.stage"),
            remedy="stages that do are " + ", ".join(makers),
        )
    maker = output_stage(workflow, stages)
    family = models[maker.spec.model].family.name if maker.spec.model else "none"
    path = output_path(workflow, maker, family, taken)
    size = maker.needs.size
    _check_sources(workflow, path)
    check_target(
        path,
        width=size.width if size else None,
        height=size.height if size else None,
        frames=size.frames if size else None,
        fps=exact_rate(frame_rate(workflow, maker)),
        overwrite=workflow.output.overwrite,
        where=workflow.source.where("output.path"),
    )
    return path


def _check_sources(workflow: Workflow, path: Path) -> None:
    """A video does not take the place of what it is made from, even where it may overwrite.

    Nothing would be left to make it from again.
    """
    unit = unit_of(path)
    written = os.path.realpath(unit)
    for key, source in paths_in(options_by_key(workflow)):
        units = (source, source.parent) if unit != path else (source,)
        if written in map(os.path.realpath, units):
            raise WorkflowError(
                f"the video would take the place of {show(source)}, which {key} names",
                where=workflow.source.where("output.path"),
                remedy="write it somewhere else",
            )
