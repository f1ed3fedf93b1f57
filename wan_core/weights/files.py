"""Opening checkpoint files: one safetensors file, several with an index, GGUF, a folder, or a pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan_core.contract.errors import WeightsError
from wan_core.weights.outlines import OUTLINE_SUFFIX, Outline
from wan_core.weights.places import (
    is_folder,
    look,
    place,
    printable,
    read_span,
    sort_of,
    unreadable,
)
from wan_core.weights.safetensors_header import json_trouble, read_header, shown, unique_keys
from wan_core.weights.shard_headers import together
from wan_core.weights.sources import TensorInfo, TensorSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["SafetensorsFile", "ShardedSafetensors", "is_shard", "open_weights"]

INDEX_SUFFIX = ".safetensors.index.json"
PICKLE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
_SHARD = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.")
MAX_INDEX_BYTES = 16 * 2**20


def open_weights(path: Path | str) -> TensorSource:
    """Open a checkpoint. Only headers are read; all but pickles are opened without importing torch.

    Args:
        path: a ``.safetensors`` file; a ``*.safetensors.index.json`` beside its shards; a ``.gguf`` file; a
            pickled state dict (``.pth``, ``.pt``, ``.ckpt``); a ``*.outline.json``, which has no weights; or a
            folder that holds exactly one of these.
            What a file is is told by its first bytes, not by its name.

    Raises:
        WeightsError: there is no such file, or it is damaged, dangerous or of another kind.
    """
    path = Path(path)
    if is_folder(path):
        path = _only_checkpoint_in(path)
    sort = sort_of(look(path))
    if path.name.endswith(".index.json"):
        return ShardedSafetensors(path)
    if path.name.endswith(OUTLINE_SUFFIX):
        return Outline(path)
    if sort == "gguf":
        from wan_core.weights.gguf import GgufFile

        return GgufFile(path)
    if sort in ("zip", "pickle"):
        from wan_core.weights.pickled import open_pickle

        return open_pickle(path)
    return SafetensorsFile(path)


class SafetensorsFile(TensorSource):
    """One safetensors file. Its tensors are views of the memory-mapped file until converted."""

    container = "safetensors"

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        self.path = path
        self.label = printable(path.name)
        self.files = (path,)
        self.tensors = header.tensors
        self.metadata = header.metadata
        self._offsets = header.offsets

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        from safetensors import SafetensorError

        if name not in self.tensors:
            raise KeyError(name)
        try:
            tensor: Tensor = self._opened.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"tensor {shown(name)} cannot be read ({error})", where=place(self.path)
            ) from error
        return tensor.to(device=device, dtype=dtype)

    def raw(self, name: str) -> bytes:
        return read_span(self.path, self._offsets[name], self.tensors[name].nbytes)

    @cached_property
    def _opened(self) -> Any:
        from safetensors import safe_open

        return safe_open(str(self.path), framework="pt", device="cpu")


class ShardedSafetensors(TensorSource):
    """Several safetensors files in one folder and the index that says which holds what.

    The index is a list of names from somebody else: a shard must be a plain file name in the
    index's own folder.
    """

    def __init__(self, index: Path) -> None:
        weight_map, metadata = _read_index(index)
        shards = {
            name: SafetensorsFile(_shard_path(index, name))
            for name in sorted(set(weight_map.values()))
        }
        _refuse_duplicates(index, shards.values())
        self.metadata = together([shard.metadata for shard in shards.values()]) | metadata
        self.label = printable(index.name)
        self.files = tuple(shard.path for shard in shards.values())
        self.container = f"safetensors, {len(shards)} shard{'s' * (len(shards) != 1)}"
        self._shard_of = {tensor: shards[shard] for tensor, shard in weight_map.items()}
        self.tensors = {name: _info(index, name, shard) for name, shard in self._shard_of.items()}

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        return self._shard_of[name].get(name, device, dtype)

    def raw(self, name: str) -> bytes:
        return self._shard_of[name].raw(name)


def _read_index(index: Path) -> tuple[dict[str, str], dict[str, str]]:
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError("it is larger than 16 MiB")
        table = json.loads(index.read_bytes(), object_pairs_hook=unique_keys)
        if not isinstance(table, dict) or not isinstance(table.get("weight_map"), dict):
            raise ValueError("it has no table weight_map")
        weight_map, metadata = table["weight_map"], table.get("metadata") or {}
        if not all(isinstance(shard, str) for shard in weight_map.values()):
            raise ValueError("a shard's name is no string")
        if not isinstance(metadata, dict):
            raise ValueError("its metadata are no table")
        return dict(weight_map), {key: str(value) for key, value in metadata.items()}
    except OSError as error:
        raise unreadable(index, error) from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"this is no index of safetensors shards ({json_trouble(error)})",
            where=place(index),
            remedy="download it again",
        ) from error


def _shard_path(index: Path, name: str) -> Path:
    escapes = name in ("", ".", "..") or any(c in "/\\:" or not c.isprintable() for c in name)
    if escapes:
        raise WeightsError(
            f"the index names the shard {shown(name)}, which is no plain file name",
            where=place(index),
            remedy="don't use this checkpoint unless you trust who made it",
        )
    path = index.parent / name
    if not path.is_file():
        raise WeightsError(
            f'the shard "{name}" is missing',
            where=place(index),
            remedy="download it into this folder",
        )
    return path


def _refuse_duplicates(index: Path, shards: Iterable[SafetensorsFile]) -> None:
    holder: dict[str, SafetensorsFile] = {}
    for shard in shards:
        for name in shard.names():
            if name in holder:
                raise WeightsError(
                    f"tensor {shown(name)} is in two shards,"
                    f" {holder[name].label} and {shard.label}",
                    where=place(index),
                )
            holder[name] = shard


def _info(index: Path, name: str, shard: SafetensorsFile) -> TensorInfo:
    if name not in shard.tensors:
        raise WeightsError(
            f"the index says that tensor {shown(name)} is in {shard.label}, but it isn't",
            where=place(index),
            remedy="index and shards are not of the same checkpoint",
        )
    return shard.tensors[name]


def _only_checkpoint_in(folder: Path) -> Path:
    try:
        # hidden ones are what other programs leave behind, such as "._model.safetensors" of a Mac
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error
    found = (
        [p for p in paths if p.name.endswith(INDEX_SUFFIX)],
        [p for p in paths if p.name.endswith(".safetensors")],
        [p for p in paths if p.suffix == ".gguf"],
        [p for p in paths if p.suffix in PICKLE_SUFFIXES],
    )
    candidates = next((one for one in found if one), [])
    if len(candidates) == 1:
        return candidates[0]
    if not candidates and (below := [path.name for path in paths if _holds_weights(path)]):
        raise WeightsError(
            f"the folder has no weights, but its folders have: {printable(', '.join(below[:6]))}",
            where=place(folder),
            remedy="name one of them",
        )
    names = ", ".join(printable(path.name) for path in candidates[:6])
    if candidates and all(map(is_shard, candidates)):
        pickled = candidates[0].suffix in PICKLE_SUFFIXES
        raise WeightsError(
            f"the folder holds {len(candidates)} pickled shards, which are not read" if pickled
            else f"the folder holds {len(candidates)} shards without their index",
            where=place(folder),
            remedy="use a safetensors version of it" if pickled
            else f"download the file whose name ends with {INDEX_SUFFIX} into it",
        )  # fmt: skip
    raise WeightsError(
        f"the folder holds several checkpoints: {names}" if names else "the folder has no weights",
        where=place(folder),
        remedy="name the file itself",
    )


def is_shard(path: Path) -> bool:
    """Is the file called like one of several?"""
    return bool(_SHARD.search(path.name))


def _holds_weights(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(
            path.name.endswith((".safetensors", ".gguf", *PICKLE_SUFFIXES))
            for path in folder.iterdir()
        )
    except OSError:
        return False
