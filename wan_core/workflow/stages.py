"""The ``[[stages]]`` tables and the features they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import attrs

from wan_core.contract.errors import nearest
from wan_core.contract.loras import LoraUse
from wan_core.contract.options import show
from wan_core.workflow.lines import KeyPath, write_key
from wan_core.workflow.posts import post_table, post_tables
from wan_core.workflow.reader import Reader
from wan_core.workflow.references import check_reference, post_names, references, stage_names
from wan_core.workflow.source import LONE_MODEL
from wan_core.workflow.spec import MOST_LORAS, FeatureSpec, Handed, ModelSpec, StageSpec, check_name
from wan_core.workflow.structure import options_of

_STAGE_KEYS = frozenset({"use", "name", "model", "apply", "post", "loras", "handover"})
_FEATURE_KEYS = frozenset({"use"})


def read_stages(
    reader: Reader, raw: object, models: Mapping[str, ModelSpec]
) -> tuple[StageSpec, ...]:
    """All stages in order; what their options are, plugins say."""
    tables = reader.tables(("stages",), raw)
    if not tables:
        remedy = 'begin one with [[stages]] and use = "generate"'
        reader.refuse(("stages",), "there are no stages", remedy)
    names = stage_names(tables)
    posts = [
        post_tables(reader, ("stages", index, "post"), table.get("post", []))
        for index, table in enumerate(tables)
    ]
    more = post_names(posts, names)
    every: dict[KeyPath, str] = {("stages", index): name for index, name in enumerate(names)}
    for index, own in enumerate(more):
        every |= {("stages", index, "post", number): name for number, name in enumerate(own)}
    stages: list[StageSpec] = []
    earlier: dict[str, tuple[str, ...]] = {}

    def read(path: KeyPath, table: Mapping[str, Any], name: str) -> StageSpec:
        _check_stage_name(reader, path, table, every)
        stage = _read_stage(reader, path, table, name, models)
        for place, options in _all_options(path, stage):
            for option, value in references(options):
                with reader.at((*place, option)):
                    check_reference(option, value, earlier, tuple(every.values()))
        earlier[stage.name] = reader.plugins.stage(stage.use).outputs
        return stage

    for index, table in enumerate(tables):
        stage = read(("stages", index), table, names[index])
        chain = [stage]
        for number, entry in enumerate(posts[index]):
            path = ("stages", index, "post", number)
            whole = post_table(reader, path, entry, chain[-1], stage)
            chain.append(read(path, whole, more[index][number]))
        stages.append(attrs.evolve(stage, post=tuple(chain[1:])))
    return tuple(stages)


def _check_stage_name(
    reader: Reader, path: KeyPath, table: Mapping[str, Any], every: Mapping[KeyPath, str]
) -> None:
    if "name" not in table:
        return
    name = table["name"]
    with reader.at((*path, "name")):
        check_name(name)
    first = next(place for place, other in every.items() if other == name)
    if first != path:
        other = reader.source.where((*first, "name"))
        problem = f"the name {show(name)} is taken by another stage ({other})"
        reader.refuse((*path, "name"), problem, "give one of them another name")


def _read_stage(
    reader: Reader,
    path: KeyPath,
    table: Mapping[str, Any],
    name: str,
    models: Mapping[str, ModelSpec],
) -> StageSpec:
    use = _read_use(reader, path, table, "stage")
    cls = reader.options_class((*path, "use"), reader.plugins.stage(use), _STAGE_KEYS)
    title = f"the stage {show(use)}"
    options = reader.structure(path, table, cls, title=title, also=_STAGE_KEYS)
    known = options_of(cls).keys() | _STAGE_KEYS
    features = reader.tables((*path, "apply"), table.get("apply", []))
    model = _read_model_name(reader, path, table, use, models)
    handover = reader.value((*path, "handover"), table.get("handover", "latents"), Handed)
    return StageSpec(
        use=use,
        name=name,
        model=model,
        options=options,
        apply=tuple(
            _read_feature(reader, (*path, "apply", index), feature, known)
            for index, feature in enumerate(features)
        ),
        loras=_read_loras(reader, (*path, "loras"), table.get("loras", []), model),
        handover=handover,
        key=write_key(path),
    )


def _read_feature(
    reader: Reader, path: KeyPath, table: Mapping[str, Any], stage_keys: AbstractSet[str]
) -> FeatureSpec:
    use = _read_use(reader, path, table, "feature")
    cls = reader.options_class((*path, "use"), reader.plugins.feature(use), _FEATURE_KEYS)
    title = f"the feature {show(use)}"
    for key in table:
        if key in stage_keys - _FEATURE_KEYS - options_of(cls).keys():
            remedy = "it belongs to the stage: write it above [[stages.apply]]"
            reader.refuse((*path, key), f"{title} has no option {show(key)}", remedy)
    options = reader.structure(path, table, cls, title=title, also=_FEATURE_KEYS)
    return FeatureSpec(use, options, write_key(path))


def _read_use(reader: Reader, path: KeyPath, table: Mapping[str, Any], sort: str) -> str:
    """The name under ``use``; an installed plugin brings a thing of this sort by that name."""
    if "use" not in table:
        installed = ", ".join(getattr(reader.plugins, f"{sort}s")) or "none"
        remedy = f'add use = "…" (installed are: {installed})'
        reader.refuse(path, f"this {sort} does not say what to use", remedy)
    return reader.known((*path, "use"), table["use"], sort)


def _read_loras(
    reader: Reader, path: KeyPath, raw: object, model: str | None
) -> tuple[LoraUse, ...]:
    loras: tuple[LoraUse, ...] = reader.value(path, raw, tuple[LoraUse, ...])
    if loras and model is None:
        reader.refuse(
            path, "this stage has no model that LoRA files could change", "leave loras out"
        )
    if len(loras) > MOST_LORAS:
        problem = f"loras holds {len(loras)} files, the most it may hold is {MOST_LORAS}"
        reader.refuse(path, problem)
    return loras


def _read_model_name(
    reader: Reader,
    path: KeyPath,
    table: Mapping[str, Any],
    use: str,
    models: Mapping[str, ModelSpec],
) -> str | None:
    """The model that a stage drives: as it says, else ``main``, else the only one that fits."""
    drives = [f.name for f in reader.plugins.families.values() if use in f.stages]
    if "model" in table:
        return _named_model(reader, (*path, "model"), table["model"], use, models, drives)
    if not drives:
        return None
    fitting = [name for name, model in models.items() if model.family in drives]
    title = f"the stage {show(use)}"
    if not fitting:
        problem = f"{title} needs a model" + (", and no model here suits it" if models else "")
        remedy = f'add [model] with family = "…" (it drives: {", ".join(drives)})'
        reader.refuse(path, problem, remedy)
    main = LONE_MODEL[1]
    if len(fitting) > 1 and main not in fitting:
        choices = " or ".join(f"model = {show(name)}" for name in fitting)
        reader.refuse(path, f"{title} must say which model it drives", f"add {choices}")
    return main if main in fitting else fitting[0]


def _named_model(
    reader: Reader,
    path: KeyPath,
    raw: object,
    use: str,
    models: Mapping[str, ModelSpec],
    drives: Sequence[str],
) -> str:
    name: str = reader.value(path, raw, str)
    if name not in models:
        remedy = nearest(name, models) or "there are none, add a [model] table"
        reader.refuse(path, f"there is no model {show(name)}", remedy)
    family = models[name].family
    if drives and family not in drives:
        problem = f"the stage {show(use)} can't drive the family {family} of model {show(name)}"
        reader.refuse(path, problem, f"it drives: {', '.join(drives)}")
    return name


def _all_options(path: KeyPath, stage: StageSpec) -> Iterator[tuple[KeyPath, Any]]:
    yield path, stage.options
    for index, feature in enumerate(stage.apply):
        yield (*path, "apply", index), feature.options
