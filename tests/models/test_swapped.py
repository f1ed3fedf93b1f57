"""Models with swapped units: the same bits, whatever is swapped; compiled blocks keep their one graph."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from wan_samples import latents, random_transformer

from wan_core.memory import (
    BlockStack,
    BlockSwap,
    SimulatedCopier,
    packed_bytes,
    spread,
    swap_bytes,
    tensors_of,
)
from wan_core.models.encoders import load_clip, load_umt5
from wan_core.testing.golden.case import Case
from wan_core.weights import StateDict

GOLDEN = Path(__file__).parents[1] / "golden" / "encoders"
Build = Callable[[], tuple[Any, Callable[[], Tensor]]]


def transformer() -> tuple[Any, Callable[[], Tensor]]:
    model = random_transformer(num_layers=4)
    inputs = latents(2, 16, 2, 4, 4), torch.tensor([500.0, 20.0]), latents(2, 7, 16, seed=2)

    def run() -> Tensor:
        whole, skipping = model(*inputs), model(*inputs, skip_blocks=frozenset({1, 2}))
        return torch.stack([whole, skipping])

    return model, run


def vace() -> tuple[Any, Callable[[], Tensor]]:
    model = random_transformer(num_layers=4, vace_layers=(0, 2), vace_in_dim=96)
    inputs = latents(1, 16, 2, 4, 4), torch.tensor([500.0]), latents(1, 7, 16, seed=2)
    contexts = {f"context.{i}": latents(1, 96, 2, 4, 4, seed=i) for i in (3, 4)}
    return model, lambda: model(*inputs, add_ons={"vace": contexts})


def umt5() -> tuple[Any, Callable[[], Tensor]]:
    weights = Case(GOLDEN / "umt5_tiny.json").group("weights.")
    encoder = load_umt5(StateDict(weights))
    return encoder, lambda: torch.cat(encoder.encode([[5, 6, 7, 1], [9, 1], [12, 4, 1]]))


def clip() -> tuple[Any, Callable[[], Tensor]]:
    weights = Case(GOLDEN / "clip_vit_tiny.json").group("weights.")
    encoder = load_clip(StateDict(weights), known={"num_heads": 2})
    side = encoder.config.image_size
    return encoder, lambda: encoder.encode(latents(2, 3, side, side))


MODELS: dict[str, Build] = {"transformer": transformer, "vace": vace, "umt5": umt5, "clip": clip}


def sizes(stack: BlockStack) -> list[int]:
    return [packed_bytes(t.nbytes for t in tensors_of(u.module).values()) for u in stack.units()]


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_any_units_any_prefetch_the_same_bits(name: str) -> None:
    model, run = MODELS[name]()
    want = run()
    names = [unit.name for unit in model.units()]
    of_units = sizes(model)
    generator = random.Random(3)
    for swapped in range(1, len(names) + 1):
        indices = spread(len(names), swapped)
        for prefetch in (0, 1, 2, len(names)):
            copier = SimulatedCopier(lambda coming: generator.randint(0, coming))
            swap = BlockSwap(model, [names[i] for i in indices], prefetch, copier)
            with swap.active():
                assert torch.equal(run(), want)
                assert torch.equal(run(), want)
            resident = sum(size for i, size in enumerate(of_units) if i not in indices)
            assert copier.peak + resident == swap_bytes(of_units, indices, prefetch)
    assert torch.equal(run(), want)


@torch.no_grad()
def test_layers_of_an_encoder_travel_once_for_all_prompts() -> None:
    encoder, run = umt5()
    names = [unit.name for unit in encoder.units()]
    swap = BlockSwap(encoder, names, 0, SimulatedCopier())
    with swap.active():
        run()
    assert swap.copies == len(names)


@pytest.fixture
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_fresh")
@torch.no_grad()
def test_compiled_blocks_share_one_graph_whether_swapped_or_not() -> None:
    model, run = transformer()
    for block in model.blocks:
        block.compile(backend="aot_eager", fullgraph=True)
    want = run()
    copier = SimulatedCopier()
    swap = BlockSwap(model, ["blocks.1", "blocks.2", "blocks.3"], 1, copier)
    for _ in range(2):
        with swap.active():
            assert torch.equal(run(), want)
    assert torch.equal(run(), want)
    assert swap.copies > 6
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
