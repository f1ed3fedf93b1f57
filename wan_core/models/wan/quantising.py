"""A transformer's file, quantised into another file: the same codes that quantising while loading gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from wan_core.contract.errors import WeightsError, WorkflowError
from wan_core.contract.loras import LoraUse
from wan_core.contract.options import show
from wan_core.contract.quantization import Quantization, idle_pattern
from wan_core.models.wan.files import (
    lora_targets,
    official_source,
    quantised_layers,
    verify_transformer,
)
from wan_core.weights import TensorInfo, TensorSource, identify, open_weights
from wan_core.weights.lora import merged
from wan_core.weights.quantised.own import ENTRY, GROUP, header_entry, weight_bytes
from wan_core.weights.safetensors_header import shown
from wan_core.weights.writing import check_weights_target, write_safetensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["QuantisedFile", "prepare"]

CODES = {"fp8_e4m3fn": "F8_E4M3", "fp8_e5m2": "F8_E5M2", "int8": "I8", "int4": "U8"}
STALE = ("total_size", "_quantization_metadata")
"""Entries of a header that are not true of another file."""
MOST_INPUTS = 4096
"""Input channels of a patch embedding, at most, that a LoRA file may make where no family says how many."""


@attrs.frozen
class QuantisedFile:
    """A file that can be written: everything that could be wrong with it is known not to be.

    Attributes:
        source: the original under official names, with LoRA merged as it is read.
        asked: how it is quantised.
        matrices: names of the weights that become codes, and their shapes.
        infos: of the new file's tensors.
        metadata: of its header.
        reads: the files that it is made from.
    """

    source: TensorSource
    asked: Quantization
    matrices: Mapping[str, tuple[int, ...]]
    infos: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    reads: tuple[Path, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(info.nbytes for info in self.infos.values())

    def write(
        self,
        path: Path,
        *,
        overwrite: bool = False,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Write it, one matrix at a time.

        Args:
            overwrite: replace what is there.
            on_bytes: told how many bytes are written so far.

        Returns:
            Where it is.

        Raises:
            WorkflowError: the name is taken or can't be meant.
            ResourceError: the disk has no room.
            WeightsError: a matrix holds NaN or infinity, of its own or from a LoRA.
        """
        check_weights_target(path, self.nbytes, sources=self.reads, overwrite=overwrite)
        return write_safetensors(
            path,
            self.infos,
            self._tensors(),
            self.metadata,
            overwrite=overwrite,
            on_bytes=on_bytes,
        )

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        import torch

        from wan_core.weights.quantised.packed import pack

        by_channel = self.asked.scale == "channel"
        for name in self.source.names():
            if name not in self.matrices:
                kept = torch.float32 if self.infos[name].dtype == "F32" else None
                yield name, self.source.get(name, dtype=kept)
                continue
            weight = self.source.get(name, dtype=torch.float32)
            if not bool(weight.isfinite().all()):
                raise WeightsError(
                    f"{shown(name)} holds NaN or infinity, which no codes can hold",
                    where=self.source.label,
                    remedy="download the file, and LoRA files that are merged into it, again",
                )
            packed = pack(weight, self.asked.dtype, by_channel=by_channel)
            yield name, packed.payload
            scales = packed.scale if packed.block_scales is None else packed.block_scales
            assert scales is not None
            yield _scale_of(name), scales


def prepare(
    source: TensorSource, asked: Quantization, *, writer: str, loras: Sequence[LoraUse] = ()
) -> QuantisedFile:
    """Check a transformer's file and work out what its quantised one will hold. Reads no weight.

    Args:
        source: in any of the core's dialects, in plain numbers.
        asked: how; its ``products`` is for runs and says nothing here.
        writer: who writes it, for the header.
        loras: are merged, as they are while loading; the file gets as many input channels as they make.

    Raises:
        WeightsError: it is no whole transformer, or quantised already; a LoRA does not fit.
        WorkflowError: ``keep`` names nothing, or nothing is left to quantise.
    """
    verify_transformer(source, {})
    official = official_source(source)
    if official.layouts:
        raise WeightsError(
            "the file is quantised already",
            where=source.label,
            remedy="name the bf16 or fp16 file of the model",
        )
    matrices = quantised_layers(source, {}, asked)
    pattern = idle_pattern(asked, lambda one: quantised_layers(source, {}, one))
    if pattern is not None:
        raise WorkflowError(
            f"keep names {show(pattern)}, which no layer is called that could be quantised",
            where=source.label,
            remedy="layers are called blocks.0.self_attn.q and so on",
        )
    if not matrices:
        why = "all are kept" if asked.keep else f"their inputs are no multiples of {GROUP}"
        raise WorkflowError(
            f"no matrix can become {asked.dtype}: {why}",
            where=source.label,
            remedy="keep fewer" if asked.keep else "name another dtype",
        )
    # there is no family to say how wide the patch embedding is: a LoRA that widens it does
    inputs = {"in_dim": max((_inputs(use) for use in loras), default=0)}
    whole = merged(official, lora_targets(source).of_family(inputs), loras)
    changed = _changed(whole) if loras else frozenset()
    infos: dict[str, TensorInfo] = {}
    for name, info in whole.tensors.items():
        if name in matrices:
            infos |= _infos(name, matrices[name], asked)
        elif name in changed:  # which is not rounded before it is loaded
            infos[name] = TensorInfo("F32", info.shape, 4 * prod(info.shape))
        else:
            infos[name] = info
    titles = [f"{use.file.name}={use.strength:g}" for use in loras]
    metadata = {
        key: text
        for key, text in source.metadata.items()
        if source.container.startswith("safetensors") and key not in STALE
    }
    metadata |= {"format": "pt", ENTRY: header_entry(asked, writer, titles)}
    reads = (*source.files, *(file for use in loras for file in open_weights(use.file).files))
    return QuantisedFile(whole, asked, matrices, infos, metadata, reads)


def _inputs(use: LoraUse) -> int:
    """Input channels of the patch embedding that a LoRA file changes; 0 when it changes none that can be."""
    traits = identify(open_weights(use.file)).lora
    return traits.inputs if traits and traits.inputs <= MOST_INPUTS else 0


def _changed(source: TensorSource) -> frozenset[str]:
    """Names of the tensors that LoRA changes."""
    from wan_core.weights.lora import MergedSource

    return frozenset(source.changes) if isinstance(source, MergedSource) else frozenset()


def _infos(name: str, shape: tuple[int, ...], asked: Quantization) -> dict[str, TensorInfo]:
    """A matrix as codes and scales."""
    outputs, inputs = shape
    if asked.dtype == "int4":
        codes = TensorInfo("U8", (outputs, inputs // 2), outputs * inputs // 2)
        scales = TensorInfo("BF16", (outputs, inputs // GROUP), 2 * outputs * (inputs // GROUP))
    else:
        codes = TensorInfo(CODES[asked.dtype], (outputs, inputs), outputs * inputs)
        count = outputs if asked.scale == "channel" else 1
        scales = TensorInfo("F32", (count, 1), 4 * count)
    assert (codes.nbytes, scales.nbytes) == weight_bytes(asked, shape)
    return {name: codes, _scale_of(name): scales}


def _scale_of(name: str) -> str:
    return f"{name.removesuffix('.weight')}.weight_scale"
