"""What a workflow says, as frozen objects.

Mappings here are plain dictionaries that nobody changes (they pickle, compare and copy); use
``attrs.evolve`` to get a changed workflow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.loras import LoraUse
from wan_core.contract.options import (
    OptionError,
    choice,
    flag,
    number,
    path,
    registered,
    show,
    size_in_bytes,
    text,
)
from wan_core.contract.quantization import Quantization
from wan_core.workflow.source import Source

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MOST_LORAS = 32
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


def _check_loras(_: ModelSpec, __: attrs.Attribute[Any], loras: tuple[LoraUse, ...]) -> None:
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
        post: post-processes (features or stages) that the output goes through, in order.
        key: its place in the workflow, ``"stages.0"``.
    """

    use: str
    name: str = attrs.field(validator=_check_stage_name)
    model: str | None
    options: Any
    apply: tuple[FeatureSpec, ...] = ()
    post: tuple[str, ...] = ()
    key: str = ""


@attrs.frozen
class MemorySpec:
    """The ``[memory]`` table: budgets in bytes; None = what is free."""

    vram: int | None = size_in_bytes(
        default=None, help="budget on a GPU: weights and activations together"
    )
    ram: int | None = size_in_bytes(default=None, help="budget on the CPU, when that computes")


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
        stages: in the order in which they run.
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
