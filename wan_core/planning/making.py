"""``make_plan``: from a workflow to a plan that can be run.

Features are consulted, files identified by their headers, sizes and solvers checked, the texts of all
stages collected, memory predicted. No weight is read; torch is imported only to ask for a GPU or to open a
``.pth``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs

from wan_core.contract.descriptions import AttentionBackend, Family
from wan_core.contract.errors import (
    WanCoreError,
    WeightsError,
    WorkflowError,
)
from wan_core.contract.loras import LoraUse
from wan_core.models.encoders import TokenizerFile, find_tokenizer, open_tokenizer
from wan_core.planning.bounds import Bounds, bounds_of
from wan_core.planning.budget import check_budget, shortages
from wan_core.planning.calibration import find_calibration
from wan_core.planning.files import PlannedFile, plan_files
from wan_core.planning.fitting import check_vocabulary
from wan_core.planning.knobs import check_knobs, refuse_contradictions, simulated
from wan_core.planning.known import Known, what_is_known
from wan_core.planning.library import Library, configured
from wan_core.planning.lora_sets import refuse_long
from wan_core.planning.loras import plan_loras
from wan_core.planning.machine import Machine, beside, look, precision
from wan_core.planning.output import alike
from wan_core.planning.phases import predict_run
from wan_core.planning.placements import place
from wan_core.planning.places import Places
from wan_core.planning.plan import Plan, PlannedModel, PlannedStage
from wan_core.planning.predict import ITEM_SIZE
from wan_core.planning.quantising import quantised, why_products_are_exact
from wan_core.planning.staging import plan_output, plan_stages
from wan_core.planning.timing import predict_seconds
from wan_core.planning.widening import holds_loras, widened
from wan_core.plugins import Plugins
from wan_core.weights import open_weights
from wan_core.workflow import ModelSpec, Workflow

AWAY = "files that are not here were taken for the published ones: this plan can't be run"
IN_ALREADY = (
    "{file} is as wide as the LoRA files that come with family {family} make a transformer: they are in it "
    "already and are not merged again"
)


def make_plan(
    workflow: Workflow,
    plugins: Plugins,
    *,
    device: str = "auto",
    library: Library | None = None,
    assume_files: bool = False,
    held: int = 0,
) -> Plan:
    """Check a workflow against plugins, files and machine, and work out what the run will do.

    Args:
        device: replaces what the models say (``"auto"`` leaves it to them).
        library: where weight files are looked for; None = where the configuration says.
        assume_files: published files that are not here count as if they were; such a plan can't be run.
        held: bytes of host memory that the caller's components take now, and will give back.

    Raises:
        WanCoreError: for everything that can't work, one sentence each.
    """
    return make_plans(
        [workflow], plugins, device=device, library=library, assume_files=assume_files, held=held
    )[0]


def make_plans(
    workflows: Sequence[Workflow],
    plugins: Plugins,
    *,
    device: str = "auto",
    library: Library | None = None,
    assume_files: bool = False,
    held: int = 0,
) -> tuple[Plan, ...]:
    """Plan all runs of a sweep, each with a file of its own; see :func:`make_plan`."""
    library = configured() if library is None else library
    plans: list[Plan] = []
    taken: set[str] = set()
    for workflow in workflows:
        # the runs of a sweep have the same models: files are looked at once
        same = bool(plans) and _files_named(workflow) == _files_named(workflows[0])
        places = Places(library, workflow.source.folder, assume_files)
        models = plans[0].models if same else _plan_models(workflow, plugins, device, places)
        plans.append(_plan(workflow, plugins, device, models, taken, held))
        taken.add(alike(plans[-1].output))
    return tuple(plans)


def _files_named(workflow: Workflow) -> object:
    """What decides the files of all models: their tables, and the LoRA files of stages."""
    return workflow.models, [(one.name, one.model, one.loras) for one in workflow.every_stage]


def _plan_models(
    workflow: Workflow, plugins: Plugins, device: str, places: Places
) -> dict[str, PlannedModel]:
    return {
        name: _plan_model(workflow, name, spec, plugins, device, places)
        for name, spec in workflow.models.items()
    }


def _plan(
    workflow: Workflow,
    plugins: Plugins,
    device: str,
    models: Mapping[str, PlannedModel],
    taken: Collection[str],
    held: int,
) -> Plan:
    stages = plan_stages(workflow, models, plugins)
    _check_strengths(workflow, models, stages)
    output = plan_output(workflow, stages, models, taken)
    machine = beside(look(device if device != "auto" else _first_device(models)), held)
    texts: dict[str, tuple[str, ...]] = {}
    for stage in stages:
        if stage.spec.model:
            earlier = texts.get(stage.spec.model, ())
            texts[stage.spec.model] = tuple(dict.fromkeys((*earlier, *stage.needs.prompts)))
    check_knobs(workflow, models)
    bounds = bounds_of(workflow.memory, machine)
    known = [(stage, what_is_known(stage, models)) for stage in stages]
    models = placed(models, known, workflow, machine, bounds, texts)
    known = [(stage, one and one.under(models)) for stage, one in known]
    phases = tuple(predict_run(known, bounds.host))
    refuse_contradictions(workflow, models, known, bounds)
    check_budget(workflow, bounds, phases, models)
    filled = {s.name: attrs.evolve(s.spec, options=s.needs.options, post=()) for s in stages}
    resolved = attrs.evolve(
        workflow,
        # as it is written: what post asks for stays there
        stages=tuple(
            attrs.evolve(filled[s.name], post=tuple(filled[one.name] for one in s.post))
            for s in workflow.stages
        ),
    )
    inexact = [
        f"attention {m.attention} is inexact: results differ from the reference"
        for m in models.values()
        if not plugins.attention_backend(m.attention).support.exact
    ]
    for m in models.values():
        if unpacked := why_products_are_exact(m.quantization, m.device, m.dtype):
            inexact.append(unpacked)
        elif m.quantization and m.quantization.products == "fp8":
            inexact.append("products in fp8 are inexact: results differ from the reference")
    inexact += [*shortages(machine, bounds, phases), *simulated(models)]
    inexact += [
        f"{AWAY}; wan-core models pull {m.family.name} fetches them"
        for m in models.values()
        if any(file.assumed for file in m.files.values())
    ]
    of_loras = (
        note for m in models.values() for lora in m.every_lora.values() for note in lora.notes
    )
    notes = tuple(
        dict.fromkeys((*of_loras, *inexact, *(note for s in stages for note in s.needs.notes)))
    )
    seconds, hint = predict_seconds(known, models, texts, machine)
    return Plan(
        resolved, machine, models, stages, texts, phases, notes, output, seconds, hint, bounds
    )


def placed(
    models: Mapping[str, PlannedModel],
    known: Sequence[tuple[PlannedStage, Known | None]],
    workflow: Workflow,
    machine: Machine,
    bounds: Bounds,
    texts: Mapping[str, Sequence[str]],
) -> dict[str, PlannedModel]:
    """Models with their placements; see :func:`wan_core.planning.placements.place`."""
    found = find_calibration(machine)[0]
    both = (found, find_calibration(look("cpu"))[0] if machine.vram is not None else None)
    return place(models, known, workflow.memory, bounds, texts, both)


def _check_strengths(
    workflow: Workflow, models: Mapping[str, PlannedModel], stages: Sequence[PlannedStage]
) -> None:
    """Refuse lists of strengths that are longer than any run that they are for."""
    for name, model in models.items():
        own = [s for s in stages if s.spec.model == name and s.needs.steps is not None]
        longest = max((stage.needs.steps or 0 for stage in own), default=None)
        for index, lora in enumerate(model.loras if longest is not None else ()):
            place = workflow.source.where(f"models.{name}.loras.{index}.strength")
            refuse_long(lora, longest or 0, place)
        for stage in own:
            for index, lora in enumerate(model.stage_loras.get(stage.name, ())):
                place = workflow.source.where(f"{stage.spec.key}.loras.{index}.strength")
                refuse_long(lora, stage.needs.steps or 0, place)


def _first_device(models: Mapping[str, PlannedModel]) -> str:
    return next((m.device for m in models.values()), "cpu")


def _plan_model(
    workflow: Workflow,
    name: str,
    spec: ModelSpec,
    plugins: Plugins,
    device: str,
    places: Places,
) -> PlannedModel:
    def where(key: str) -> str:
        return workflow.source.where(f"models.{name}.{key}")

    family = plugins.family(spec.family)
    with_loras = bool(family.loras or spec.loras)
    planned, companions = plan_files(
        family, spec.files, where, plugins, places, with_loras=with_loras
    )
    slots = family.slots("transformer")
    stored = any(planned[slot].packed[0] for slot in slots if slot in planned)
    dialects = {slot: plugins.dialects_of(c.kind) for slot, c in family.components.items()}
    if spec.quantization:
        for slot in slots:
            planned[slot] = quantised(
                planned.get(slot),
                family.components[slot],
                spec.quantization,
                where,
                dialects[slot],
            )
    machine = look(device if device != "auto" else spec.device, where=where("device"))
    dtype = precision(spec.precision, machine.device)
    backend = plugins.attention_backend(spec.attention)
    _check_attention(backend, planned, family, dtype, machine, where("attention"))
    loras = partial(
        plan_loras,
        family,
        files=planned,
        dialects=dialects,
        places=places,
        item=ITEM_SIZE[dtype],
        quantised_while_loading=spec.quantization is not None and not stored,
    )
    merged = holds_loras(family, planned, dialects)
    of_family = loras(
        tuple(
            LoraUse(places.bundled(one, where("family")), 0.0 if merged else 1.0)
            for one in family.loras
        ),
        where=lambda _: where("family"),
    )
    if merged:
        told = IN_ALREADY.format(file=merged, family=family.name)
        of_family = tuple(attrs.evolve(one, notes=(*one.notes, told)) for one in of_family)
    own = loras(spec.loras, where=where)
    if with_loras:
        planned = widened(family, planned, (*of_family, *own), dialects, where)
    model = PlannedModel(
        name,
        family,
        planned,
        companions,
        _plan_tokenizer(family, planned, companions, where, places),
        dialects,
        machine.device,
        dtype,
        backend.name,
        own,
        spec.quantization,
        {
            stage.name: loras(
                stage.loras, where=partial(_place_in, workflow, stage.key), of_stage=True
            )
            for stage in workflow.every_stage
            if stage.loras and stage.model == name
        },
        spec.compile,
        family_loras=of_family,
    )
    return model.on(machine.device, dtype)


def _place_in(workflow: Workflow, table: str, key: str) -> str:
    return workflow.source.where(f"{table}.{key}")


def _check_attention(
    backend: AttentionBackend,
    files: Mapping[str, PlannedFile],
    family: Family,
    dtype: str,
    machine: Machine,
    where: str,
) -> None:
    support = backend.support
    problems = [
        (support.dtypes and dtype not in support.dtypes, f"in {dtype}", support.dtypes),
        (
            support.devices and machine.device.partition(":")[0] not in support.devices,
            f"on {machine.device}",
            support.devices,
        ),
        (not support.rectangular, "where queries and keys differ in number", ("self-attention",)),
    ]
    for slot in family.slots("transformer"):
        dim = files[slot].identity.details.get("dim") if slot in files else None
        if not (dim and support.head_widths):
            continue
        heads = family.components[slot].config.get("num_heads", dim // 128)
        width = dim // max(1, heads)
        widths = tuple(map(str, support.head_widths))
        problems.append((width not in support.head_widths, f"with heads {width} wide", widths))
    for wrong, what, allowed in problems:
        if wrong:
            raise WorkflowError(
                f"attention {backend.name} can't run {what}",
                where=where,
                remedy=f"it is for {', '.join(allowed)}",
            )


def _plan_tokenizer(
    family: Family,
    files: Mapping[str, PlannedFile],
    companions: Mapping[str, Path],
    where: Callable[[str], str],
    places: Places,
) -> TokenizerFile | None:
    if "text_encoder" not in files:
        return None
    if files["text_encoder"].assumed and "tokenizer" not in companions:
        return None
    key = "tokenizer" if "tokenizer" in companions else "text_encoder"
    try:
        if key == "tokenizer":
            found = open_tokenizer(companions[key])
        else:
            found = _usual_tokenizer(family, files[key].path, places)
        if found.path:
            places.allow(found.path, "")
        # small beside what would be loaded before it is needed
        check_vocabulary(found.load().size, files["text_encoder"].identity)
    except WanCoreError as error:
        error.place(where(key))
        raise
    return found


def _usual_tokenizer(family: Family, encoder: Path, places: Places) -> TokenizerFile:
    """The tokenizer that no one names: in the text encoder's file, beside it, or in the library."""
    try:
        return find_tokenizer(open_weights(encoder))
    except WeightsError as error:
        published = family.components["text_encoder"].published
        for file in published:
            if file.slot == "tokenizer":
                if here := places.library.holds(file):
                    return open_tokenizer(here)
                error.remedy = f"run wan-core models pull {family.name}, or {error.remedy}"
        raise
