"""Which stages hand their latents to later ones, and whose video nobody wants to see. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from wan_core.planning.plan import Handover, PlannedModel, PlannedStage, output_stage
from wan_core.planning.sharing import identity_of
from wan_core.plugins import Plugins
from wan_core.workflow import Workflow
from wan_core.workflow.references import references

POST = "post"
"""What a feature writes that changes the decoded video. Several are chained, so they are no contradiction."""


def hand_over(
    workflow: Workflow,
    stages: tuple[PlannedStage, ...],
    models: Mapping[str, PlannedModel],
    plugins: Plugins,
) -> tuple[PlannedStage, ...]:
    """The stages with what they hand to each other, and whether their videos are decoded."""
    by_name = {one.name: one for one in stages}
    planned = tuple(
        attrs.evolve(one, handovers=tuple(_handovers(one, by_name, models, plugins)))
        for one in stages
    )
    written = output_stage(workflow, planned).name if _makes_video(planned) else ""
    read = {written, *(name for one in planned for name in _read(one))}
    return tuple(attrs.evolve(one, decoded=one.name in read) for one in planned)


def _makes_video(stages: tuple[PlannedStage, ...]) -> bool:
    return any("video" in one.description.outputs for one in stages)


def _handovers(
    taker: PlannedStage,
    stages: Mapping[str, PlannedStage],
    models: Mapping[str, PlannedModel],
    plugins: Plugins,
) -> Iterator[Handover]:
    """Of each video that the stage could take as latents, whether it does."""
    named = dict(references(taker.needs.options))
    for option, vae in taker.needs.takes_latents.items():
        if source := named.get(option):
            name, _, output = source.rpartition(".")
            why = _why_pixels(taker, vae, stages[name], output, models, plugins)
            yield Handover(option, source, why)


def _why_pixels(
    taker: PlannedStage,
    vae: str,
    giver: PlannedStage,
    output: str,
    models: Mapping[str, PlannedModel],
    plugins: Plugins,
) -> str:
    """Why a stage takes the pixels of a video; "" when it takes its latents."""
    made, wanted = giver.needs.size, taker.needs.size
    has = giver.needs.gives_latents.get(output)
    one, other = models.get(giver.spec.model or ""), models.get(taker.spec.model or "")
    changing = next(
        (a.use for a in giver.spec.apply if POST in plugins.feature(a.use).slots(a.options)), ""
    )
    if taker.spec.handover == "pixels":
        return 'handover = "pixels"'
    if has is None or one is None or other is None or made is None or wanted is None:
        return f'"{giver.name}" has no latents'
    if changing:
        return f'"{changing}" changes them'
    if (made.width, made.height) != (wanted.width, wanted.height):
        return f"they are brought to {wanted.width}x{wanted.height}"
    if made.frames < wanted.frames:
        return f"they are {made.frames} of the {wanted.frames} frames"
    if made.frames > wanted.frames:
        return f"only {wanted.frames} of {made.frames} frames are used"
    if identity_of(one, has) != identity_of(other, vae):
        return "the two models have not the same VAE"
    return ""


def _read(stage: PlannedStage) -> Iterator[str]:
    """Names of stages whose output a stage and its features read."""
    for option, source in references(stage.needs.options):
        if not stage.takes_latents(option):
            yield source.rpartition(".")[0]
    for asked in stage.spec.apply:
        yield from (source.rpartition(".")[0] for _, source in references(asked.options))
