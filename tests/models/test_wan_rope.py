"""Rope tables are made once for a video and leave with the transformer."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from wan_samples import latents, random_transformer

from wan_core.contract.attention import AttentionCall
from wan_core.contract.conditioning import NATURAL, Axis, Positions
from wan_core.models.wan import WanTransformer, attend, rope_tables
from wan_core.models.wan import rope as rope_module

TEXT, TIMESTEPS = latents(1, 7, 16, seed=2), torch.tensor([500.0])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every grid whose tables were computed."""
    grids: list[object] = []
    original = rope_module.grid_angles

    def counted(width: int, grid: rope_module.Grid, positions: Positions = NATURAL) -> torch.Tensor:
        grids.append(grid)
        return original(width, grid, positions)

    monkeypatch.setattr(rope_module, "grid_angles", counted)
    return grids


def run(transformer: WanTransformer, height: int = 4, positions: Positions = NATURAL) -> None:
    with torch.inference_mode():
        transformer(latents(1, 16, 2, height, 4), TIMESTEPS, TEXT, positions=positions)


def test_made_once_by_content_and_two_are_kept(made: list[object]) -> None:
    transformer = random_transformer()
    for _ in range(3):
        run(transformer)
        run(transformer, positions=Positions(frames=Axis(offset=3.0)))
    assert len(made) == 2
    run(transformer, height=6)
    run(transformer, positions=Positions(frames=Axis(offset=3.0)))
    assert len(made) == 3
    run(transformer)
    assert len(made) == 4


def test_tables_leave_with_the_transformer() -> None:
    transformer = random_transformer()
    tables: list[weakref.ref[torch.Tensor]] = []

    def watching(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, call: AttentionCall
    ) -> torch.Tensor:
        assert call.rope_q is not None
        tables.extend(weakref.ref(part) for part in call.rope_q)
        return attend(q, k, v, call)

    transformer.blocks[0].self_attn.attend = watching
    run(transformer)
    assert all(table() is not None for table in tables)
    del transformer
    gc.collect()
    assert len(tables) == 2
    assert all(table() is None for table in tables)


def test_tables_of_the_device_left_are_dropped() -> None:
    cache = rope_module.RopeCache()
    (cos, _) = cache.tables(12, (2, 3, 4), NATURAL, torch.device("cpu"))
    assert torch.equal(cos, rope_tables(12, (2, 3, 4))[0])
    left = weakref.ref(cos)
    del cos, _
    cache.tables(12, (2, 3, 4), NATURAL, torch.device("meta"))
    gc.collect()
    assert left() is None


def test_tables_made_in_inference_serve_training() -> None:
    transformer = random_transformer()
    run(transformer)
    video = latents(1, 16, 2, 4, 4).requires_grad_()
    transformer(video, TIMESTEPS, TEXT).sum().backward()
    assert video.grad is not None
