"""Executing a plan: texts first, then stage by stage, then the chain that ends in the file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import torch

from wan_core.contract.attention import Attend
from wan_core.contract.events import Listener, Note, StageFinished, StageStarted
from wan_core.contract.lazy import resolve
from wan_core.contract.protocols import ChunkSource
from wan_core.contract.requests import StageContext
from wan_core.engine.components import ModelComponents
from wan_core.engine.features import Features
from wan_core.engine.guards import checked_outputs, guarded_attend, handed_latents
from wan_core.engine.keep import Keepsakes
from wan_core.engine.recoveries import WRITING
from wan_core.engine.recovery import Recovery
from wan_core.engine.swapping import HostComponents
from wan_core.engine.text import encode_texts
from wan_core.kernels import telling
from wan_core.media import write_video
from wan_core.memory import Ledger, Residency
from wan_core.planning import Handover, Plan, PlannedModel, PlannedStage
from wan_core.planning.provenance import places, record
from wan_core.planning.whereabouts import remember
from wan_core.plugins import Plugins
from wan_core.sampling import recorded, rescued

Texts = Mapping[str, Mapping[str, torch.Tensor]]


@attrs.frozen(eq=False)
class Run:
    """One execution of a plan, with everything it shares with the session."""

    plan: Plan
    plugins: Plugins
    residencies: Mapping[str, Residency]
    host: HostComponents
    ledger: Ledger
    keepsakes: Keepsakes
    recovery: Recovery
    emit: Listener
    cache: Path
    previews: bool = False
    _open: list[ModelComponents] = attrs.field(factory=list, init=False)

    def execute(self) -> tuple[Path, ...]:
        """Run every stage and write the output. Returns the files written."""
        try:
            with telling(self._tell_of_kernel):
                return self._execute()
        finally:
            # a stage's video is decoded while it is read, so its VAE is in use until the end
            for components in self._open:
                components.close()
            self.recovery.forget()

    def _execute(self) -> tuple[Path, ...]:
        for note in self.plan.notes:
            self.emit(Note(note, "warning"))
        texts = encode_texts(
            self.plan,
            self.plugins,
            self.residencies,
            self.host,
            self.ledger,
            self.cache / "text",
            self.recovery,
        )
        made: dict[str, ChunkSource] = {}
        files: list[Path] = []
        for stage in self.plan.stages:
            self.emit(StageStarted(stage.name))
            outputs = self._run_stage(stage, texts, made)
            made.update({f"{stage.name}.{name}": source for name, source in outputs.items()})
            if stage is self.plan.output_stage:
                files.append(self._write(stage, made[f"{stage.name}.video"]))
            self.emit(StageFinished(stage.name, self.ledger.seconds_of(stage.name)))
        for line in (line for one in self._open for line in one.compile_summary()):
            self.emit(Note(line))
        return tuple(files)

    def _run_stage(
        self, stage: PlannedStage, texts: Texts, made: Mapping[str, ChunkSource]
    ) -> Mapping[str, ChunkSource]:
        """Run a stage; when memory runs out outside of a step, all of it that is not kept once more."""
        model = self.plan.models[stage.spec.model] if stage.spec.model else None
        components: list[ModelComponents] = []
        if model:
            components = [
                ModelComponents(
                    self.plan,
                    model,
                    self.plugins,
                    self.residencies,
                    self.host,
                    self.ledger,
                    stage.name,
                    self.recovery,
                )
            ]
            self._open.extend(components)

        def again() -> None:
            for one in components:
                one.close()
            self.keepsakes.repeat()

        attempt = partial(self._attempt, stage, texts, made, model, components)
        # an input that can be read once only is used up
        if not components or not all(source.replayable for source in made.values()):
            return attempt()
        # of earlier stages what decodes the videos that this one reads is in use, too
        return self.recovery.persist(attempt, self._open, again=again)

    def _attempt(
        self,
        stage: PlannedStage,
        texts: Texts,
        made: Mapping[str, ChunkSource],
        model: PlannedModel | None,
        components: list[ModelComponents],
    ) -> Mapping[str, ChunkSource]:
        features = Features(self.plan, stage, self.plugins, made)
        context = StageContext(
            stage=stage.name,
            options=stage.needs.options,
            planned=stage.needs.planned,
            family=model.family if model else None,
            size=stage.needs.size,
            components=components[0] if components else None,
            text=texts.get(stage.spec.model or "", {}),
            inputs=made,
            condition=features.condition,
            attention=self._attention(model),
            solver=self.plugins.solver,
            attributed=self.plugins.attributed,
            attention_patches=features.attention_patches,
            post_process=features.post_process,
            keep=partial(self.keepsakes.keep, stage.name),
            kept=partial(self.keepsakes.kept, stage.name),
            task=partial(self.ledger.task, stage.name),
            emit=self.emit,
            folder=self.plan.workflow.source.folder,
            device=torch.device(model.device if model else self.plan.machine.device),
            dtype=getattr(torch, model.dtype if model else "float32"),
            previews=self.previews,
            latents={
                one.option: self._handed(one, made) for one in stage.handovers if not one.pixels
            },
        )
        state_bytes = sum(spec.bytes for spec in stage.needs.state if spec.mutable)
        states = self.keepsakes.states(stage.name, state_bytes)
        make_room = partial(self.recovery.make_room, self._open)
        with (
            self.plugins.attributed(stage.description),
            recorded(states),
            rescued(make_room),
        ):
            outputs = resolve(stage.description.run)(context)
        return checked_outputs(outputs, stage.description, self.plugins)

    def _handed(self, one: Handover, made: Mapping[str, ChunkSource]) -> torch.Tensor:
        giver = next(stage for stage in self.plan.stages if stage.name == one.giver)
        return handed_latents(made[one.source], giver.description, self.plugins)

    def _tell_of_kernel(self, what: str, instead: str) -> None:
        self.recovery.report(*self.ledger.doing, what, instead, exact=False)

    def _attention(self, model: PlannedModel | None) -> Attend:
        backend = self.plugins.attention_backend(model.attention if model else "sdpa")
        with self.plugins.attributed(backend):
            attend: Attend = resolve(backend.attend)
        if self.plugins.is_core(backend):
            return attend
        return guarded_attend(attend, backend, self.plugins)

    def _write(self, stage: PlannedStage, source: ChunkSource) -> Path:
        """Write the output; when memory runs out while it is decoded, from its first frame once more."""
        attempt = partial(self._write_once, stage, source)
        if not source.replayable:
            return attempt()
        return self.recovery.persist(attempt, self._open)

    def _write_once(self, stage: PlannedStage, source: ChunkSource) -> Path:
        size = stage.needs.size
        eager = {one.model.name for one in self._open if one.falls_back}
        made = record(
            self.plan, self.plugins, circumstances(self.plan, eager, self.recovery.changed)
        )
        total = size.frames if size else None
        with (
            self.ledger.task(stage.name, WRITING, total=total, unit="frame") as progress,
            # chunks that the writer can't take are those of the stage
            self.plugins.attributed(stage.description),
        ):
            written = write_video(
                self.plan.output,
                source,
                self.plan.fps,
                comment=made.to_text() if made else None,
                overwrite=self.plan.workflow.output.overwrite,
                checked=True,
                on_frames=progress,
            )
        if made:
            remember(places(self.plan, made.inputs))
        if written.path != self.plan.output:
            self.emit(
                Note(f"{self.plan.output} is there already, and was left as it is", "warning")
            )
        return written.path


def circumstances(
    plan: Plan, eager: Collection[str] = (), recovered: Sequence[str] = ()
) -> dict[str, str]:
    """What the bits of a video depend on beside files and versions.

    Args:
        eager: models that were to be compiled and could not be.
        recovered: what was done otherwise than planned and changed bits.
    """
    models = plan.models.values()
    compiled = [m.name for m in models if m.compile and m.name not in eager]
    return {
        "device": plan.machine.title,
        "dtype": ", ".join(dict.fromkeys(model.dtype for model in models)),
        "attention": ", ".join(dict.fromkeys(model.attention for model in models)),
        "threads": str(torch.get_num_threads()),
        "compiled": ", ".join(compiled) or "nothing",
        **({"recovered": "; ".join(recovered)} if recovered else {}),
    }
