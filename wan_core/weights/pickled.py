"""Pickled state dicts (``.pth``, ``.pt``, ``.ckpt``), read without running the code they hold."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan_core.contract.errors import WeightsError
from wan_core.weights.archives import ZIP_START, check_pickle
from wan_core.weights.places import place, printable

if TYPE_CHECKING:
    from wan_core.weights.state_dict import StateDict

__all__ = ["open_pickle"]

WRAPPING_KEYS = (
    "model", "module", "state_dict", "model_state", "gen_model", "generator", "generator_ema",
)  # fmt: skip


def open_pickle(path: Path) -> StateDict:
    """Open a pickled state dict; its tensors stay in the memory-mapped file until asked for.

    A dict that wraps the state dict under one of :data:`WRAPPING_KEYS` is unwrapped. Numbers and
    strings beside the tensors become ``metadata``; whatever else stands there (optimizer state) is
    left out.

    Raises:
        WeightsError: the file is damaged, holds objects that are no tensors, or no named tensors.
    """
    # what needs no torch to be refused is refused without it
    check_pickle(path)
    from torch import Tensor

    from wan_core.weights.state_dict import StateDict

    entries = _unwrap(_load(path))
    named = {name: value for name, value in entries.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    plain = {name: str(v) for name, v in named.items() if isinstance(v, (str, int, float))}
    if not tensors:
        raise WeightsError("the file holds no named tensors", where=place(path))
    if any(tensor.is_meta for tensor in tensors.values()):
        raise WeightsError(
            "the file holds the shapes of its tensors only, not the numbers", where=place(path)
        )
    return StateDict(tensors, label=printable(path.name), files=(path,), metadata=plain)


def _load(path: Path) -> Any:
    import torch

    try:
        # files of before torch 1.6 are no zip archives and can't be memory-mapped
        with path.open("rb") as file:
            mapped = file.read(len(ZIP_START)) == ZIP_START
        with warnings.catch_warnings():
            # torch warns of what is refused in a sentence below
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            "the file holds Python objects other than tensors, could run code, and is refused",
            where=place(path),
            remedy="use a safetensors version of it",
        ) from error
    except Exception as error:
        # damaged archives fail in many ways, none of them documented
        raise WeightsError(
            f"the file cannot be read as a pickled state dict ({type(error).__name__})",
            where=place(path),
            remedy="download it again",
        ) from error


def _unwrap(entries: Any) -> Mapping[Any, Any]:
    """The state dict itself."""
    for _ in WRAPPING_KEYS:
        if not isinstance(entries, Mapping):
            break
        inner = (entries.get(key) for key in WRAPPING_KEYS)
        entries = next((value for value in inner if isinstance(value, Mapping)), entries)
    return entries if isinstance(entries, Mapping) else {}
