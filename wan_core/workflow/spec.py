"""What a workflow says, as frozen objects.

Mappings here are plain dictionaries that nobody changes (they pickle, compare and copy); use
``attrs.evolve`` to get a changed workflow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import attrs

from wan_core.contract.amounts import budget
from wan_core.contract.loras import LoraUse
from wan_core.contract.options import (
    OptionError,
    choice,
    flag,
    integer,
    number,
    path,
    registered,
    show,
    text,
)
from wan_core.contract.quantization import Quantization
from wan_core.workflow.source import Source

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MOST_LORAS = 32
MOST_BLOCKS = 1000
Handed = Literal["latents", "pixels"]
PLANNED = "the plan decides"
KNOBS = ("blocks_to_swap", "prefetch_blocks", "offload_txt_emb", "offload_img_emb")
"""Keys of ``[memory]`` that overrule the plan; no bit depends on them."""
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


def check_name(name: object, option: str = "name") -> None:
    """Refuse names that could not be told from positions, keys or paths.

    Raises:
        OptionError: the name has odd characters, is too long or is a number.
    """
    if not isinstance(name, str):
        raise OptionError(option, f"must be text, not {show(name)}")
    if not _NAME.fullmatch(name):
        raise OptionError(
            option,
            f"must be made of at most 64 letters, digits, - and _, not {show(name)}",
            remedy="begin it with a letter or a digit",
        )
    if name.isdecimal():
        raise OptionError(
            option, f"must not be a number, as {show(name)} is", remedy="add a letter"
        )


def _check_device(_: ModelSpec, __: attrs.Attribute[str], device: str) -> None:
    if not _DEVICE.fullmatch(device):
        raise OptionError(
            "device",
            f'must be "auto", "cpu", "cuda" or "cuda:1", not {show(device)}',
        )


def _check_stage_name(_: StageSpec, __: attrs.Attribute[str], name: str) -> None:
    check_name(name)


def _check_loras(_: Any, __: attrs.Attribute[Any], loras: tuple[LoraUse, ...]) -> None:
    if len(loras) > MOST_LORAS:
        raise OptionError(
            "loras", f"holds {len(loras)} files, the most it may hold is {MOST_LORAS}"
        )


@attrs.frozen
class ModelSpec:
    """A ``[models.NAME]`` table.

    Attributes:
        family: the architecture with its presets.
        files: slot -> file, or ``{"high": …, "low": …}`` for two experts. In a workflow the slots
            are keys of the table; the family says which there are.
        precision: dtype of weights and computation.
        device: where it runs.
        attention: the attention backend.
        loras: LoRA files that change the transformer, in order.
        quantization: how the transformer is quantised while it is loaded; None = as its file stores it.
        compile: the transformer's blocks are compiled.
    """

    family: str = registered("family", help="the architecture with its presets")
    files: Mapping[str, Path | Mapping[str, Path]] = attrs.field(factory=dict)
    precision: str = choice(
        "auto",
        "float32",
        "bfloat16",
        "float16",
        default="auto",
        help="dtype of weights and computation; auto suits the device",
    )
    device: str = attrs.field(
        default="auto",
        validator=_check_device,
        metadata={"help": "where it runs: auto, cpu, cuda or cuda:1"},
    )
    attention: str = registered(
        "attention_backend", default="sdpa", help="how attention is computed"
    )
    loras: tuple[LoraUse, ...] = attrs.field(
        default=(),
        converter=tuple,
        validator=_check_loras,
        metadata={
            "help": "LoRA files that change the transformer, in order",
            "allowed": f"a list of at most {MOST_LORAS} tables",
        },
    )
    quantization: Quantization | None = attrs.field(
        default=None,
        metadata={
            "help": "how the transformer is quantised: dtype, scale, keep, products",
            "unset": "as the file stores it",
        },
    )
    compile: bool = flag(
        default=False,
        help="compile the transformer's blocks: faster steps after a first one that takes longer",
    )


@attrs.frozen
class FeatureSpec:
    """A ``[[stages.apply]]`` table: a feature that a stage asks for.

    Attributes:
        use: name of the feature.
        options: an instance of the feature's options class.
        key: its place in the workflow, ``"stages.0.apply.1"``.
    """

    use: str
    options: Any
    key: str = ""


@attrs.frozen
class StageSpec:
    """A ``[[stages]]`` table.

    Attributes:
        use: name of the kind of stage.
        name: its own name, by which later stages refer to its outputs: ``"NAME.video"``.
        model: name of the model that it drives; None for a stage without a model.
        options: an instance of the stage's options class.
        apply: features asked for, in order.
        post: stages that its video goes through, in order: each takes that of the one before it.
        loras: LoRA files that change the model in this stage alone, beside those of its table.
        handover: what it takes of an earlier stage's video: its latents where nothing between them needs
            pixels, or its pixels.
        key: its place in the workflow, ``"stages.0"``.
    """

    use: str
    name: str = attrs.field(validator=_check_stage_name)
    model: str | None
    options: Any
    apply: tuple[FeatureSpec, ...] = ()
    post: tuple[StageSpec, ...] = ()
    loras: tuple[LoraUse, ...] = attrs.field(default=(), validator=_check_loras)
    handover: Handed = choice(*get_args(Handed), default="latents")
    key: str = ""


@attrs.frozen
class MemorySpec:
    """The ``[memory]`` table: bounds, and what is to be done whatever the plan would decide.

    Attributes:
        vram, ram: bytes, or a share of all that the device has; None = what is free, less a margin.
        blocks_to_swap: blocks of each transformer that lie in host memory and come to the device in turn.
        prefetch_blocks: blocks that are on their way while one computes.
        offload_txt_emb, offload_img_emb: whether the embedding of text rows, or of image tokens, lies in host
            memory between its calls.
        block_swap_debug: a line for each block that is swapped.
        allow_inexact: when memory runs out, a video may be decoded in tiles, which changes its picture.
    """

    vram: int | float | None = budget(
        default=None, help="bound of the GPU's memory: all that the run takes there"
    )
    ram: int | float | None = budget(
        default=None, help="bound of the host's memory: what computes there, and what is swapped"
    )
    blocks_to_swap: int | None = integer(
        0, MOST_BLOCKS, default=None, help="blocks of a transformer in host memory", unset=PLANNED
    )
    prefetch_blocks: int | None = integer(
        0,
        MOST_BLOCKS,
        default=None,
        help="swapped blocks that are on their way while one computes",
        unset=PLANNED,
    )
    offload_txt_emb: bool | None = flag(
        default=None,
        help="the transformer's text embedding in host memory",
        unset=PLANNED,
    )
    offload_img_emb: bool | None = flag(
        default=None,
        help="the transformer's image embedding in host memory",
        unset=PLANNED,
    )
    block_swap_debug: bool = flag(
        default=False, help="a line for each swapped block: bytes, waiting, computing"
    )
    allow_inexact: bool = flag(
        default=False, help="decode in tiles when memory runs out, which changes the picture"
    )


@attrs.frozen
class OutputSpec:
    """The ``[output]`` table.

    Attributes:
        path: the file that is written, in which ``{name}``, ``{seed}`` … stand for what
            :mod:`wan_core.planning.output` says.
        fps: frames per second; None = as the stage makes them.
        stage: name of the stage whose video is written; None = the last that makes one.
        overwrite: a file that is there already is replaced.
        provenance: what the video says of how it was made.
    """

    path: Path = path(
        default=Path("out.mp4"), help="the file that is written, such as {name}-{seed}.mp4"
    )
    fps: float | None = number(
        1, 240, default=None, help="frames per second", unset="as the stage makes them"
    )
    stage: str | None = text(
        64,
        default=None,
        help="the stage whose video is written",
        unset="the last stage that makes a video",
    )
    overwrite: bool = flag(default=False, help="replace a file that is there already")
    provenance: str = choice(
        "full",
        "hashes",
        "none",
        default="full",
        help="what the video says of how it was made; hashes leaves out the workflow and its texts",
    )


@attrs.frozen
class Workflow:
    """A workflow: typed, frozen, every default visible.

    Attributes:
        format: of the file.
        models: name -> model.
        stages: as they are written, in the order in which they run.
        memory: budgets.
        output: the file that is written.
        source: where all this came from; does not count in comparisons.
    """

    format: int
    models: Mapping[str, ModelSpec]
    stages: tuple[StageSpec, ...]
    memory: MemorySpec = MemorySpec()
    output: OutputSpec = OutputSpec()
    source: Source = attrs.field(factory=Source, eq=False, repr=False)

    @property
    def every_stage(self) -> tuple[StageSpec, ...]:
        """All stages in the order in which they run, with those that ``post`` of another one asks for."""
        return tuple(one for stage in self.stages for one in (stage, *stage.post))
