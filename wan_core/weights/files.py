"""Opening checkpoint files: one safetensors file, several with an index, a folder, or a pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan_core.contract.errors import WeightsError
from wan_core.weights.safetensors_header import read_header, shown, unique_keys
from wan_core.weights.sources import TensorInfo, TensorSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["SafetensorsFile", "ShardedSafetensors", "open_weights"]

INDEX_SUFFIX = ".safetensors.index.json"
PICKLE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
MAX_INDEX_BYTES = 64 * 2**20


def open_weights(path: Path | str) -> TensorSource:
    """Open a checkpoint. Only headers are read; safetensors are opened without importing torch.

    Args:
        path: a ``.safetensors`` file; a ``*.safetensors.index.json`` beside its shards; a pickled
            state dict (``.pth``, ``.pt``, ``.ckpt``); or a folder that holds exactly one of these.
            What a file is is told by its first bytes, not by its name.

    Raises:
        WeightsError: there is no such file, or it is damaged, dangerous or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        path = _only_checkpoint_in(path)
    if not path.is_file():
        raise WeightsError("there is no such weight file", where=str(path))
    if path.name.endswith(".index.json"):
        return ShardedSafetensors(path)
    if _is_pickle(path):
        from wan_core.weights.pickled import open_pickle

        return open_pickle(path)
    return SafetensorsFile(path)


class SafetensorsFile(TensorSource):
    """One safetensors file. Its tensors are views of the memory-mapped file until converted."""

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        self.path = path
        self.label = path.name
        self.files = (path,)
        self.tensors = header.tensors
        self.metadata = header.metadata

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
                f"tensor {shown(name)} cannot be read ({error})", where=str(self.path)
            ) from error
        return tensor.to(device=device, dtype=dtype)

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
        weight_map, self.metadata = _read_index(index)
        shards = {
            name: SafetensorsFile(_shard_path(index, name))
            for name in sorted(set(weight_map.values()))
        }
        _refuse_duplicates(index, shards.values())
        self.label = index.name
        self.files = tuple(shard.path for shard in shards.values())
        self._shard_of = {tensor: shards[shard] for tensor, shard in weight_map.items()}
        self.tensors = {name: _info(index, name, shard) for name, shard in self._shard_of.items()}

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        return self._shard_of[name].get(name, device, dtype)


def _read_index(index: Path) -> tuple[dict[str, str], dict[str, str]]:
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError("it is larger than 64 MiB")
        table = json.loads(index.read_bytes(), object_pairs_hook=unique_keys)
        weight_map, metadata = table["weight_map"], table.get("metadata") or {}
        if not all(isinstance(shard, str) for shard in weight_map.values()):
            raise ValueError("a shard's name is no string")
        return dict(weight_map), {key: str(value) for key, value in metadata.items()}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"this is no index of safetensors shards ({error})", where=str(index)
        ) from error


def _shard_path(index: Path, name: str) -> Path:
    escapes = name in ("", ".", "..") or any(c in "/\\:" or not c.isprintable() for c in name)
    if escapes:
        raise WeightsError(
            f"the index names the shard {shown(name)}, which is no plain file name",
            where=str(index),
            remedy="don't use this checkpoint unless you trust who made it",
        )
    path = index.parent / name
    if not path.is_file():
        raise WeightsError(
            f'the shard "{name}" is missing',
            where=str(index),
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
                    where=str(index),
                )
            holder[name] = shard


def _info(index: Path, name: str, shard: SafetensorsFile) -> TensorInfo:
    if name not in shard.tensors:
        raise WeightsError(
            f"the index says that tensor {shown(name)} is in {shard.label}, but it isn't",
            where=str(index),
            remedy="index and shards are not of the same checkpoint",
        )
    return shard.tensors[name]


def _only_checkpoint_in(folder: Path) -> Path:
    found: Mapping[str, list[Path]] = {
        "index": sorted(folder.glob("*" + INDEX_SUFFIX)),
        "safetensors": sorted(folder.glob("*.safetensors")),
        "pickle": sorted(p for p in folder.iterdir() if p.suffix in PICKLE_SUFFIXES),
    }
    candidates = next((paths for paths in found.values() if paths), [])
    if len(candidates) == 1:
        return candidates[0]
    names = ", ".join(path.name for path in candidates[:6])
    raise WeightsError(
        f"the folder holds several checkpoints: {names}" if names else "the folder has no weights",
        where=str(folder),
        remedy="name the file itself",
    )


def _is_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise WeightsError(
            f"cannot be read ({error.strerror or error})", where=str(path)
        ) from error
    if start == b"GGUF":
        raise WeightsError(
            "GGUF files are not read by this version",
            where=str(path),
            remedy="use the safetensors file of the model",
        )
    # torch.save writes a zip archive, before 1.6 a bare pickle (protocol 2 and up start with 0x80)
    legacy = start[:1] == b"\x80" and path.suffix in PICKLE_SUFFIXES
    return legacy or start == b"PK\x03\x04"
