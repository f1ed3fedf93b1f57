"""A GGUF file as a source of tensors: recognised and described; its weights are not run by this version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wan_core.contract.errors import WeightsError
from wan_core.weights.gguf_header import read_gguf_header
from wan_core.weights.places import place, printable
from wan_core.weights.sources import TensorSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["GgufFile"]


class GgufFile(TensorSource):
    """One GGUF file.

    Attributes:
        offsets: name -> where its data begins in the file; with ``tensors`` all that a loader needs.
    """

    container = "GGUF"

    def __init__(self, path: Path) -> None:
        header = read_gguf_header(path)
        self.path = path
        self.label = printable(path.name)
        self.files = (path,)
        self.tensors = header.tensors
        self.offsets = header.offsets
        self.metadata = {key: str(value) for key, value in header.metadata.items()}

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        if name not in self.tensors:
            raise KeyError(name)
        self.check_loadable()
        raise AssertionError("a format that is not loadable says so")

    def check_loadable(self) -> None:
        raise WeightsError(
            "GGUF weights are recognised but not run by this version",
            where=place(self.path),
            remedy="use the safetensors file of the model",
        )
