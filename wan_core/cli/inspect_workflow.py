"""What ``wan-core inspect`` says of a workflow: what it would do, without planning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from wan_core.cli.inspect import Found
from wan_core.contract.options import show
from wan_core.weights.places import exists, place

if TYPE_CHECKING:
    from wan_core.contract.descriptions import Family, Preset
    from wan_core.contract.loras import LoraUse
    from wan_core.plugins import Plugins
    from wan_core.workflow import ModelSpec, StageSpec, Workflow


def describe_workflow(path: Path, plugins: Plugins) -> Found:
    """Models, stages and output of a workflow.

    Raises:
        WanCoreError: the workflow can't be meant as it is.
    """
    from wan_core.workflow import load_workflows

    workflow, *others = load_workflows(path, plugins=plugins)
    rows = [("what", f"a workflow of format {workflow.format}")]
    if others:
        rows.append(
            ("sweep", f"{1 + len(others)} runs; this is the first ({workflow.source.label})")
        )
    for name, model in workflow.models.items():
        rows.append((f"model {name}", f"{model.family}: {plugins.family(model.family).title}"))
        rows += [("", line) for line in _files(model, plugins.family(model.family))]
    for stage in workflow.every_stage:
        options = _options(stage, _preset(stage, workflow, plugins))
        rows.append((f"stage {stage.name}", f"{stage.use}: {plugins.stage(stage.use).summary}"))
        rows += [("", f"{key} = {show(value)}") for key, value in options.items()]
        rows += [("", f"feature {feature.use}") for feature in stage.apply]
        rows += [("", line) for line in _loras(stage.loras)]
    fps = f", {workflow.output.fps:g} frames per second" if workflow.output.fps else ""
    rows.append(("output", f"{place(workflow.output.path)}{fps}"))
    return Found("workflow", rows, _facts(workflow, plugins))


def _facts(workflow: Workflow, plugins: Plugins) -> dict[str, Any]:
    return {
        "format": workflow.format,
        "models": {
            name: {
                "family": model.family,
                "title": plugins.family(model.family).title,
                "files": dict(model.files),
                "loras": _lora_facts(model.loras),
            }
            for name, model in workflow.models.items()
        },
        "stages": [
            {
                "name": stage.name,
                "use": stage.use,
                "model": stage.model,
                "options": _options(stage, _preset(stage, workflow, plugins)),
                "apply": [feature.use for feature in stage.apply],
                "loras": _lora_facts(stage.loras),
            }
            for stage in workflow.every_stage
        ],
        "output": {"path": workflow.output.path, "fps": workflow.output.fps},
    }


def _lora_facts(loras: Sequence[LoraUse]) -> list[dict[str, Any]]:
    return [{"file": use.file, "strength": use.strength} for use in loras]


def _files(model: ModelSpec, family: Family) -> Iterator[str]:
    for slot, given in model.files.items():
        paths = given.values() if isinstance(given, Mapping) else (given,)
        for one in paths:
            part = family.components.get(slot)
            remarks = ["optional"] if part and part.optional else []
            remarks += [] if exists(Path(one)) else ["not there"]
            yield f"{slot} = {place(one)}" + (f" ({', '.join(remarks)})" if remarks else "")
    yield from _loras(model.loras)


def _loras(loras: Sequence[LoraUse]) -> Iterator[str]:
    for use in loras:
        missing = "" if exists(use.file) else " (not there)"
        yield f"LoRA {place(use.file)}{missing}, strength {use.told}"


def _preset(stage: StageSpec, workflow: Workflow, plugins: Plugins) -> Preset | None:
    model = workflow.models.get(stage.model) if stage.model else None
    return plugins.family(model.family).preset if model else None


def _options(stage: StageSpec, preset: Preset | None) -> dict[str, Any]:
    """Options of a stage that say something; those left open as the family recommends them."""
    if not attrs.has(type(stage.options)):
        return {}
    told: dict[str, Any] = {}
    for field in attrs.fields(type(stage.options)):
        value = getattr(stage.options, field.name)
        value = getattr(preset, field.name, None) if value is None else value
        if value is not None and value != "":
            told[field.name] = value
    return told
