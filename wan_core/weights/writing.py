"""Writing a safetensors file: one tensor at a time, and whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from wan_core.contract.errors import ResourceError, WorkflowError
from wan_core.media.files import file_errors, replacing
from wan_core.media.space import free_space
from wan_core.weights.places import place, printable
from wan_core.weights.safetensors_header import DTYPE_BITS
from wan_core.weights.sources import TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_weights_target", "write_safetensors"]

ALIGNMENT = 8
SUFFIX = ".safetensors"


def check_weights_target(
    path: Path, nbytes: int, *, sources: Iterable[Path] = (), overwrite: bool = False
) -> None:
    """Find out, before anything is computed, whether weights can be written there.

    Args:
        nbytes: of all tensors.
        sources: files that the weights are made from; they are never replaced.

    Raises:
        WorkflowError: the name can't be meant, or is taken.
        ResourceError: the disk has no room.
    """
    where = place(path)
    with file_errors(where):
        if path.is_dir():
            raise WorkflowError("this is a folder", where=where, remedy="name a file")
        if path.suffix != SUFFIX:
            raise WorkflowError(
                "weights are written as safetensors",
                where=where,
                remedy=f"use a name with {SUFFIX}",
            )
        taken = path.exists()
        if any(taken and path.samefile(one) for one in sources):
            raise WorkflowError(
                "this is the file that is read", where=where, remedy="use another name"
            )
        if taken and not path.is_file():
            raise WorkflowError(
                "this is a device or a pipe, not a file", where=where, remedy="use another name"
            )
        if taken and not overwrite:
            raise WorkflowError(
                "the file exists already", where=where, remedy="use another name, or --overwrite"
            )
        blocked = next((one for one in path.parents if one.exists() and not one.is_dir()), None)
        if blocked:
            raise WorkflowError(
                f"{printable(blocked.name)} is no folder", where=where, remedy="use another name"
            )
        free = free_space(path.parent)
    if free < nbytes:
        raise ResourceError(
            f"the disk has {free / 1e9:.1f} GB left, the file needs {nbytes / 1e9:.1f} GB",
            where=where,
            remedy="free some space or write somewhere else",
        )


def write_safetensors(
    path: Path,
    infos: Mapping[str, TensorInfo],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
    *,
    overwrite: bool = False,
    on_bytes: Callable[[int], None] | None = None,
) -> Path:
    """Write tensors as they come, in any order; only one of them is held.

    Until the file is whole it is a hidden one beside ``path``, which an error removes.

    Args:
        infos: name -> type and shape of every tensor.
        tensors: each of them once, on any device.
        overwrite: a file at ``path`` is replaced. If not, and one has appeared meanwhile, this one takes the
            next free name.
        on_bytes: told how many bytes are written so far, after each tensor.

    Returns:
        Where the file is.

    Raises:
        ResourceError: the disk is full, or the folder may not be written to.
        ValueError: the tensors are not those of ``infos``.
    """
    import torch

    header, offsets = _header(infos, metadata)
    waiting, done = set(infos), 0
    with (
        replacing(path, may_replace=lambda one: overwrite or not one.exists()) as partial,
        partial.hidden.open("r+b", buffering=0) as file,
    ):
        with file_errors(str(path)):
            _write(file, 0, header)
        for name, tensor in tensors:
            data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            if name not in waiting or data.nbytes != infos[name].nbytes:
                raise ValueError(f"tensor {name} was not announced so")
            with file_errors(str(path)):
                _write(file, len(header) + offsets[name], data.data)
            waiting.remove(name)
            done += data.nbytes
            if on_bytes:
                on_bytes(done)
        if waiting:
            raise ValueError(f"{len(waiting)} tensors are missing, such as {min(waiting)}")
    return partial.path


def _write(file: RawIOBase, at: int, data: bytes | memoryview) -> None:
    """Write all of it: one call writes at most 2 GiB."""
    rest = memoryview(data)
    file.seek(at)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _header(
    infos: Mapping[str, TensorInfo], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    """The header with its length, and where each tensor begins behind it."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offsets: dict[str, int] = {}
    end = 0
    # the widest types first, so that every tensor lies at a multiple of its type
    for name in sorted(infos, key=lambda one: -DTYPE_BITS[infos[one].dtype]):
        info = infos[name]
        offsets[name], end = end, end + info.nbytes
        entries[name] = {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": [offsets[name], end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, offsets
