"""Shared by the tests of weights: full-size checkpoints as lists of names and shapes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wan_core.weights import StateDict

MANIFESTS = Path(__file__).parents[1] / "golden" / "manifests"


@pytest.fixture
def manifest() -> Callable[[str], StateDict]:
    """Name of a manifest -> a source with its names and shapes, and no data."""

    def load(name: str) -> StateDict:
        table = json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes()))
        tensors = {
            key: torch.empty(shape, device="meta", dtype=torch.bfloat16)
            for key, shape in table.items()
        }
        return StateDict(tensors, label=name)

    return load
