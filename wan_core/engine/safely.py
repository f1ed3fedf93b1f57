"""Files of a run that may be cut short at any moment: written whole or not at all, read with suspicion."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan_core.contract.errors import WeightsError
from wan_core.contract.options import unprintable
from wan_core.weights.safetensors_header import Header, read_header

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "sha256"


def read_json(path: Path, most: int) -> Any:
    """What the JSON in a file of no more than ``most`` bytes says.

    Raises:
        OSError: it can't be read.
        ValueError: it is larger, or no JSON.
        RecursionError: it is nested too deeply.
    """
    with path.open("rb") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise ValueError("too large")
    return json.loads(text)


def as_text(value: object) -> str:
    """A text that a file holds where it should; TypeError if it is none."""
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def as_line(value: object) -> str:
    """The same of a text that a terminal may show; ValueError if it may not."""
    text = as_text(value)
    if unprintable(text):
        raise ValueError("no text for a terminal")
    return text


def as_list(value: object) -> list[Any]:
    """A list that a file holds where it should; TypeError if it is none."""
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, which takes that name when it has reached the disk.

    Raises:
        OSError: it can't be written; what was at ``path`` is as it was.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        write(partial)
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # not every file system can sync a folder
        _sync(path.parent)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors of any device as a safetensors file with a digest.

    Raises:
        OSError: it can't be written; what was at ``path`` is as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # tensors that share memory are refused by the format
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    own = {name: t.clone() if _is_view(t) else t for name, t in ready.items()}
    told = {**(metadata or {}), DIGEST: _digest(own)}
    try:
        write_whole(path, lambda partial: save_file(own, partial, told))
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_tensors(
    path: Path, *, most: int | None = None, fits: Callable[[Header], bool] | None = None
) -> dict[str, Tensor]:
    """Read what :func:`write_tensors` has written.

    Args:
        most: bytes of all tensors together.
        fits: looks at the header before anything is read.

    Raises:
        WeightsError: it can't be read, is damaged, larger than ``most``, or ``fits`` says no.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = read_header(path)
    size = sum(info.nbytes for info in header.tensors.values())
    if (most is not None and size > most) or (fits is not None and not fits(header)):
        raise WeightsError("is not what this run would have kept", where=path.name)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"can't be read ({error})", where=path.name) from error
    if header.metadata.get(DIGEST) != _digest(tensors):
        raise WeightsError("is damaged", where=path.name)
    return tensors


def _is_view(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() != tensor.nbytes


def _digest(tensors: Mapping[str, Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}\n{tensor.dtype}\n{list(tensor.shape)}\n".encode())
        numbers: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        digest.update(numbers)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
