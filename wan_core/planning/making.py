"""``make_plan``: from a workflow to a plan that can be run.

Features are consulted, files identified by their headers, sizes and solvers checked, the texts of all
stages collected, memory predicted. No weight is read; torch is imported only to ask for a GPU or to open a
``.pth``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import attrs

from wan_core.contract.descriptions import AttentionBackend, Family
from wan_core.contract.errors import (
    PluginError,
    ResourceError,
    WanCoreError,
    WeightsError,
    WorkflowError,
)
from wan_core.contract.lazy import resolve
from wan_core.contract.requests import FeatureCheck, PlanContext, StageNeeds, VideoSize
from wan_core.media import check_target, exact_rate
from wan_core.memory import gigabytes
from wan_core.models.encoders import TokenizerFile, find_tokenizer, open_tokenizer
from wan_core.models.vae import vae_descriptor
from wan_core.planning.files import PlannedFile, plan_files
from wan_core.planning.fitting import check_vocabulary
from wan_core.planning.library import Library, configured
from wan_core.planning.machine import Machine, look, precision
from wan_core.planning.output import output_path
from wan_core.planning.places import Places
from wan_core.planning.plan import Plan, PlannedModel, PlannedStage, output_stage
from wan_core.planning.predict import (
    ITEM_SIZE,
    Phase,
    tokens,
    transformer_activations,
    vae_decoding,
)
from wan_core.planning.timing import predict_seconds
from wan_core.plugins import Plugins
from wan_core.weights import open_weights
from wan_core.workflow import ModelSpec, StageSpec, Workflow

# 512 rows of the largest text encoder: scores of 64 heads and the gated hidden rows, in float32
TEXT_ACTIVATIONS = 110_000_000


def make_plan(
    workflow: Workflow,
    plugins: Plugins,
    *,
    device: str = "auto",
    library: Library | None = None,
) -> Plan:
    """Check a workflow against plugins, files and machine, and work out what the run will do.

    Args:
        device: replaces what the models say (``"auto"`` leaves it to them).
        library: where weight files are looked for; None = where the configuration says.

    Raises:
        WanCoreError: for everything that can't work, one sentence each.
    """
    return make_plans([workflow], plugins, device=device, library=library)[0]


def make_plans(
    workflows: Sequence[Workflow],
    plugins: Plugins,
    *,
    device: str = "auto",
    library: Library | None = None,
) -> tuple[Plan, ...]:
    """Plan all runs of a sweep, each with a file of its own; see :func:`make_plan`."""
    library = configured() if library is None else library
    plans: list[Plan] = []
    taken: set[Path] = set()
    for workflow in workflows:
        # the runs of a sweep have the same models: files are looked at once
        same = bool(plans) and workflow.models == workflows[0].models
        models = plans[0].models if same else _plan_models(workflow, plugins, device, library)
        plans.append(_plan(workflow, plugins, device, models, taken))
        taken.add(plans[-1].output)
    return tuple(plans)


def _plan_models(
    workflow: Workflow, plugins: Plugins, device: str, library: Library
) -> dict[str, PlannedModel]:
    places = Places(library, workflow.source.folder)
    return {
        name: _plan_model(workflow, name, spec, plugins, device, places)
        for name, spec in workflow.models.items()
    }


def _plan(
    workflow: Workflow,
    plugins: Plugins,
    device: str,
    models: Mapping[str, PlannedModel],
    taken: Collection[Path],
) -> Plan:
    stages = tuple(_plan_stage(workflow, spec, models, plugins) for spec in workflow.stages)
    output = _plan_output(workflow, stages, models, taken)
    machine = look(device if device != "auto" else _first_device(models))
    phases = tuple(p for s in stages for p in _predict(s, models))
    _check_budget(workflow, machine, phases)
    texts: dict[str, tuple[str, ...]] = {}
    for stage in stages:
        if stage.spec.model:
            earlier = texts.get(stage.spec.model, ())
            texts[stage.spec.model] = tuple(dict.fromkeys((*earlier, *stage.needs.prompts)))
    resolved = attrs.evolve(
        workflow,
        stages=tuple(attrs.evolve(s.spec, options=s.needs.options) for s in stages),
    )
    inexact = [
        f"attention {m.attention} is inexact: results differ from the reference"
        for m in models.values()
        if not plugins.attention_backend(m.attention).support.exact
    ]
    inexact += _shortages(machine, phases)
    notes = tuple(dict.fromkeys((*inexact, *(note for s in stages for note in s.needs.notes))))
    seconds, hint = predict_seconds(stages, models, texts, machine)
    return Plan(resolved, machine, models, stages, texts, phases, notes, output, seconds, hint)


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
    planned, companions = plan_files(family, spec.files, where, plugins, places)
    machine = look(device if device != "auto" else spec.device, where=where("device"))
    dtype = precision(spec.precision, machine.device)
    backend = plugins.attention_backend(spec.attention)
    _check_attention(backend, planned, family, dtype, machine, where("attention"))
    return PlannedModel(
        name,
        family,
        planned,
        companions,
        _plan_tokenizer(family, planned, companions, where, places),
        {slot: plugins.dialects_of(c.kind) for slot, c in family.components.items()},
        machine.device,
        dtype,
        backend.name,
    )


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
    transformer = files.get("transformer")
    if transformer and support.head_widths and "dim" in transformer.identity.details:
        dim = transformer.identity.details["dim"]
        heads = family.components["transformer"].config.get("num_heads", dim // 128)
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
        error.where = ", ".join(dict.fromkeys(filter(None, (where(key), error.where))))
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


def _plan_stage(
    workflow: Workflow, spec: StageSpec, models: Mapping[str, PlannedModel], plugins: Plugins
) -> PlannedStage:
    description = plugins.stage(spec.use)
    if spec.post:
        raise WorkflowError(
            "post is not carried out by this version",
            where=workflow.source.where(f"{spec.key}.post"),
            remedy="ask for features under [[stages.apply]]",
        )
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
        )
        with plugins.attributed(description):
            needs = resolve(description.plan)(context)
    if spec.apply and model and needs.size:
        _check_features(workflow, spec, model.family, needs.size, plugins)
    return PlannedStage(spec, description, needs)


def _check_features(
    workflow: Workflow, spec: StageSpec, family: Family, size: VideoSize, plugins: Plugins
) -> None:
    writers: dict[str, str] = {}
    for asked in spec.apply:
        where = workflow.source.where(asked.key)
        feature = plugins.feature(asked.use)
        if feature.families and family.name not in feature.families:
            raise WorkflowError(
                f"feature {feature.name} does not fit family {family.name}",
                where=where,
                remedy="it fits " + ", ".join(feature.families),
            )
        for slot in feature.writes:
            if slot in writers and slot not in feature.replaces:
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
                where=where,
                folder=workflow.source.folder,
                family=family,
                size=size,
            )
            with plugins.attributed(feature):
                resolve(feature.check)(check)


def _plan_output(
    workflow: Workflow,
    stages: tuple[PlannedStage, ...],
    models: Mapping[str, PlannedModel],
    taken: Collection[Path],
) -> Path:
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
    check_target(
        path,
        width=size.width if size else None,
        height=size.height if size else None,
        frames=size.frames if size else None,
        fps=exact_rate(workflow.output.fps or (size.fps if size else 16)),
        overwrite=workflow.output.overwrite,
        where=workflow.source.where("output.path"),
    )
    return path


def _predict(stage: PlannedStage, models: Mapping[str, PlannedModel]) -> list[Phase]:
    """Memory part by part; nothing for a family whose components are not those of text to video."""
    size = stage.needs.size
    model = models.get(stage.spec.model or "")
    if model is None or size is None or set(model.files) != {"text_encoder", "transformer", "vae"}:
        return []
    sizes = model.files["transformer"].identity.details
    if not {"dim", "ffn_dim"} <= set(sizes):
        return []
    item = ITEM_SIZE[model.dtype]
    vae = vae_descriptor(open_weights(model.files["vae"].path))
    sampling = transformer_activations(
        tokens(size, vae.stride), sizes["dim"], sizes["ffn_dim"], item
    )
    parts = [
        ("text", "text_encoder", TEXT_ACTIVATIONS),
        ("sampling", "transformer", sampling),
        ("decoding", "vae", vae_decoding(vae.config, size, item)),
    ]
    return [
        Phase(stage.name, part, slot, model.resident_bytes(slot), activations)
        for part, slot, activations in parts
    ]


def _shortages(machine: Machine, phases: tuple[Phase, ...]) -> list[str]:
    """Notes on what this machine has no room for now; a plan may be made for another one."""
    free = machine.ram if machine.vram is None else machine.vram
    return [
        f"{phase.name} is predicted to need {gigabytes(phase.peak)}; {gigabytes(free)} are free here"
        for phase in phases
        if phase.peak > free
    ]


def _check_budget(workflow: Workflow, machine: Machine, phases: tuple[Phase, ...]) -> None:
    key = "ram" if machine.vram is None else "vram"
    budget: int | None = getattr(workflow.memory, key)
    if budget is None:
        return
    for phase in phases:
        if phase.peak > budget:
            raise ResourceError(
                f"{phase.name} is predicted to need {gigabytes(phase.peak)} (weights "
                f"{gigabytes(phase.weights)}, activations {gigabytes(phase.activations)}), the "
                f"budget is {gigabytes(budget)}",
                where=workflow.source.where(f"memory.{key}"),
                remedy="use a smaller size, fewer frames, a smaller precision or a larger budget",
            )
