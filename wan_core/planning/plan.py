"""A plan: a workflow that has passed every check, and what the engine has to know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import Family, Stage
from wan_core.contract.quantization import Quantization
from wan_core.contract.requests import StageNeeds
from wan_core.contract.text import duration
from wan_core.memory import gigabytes
from wan_core.models.encoders import TokenizerFile
from wan_core.planning.files import PlannedFile
from wan_core.planning.loras import PlannedLora
from wan_core.planning.machine import Machine
from wan_core.planning.predict import ITEM_SIZE, Phase, unpacking
from wan_core.workflow import StageSpec, Workflow


@attrs.frozen
class PlannedModel:
    """A model of the workflow with its files and where it will run.

    Attributes:
        files: slot -> file.
        companions: further files by their key (``"tokenizer"``).
        tokenizer: of the text encoder, where there is one.
        dialects: slot -> dialects that plugins bring.
        device, dtype, attention: where, in which precision and how.
        loras: LoRA files that change its transformer, in order.
        quantization: how its transformer is quantised while it is loaded.
    """

    name: str
    family: Family
    files: Mapping[str, PlannedFile]
    companions: Mapping[str, Path]
    tokenizer: TokenizerFile | None
    dialects: Mapping[str, tuple[Any, ...]]
    device: str
    dtype: str
    attention: str
    loras: tuple[PlannedLora, ...] = ()
    quantization: Quantization | None = None

    @property
    def rounds_inputs(self) -> bool:
        """Whether its transformer multiplies in 8 bits, if its card can."""
        asked = self.quantization is not None and self.quantization.products == "fp8"
        return asked and self.dtype == "bfloat16" and self.device.startswith("cuda")

    def loras_of(self, slot: str) -> tuple[PlannedLora, ...]:
        """Those that change something in a slot."""
        return tuple(lora for lora in self.loras if lora.changes.get(slot))

    @property
    def parts(self) -> frozenset[str]:
        """What has files: ``"transformer"``, of which there may be two experts, ``"vae"`` …"""
        return frozenset(slot.partition(".")[0] for slot in self.files)

    def resident_bytes(self, slot: str) -> int:
        """Bytes of a component's weights: quantised ones as stored, others in this model's precision."""
        file = self.files.get(slot)
        if file is None:
            return 0
        values, nbytes = file.packed
        return (file.elements - values) * ITEM_SIZE[self.dtype] + nbytes

    def unpacking_bytes(self, slot: str) -> int:
        """Bytes that a component needs to unpack its largest quantised weight."""
        file = self.files.get(slot)
        return unpacking(file.largest, ITEM_SIZE[self.dtype]) if file else 0


@attrs.frozen
class PlannedStage:
    """A stage with its options filled in and its needs known."""

    spec: StageSpec
    description: Stage
    needs: StageNeeds

    @property
    def name(self) -> str:
        return self.spec.name

    def contexts(self, model: PlannedModel) -> int:
        """How many contexts it gives to its model's chain of VACE blocks."""
        slot = model.family.slots("transformer")[0]
        if slot not in model.files or model.files[slot].identity.variant != "vace":
            return 0
        return sum(asked.use in model.family.features for asked in self.spec.apply)


@attrs.frozen
class Plan:
    """A workflow that has passed every check, with everything the engine has to know.

    Attributes:
        workflow: with every default visible.
        machine: where it will run.
        models: model name -> its files, device, dtype.
        stages: in order.
        texts: model name -> prompts that its text encoder serves, each once, in order.
        phases: predicted memory, part by part.
        notes: what the user should know.
        output: the file that will be written.
        seconds: predicted time by ``"stage / task"``, in the order of a run; without what isn't known.
        time_hint: why no time is predicted, "" when there is nothing to say.
    """

    workflow: Workflow
    machine: Machine
    models: Mapping[str, PlannedModel]
    stages: tuple[PlannedStage, ...]
    texts: Mapping[str, tuple[str, ...]]
    phases: tuple[Phase, ...]
    notes: tuple[str, ...]
    output: Path
    seconds: Mapping[str, float] = attrs.field(factory=dict)
    time_hint: str = ""

    @property
    def output_stage(self) -> PlannedStage:
        """The stage whose video is written."""
        return output_stage(self.workflow, self.stages)

    @property
    def fps(self) -> float:
        """Frames per second of the file."""
        return frame_rate(self.workflow, self.output_stage)

    def headroom(self, stage: str, model: PlannedModel, slot: str) -> int:
        """Bytes that a component's work in a stage needs beside the weights, as predicted."""
        of_model = [s.name for s in self.stages if s.spec.model == model.name]
        stages = [stage] if stage in of_model else of_model
        found = [p.activations for p in self.phases if p.slot == slot and p.stage in stages]
        return max(found, default=0)

    @property
    def peak(self) -> int:
        """Predicted peak of memory on the device in bytes."""
        return max((phase.peak for phase in self.phases), default=0)

    def describe(self) -> list[tuple[str, list[str]]]:
        """The plan for people: titled sections of lines (the resolved workflow is printed beside it)."""
        files = [
            f"{model.name}.{slot}: {file.path.name}, {file.identity}, {gigabytes(file.bytes)}"
            + (f", found in {file.path.parent}" if file.found else "")
            for model in self.models.values()
            for slot, file in model.files.items()
        ]
        loras = [
            f"{model.name}.loras.{index}: {lora.title}"
            for model in self.models.values()
            for index, lora in enumerate(model.loras)
        ]
        runs = [
            f"{m.name}: {m.family.title}; {m.device}, {m.dtype}, attention {m.attention}"
            + (f", transformer in {m.quantization.title}" if m.quantization else "")
            for m in self.models.values()
        ]
        stages = [f"{s.name}: {_sentence(s)}" for s in self.stages]
        memory = [
            f"{p.name}: {gigabytes(p.peak)} (weights {gigabytes(p.weights)}, "
            f"activations about {gigabytes(p.activations)})"
            for p in self.phases
        ]
        sections = [
            ("Machine", [f"{self.machine.title}, {gigabytes(self.machine.ram)} RAM free"]),
            ("Models", runs),
            ("Files", files),
            ("LoRAs", loras),
            ("Stages", stages),
            ("Predicted memory", memory),
            ("Predicted time", self._time()),
            ("Output", [f"{self.output}, {self.fps:g} frames per second"]),
            ("Notes", list(self.notes)),
        ]
        return [(title, lines) for title, lines in sections if lines]

    def _time(self) -> list[str]:
        if not self.seconds:
            return [self.time_hint] if self.time_hint else []
        tasks = [f"{task}: about {duration(seconds)}" for task, seconds in self.seconds.items()]
        return [*tasks, f"together: about {duration(sum(self.seconds.values()))}"]


def output_stage(workflow: Workflow, stages: Sequence[PlannedStage]) -> PlannedStage:
    """The stage whose video is written: the one that is named, else the last that makes one."""
    makers = [s for s in stages if "video" in s.description.outputs]
    return next((s for s in makers if s.name == workflow.output.stage), makers[-1])


def frame_rate(workflow: Workflow, stage: PlannedStage) -> float:
    """Frames per second of the video of a stage: as the workflow says, else as the stage makes them."""
    size = stage.needs.size
    return workflow.output.fps or (size.fps if size else 16.0)


def _sentence(stage: PlannedStage) -> str:
    size = stage.needs.size
    if size is None:
        return stage.description.summary
    return (
        f"{stage.description.summary}; {size.width}x{size.height}, {size.frames} frames at "
        f"{size.fps:g} per second"
    )
