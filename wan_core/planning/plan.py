"""A plan: a workflow that has passed every check, and what the engine has to know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import Family, Stage
from wan_core.contract.placement import RESIDENT, Placement
from wan_core.contract.quantization import Quantization
from wan_core.contract.requests import StageNeeds
from wan_core.contract.text import duration
from wan_core.memory import gigabytes
from wan_core.models.encoders import TokenizerFile
from wan_core.planning.bounds import Bounds
from wan_core.planning.files import PlannedFile
from wan_core.planning.lora_sets import beside, strengths
from wan_core.planning.loras import PlannedLora
from wan_core.planning.machine import Machine
from wan_core.planning.placing import device_bytes, host_bytes, traffic
from wan_core.planning.predict import ITEM_SIZE, Phase, unpacking
from wan_core.planning.sharing import components_once, shared
from wan_core.planning.unit_sizes import UnitSizes, sizes_by_slot
from wan_core.planning.wording import between, placed, taken
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
        stage_loras: name of a stage -> files that change it in that stage alone.
        family_loras: those that belong to the family; they come before ``loras``.
        quantization: how its transformer is quantised while it is loaded.
        compile: the units of its transformer are compiled.
        sizes: slot -> bytes of its units, of those that are made of units.
        placements: slot -> where its units lie; of a slot that is not named, all of it is resident.
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
    stage_loras: Mapping[str, tuple[PlannedLora, ...]] = attrs.field(factory=dict)
    compile: bool = False
    sizes: Mapping[str, UnitSizes] = attrs.field(factory=dict)
    placements: Mapping[str, Placement] = attrs.field(factory=dict)
    family_loras: tuple[PlannedLora, ...] = ()

    def on(self, device: str, dtype: str) -> PlannedModel:
        """The same on a device and in a precision, with the sizes that it has there and nothing placed yet."""
        item = ITEM_SIZE[dtype]
        sized = attrs.evolve(
            self,
            device=device,
            dtype=dtype,
            loras=_in_items(self.loras, item),
            family_loras=_in_items(self.family_loras, item),
            stage_loras={name: _in_items(own, item) for name, own in self.stage_loras.items()},
            placements={},
        )
        sizes = sizes_by_slot(self.family, self.files, self.dialects, dtype, self.quantization)
        # factors that are kept apart lie in the units that they change
        return attrs.evolve(
            sized, sizes={slot: one.plus(sized.apart_bytes(slot)) for slot, one in sizes.items()}
        )

    def placement(self, slot: str) -> Placement:
        """Where the units of a component lie."""
        return self.placements.get(slot, RESIDENT)

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return self.device.startswith("cuda")

    @property
    def rounds_inputs(self) -> bool:
        """Whether its transformer multiplies in 8 bits, if its card can."""
        asked = self.quantization is not None and self.quantization.products == "fp8"
        return asked and self.dtype == "bfloat16" and self.on_gpu

    @property
    def whole_loras(self) -> tuple[PlannedLora, ...]:
        """Those that change it in every stage: the family's, then its own."""
        return (*self.family_loras, *self.loras)

    def loras_of(self, slot: str) -> tuple[PlannedLora, ...]:
        """Those that are merged into the weights of a slot."""
        return tuple(
            one
            for one in self.whole_loras
            # one that widens counts at any strength
            if (one.changes.get(slot) and not one.apart)
            or (one.widens.get(slot) and not one.changes.get(slot))
        )

    def apart_of(self, slot: str) -> tuple[PlannedLora, ...]:
        """Those that lie beside the weights of a slot, of the model and of all its stages."""
        return beside(slot, self.whole_loras, self.stage_loras)

    def strengths(self, slot: str, stage: str) -> tuple[tuple[float, ...], ...]:
        """How strongly each of :meth:`apart_of` counts in a stage, step by step; the last number goes on."""
        return strengths(stage, slot, self.whole_loras, self.stage_loras)

    def apart_bytes(self, slot: str) -> dict[str, int]:
        """What lies beside the weights of a slot: unit -> bytes, ``""`` for what belongs to no unit."""
        found: Counter[str] = Counter()
        for lora in self.apart_of(slot):
            found.update(lora.unit_bytes(slot))
        return dict(found)

    @property
    def every_lora(self) -> dict[str, PlannedLora]:
        """Those of the family, of the model and of its stages, by place: ``"main.family.loras.0"``,
        ``"main.loras.0"``, ``"stages.NAME.loras.1"``."""
        found = {f"{self.name}.family.loras.{i}": one for i, one in enumerate(self.family_loras)}
        found |= {f"{self.name}.loras.{i}": one for i, one in enumerate(self.loras)}
        for stage, own in self.stage_loras.items():
            found |= {f"stages.{stage}.loras.{i}": one for i, one in enumerate(own)}
        return found

    @property
    def parts(self) -> frozenset[str]:
        """What has files: ``"transformer"``, of which there may be two experts, ``"vae"`` …"""
        return frozenset(slot.partition(".")[0] for slot in self.files)

    def resident_bytes(self, slot: str) -> int:
        """Bytes of a component's weights where it computes, under its placement.

        What is swapped counts by its slots; without a GPU, where it lies in the same memory, in full as well.
        """
        if not self._swaps(slot):
            return self.weight_bytes(slot)
        here = device_bytes(self.sizes[slot], self.placement(slot))
        return here if self.on_gpu else here + self.host_bytes(slot)

    def weight_bytes(self, slot: str) -> int:
        """Bytes of a component's weights: quantised ones as stored, others in this model's precision; with the
        LoRA files beside them."""
        file = self.files.get(slot)
        if file is None:
            return 0
        if slot in self.sizes:  # where the LoRA files are counted in the units
            return self.sizes[slot].bytes
        values, nbytes = file.packed
        beside = sum(self.apart_bytes(slot).values())
        return (file.elements - values) * ITEM_SIZE[self.dtype] + nbytes + beside

    def host_bytes(self, slot: str) -> int:
        """Bytes in host memory of a component of which something is swapped."""
        return host_bytes(self.sizes[slot], self.placement(slot)) if self._swaps(slot) else 0

    def traffic(self, slot: str) -> int:
        """Bytes of a component that travel to the device in a pass."""
        return traffic(self.sizes[slot], self.placement(slot)) if self._swaps(slot) else 0

    def _swaps(self, slot: str) -> bool:
        """Whether something of a component is swapped whose size is known."""
        return slot in self.sizes and bool(self.placement(slot).swapped)

    def unpacking_bytes(self, slot: str) -> int:
        """Bytes that a component needs to unpack its largest quantised weight, and to change its largest."""
        file = self.files.get(slot)
        changing = max((lora.work_bytes(slot) for lora in self.apart_of(slot)), default=0)
        return changing + (unpacking(file.largest, ITEM_SIZE[self.dtype]) if file else 0)


def _in_items(loras: Sequence[PlannedLora], item: int) -> tuple[PlannedLora, ...]:
    return tuple(attrs.evolve(one, item=item) for one in loras)


@attrs.frozen
class Handover:
    """A video of an earlier stage that a stage could take as latents.

    Attributes:
        option: the stage's option that names it.
        source: ``"NAME.video"``.
        pixels: why its pixels are taken, as the rest of a sentence; "" = its latents are.
    """

    option: str
    source: str
    pixels: str = ""

    @property
    def giver(self) -> str:
        """Name of the stage that makes it."""
        return self.source.rpartition(".")[0]


@attrs.frozen
class PlannedStage:
    """A stage with its options filled in and its needs known.

    Attributes:
        handovers: videos of earlier stages that it could take as latents.
        decoded: whether somebody wants the pixels of what it makes.
    """

    spec: StageSpec
    description: Stage
    needs: StageNeeds
    handovers: tuple[Handover, ...] = ()
    decoded: bool = True

    @property
    def name(self) -> str:
        return self.spec.name

    def takes_latents(self, option: str) -> bool:
        """Whether it takes the latents of the video that an option names."""
        return any(one.option == option and not one.pixels for one in self.handovers)

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
        bounds: memory that it may take.
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
    bounds: Bounds | None = None

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
        users = {one.name for one in self.models.values() if shared(one, model, slot)}
        of_model = [s.name for s in self.stages if s.spec.model in users]
        stages = [stage] if stage in of_model else of_model
        found = [p.activations for p in self.phases if p.slot == slot and p.stage in stages]
        return max(found, default=0)

    @property
    def peak(self) -> int:
        """Predicted peak of memory on the device in bytes."""
        return max((phase.peak for phase in self.phases), default=0)

    @property
    def peak_host(self) -> int:
        """Predicted peak in host memory of what lies or computes there beside a GPU, in bytes."""
        return max((phase.host for phase in self.phases), default=0)

    def describe(self) -> list[tuple[str, list[str]]]:
        """The plan for people: titled sections of lines (the resolved workflow is printed beside it)."""
        files = [
            f"{places}: {_what(file)}, {gigabytes(file.bytes)}"
            + (f", found in {file.path.parent}" if file.found else "")
            + (", loaded once" if "," in places else "")
            for model, slot, places in components_once(self.models)
            if (file := model.files.get(slot))
        ]
        loras = [
            f"{key}: {lora.title}"
            for model in self.models.values()
            for key, lora in model.every_lora.items()
        ]
        runs = [
            f"{m.name}: {m.family.title}; {m.device}, {m.dtype}, attention {m.attention}"
            + (f", transformer in {m.quantization.title}" if m.quantization else "")
            + (", compiled" if m.compile else "")
            for m in self.models.values()
        ]
        stages = [f"{s.name}: {_sentence(s)}" for s in self.stages]
        memory = [taken(phase) for phase in self.phases]
        placements = [
            f"{places}: {placed(placement, model.sizes[slot])}"
            for model, slot, places in components_once(self.models)
            if (placement := model.placements.get(slot))
        ]
        sections = [
            ("Machine", [f"{self.machine.title}, {gigabytes(self.machine.ram)} RAM free"]),
            ("Models", runs),
            ("Files", files),
            ("LoRAs", loras),
            ("Stages", stages),
            ("Between stages", between(self.stages)),
            ("Placements", placements),
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


def _what(file: PlannedFile) -> str:
    if file.assumed:
        return f"not here, assumed to be {file.identity}"
    return f"{file.path.name}, {file.identity}"


def _sentence(stage: PlannedStage) -> str:
    size = stage.needs.size
    if size is None:
        return stage.description.summary
    frames = f"{size.frames} frame{'s' * (size.frames != 1)}"
    return (
        f"{stage.description.summary}; {size.width}x{size.height}, {frames} at "
        f"{size.fps:g} per second"
    )
