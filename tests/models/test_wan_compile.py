"""torch.compile: one compilation serves all blocks; training steps keep their gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from wan_samples import latents, random_transformer, scale_of_error

VIDEO, TEXT = latents(2, 16, 2, 4, 4), latents(2, 7, 16, seed=2)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@torch.no_grad()
def test_all_blocks_share_one_graph() -> None:
    transformer = random_transformer(num_layers=4)
    timesteps = torch.tensor([500.0, 20.0])
    want = transformer(VIDEO, timesteps, TEXT)
    for block in transformer.blocks:
        block.compile(backend="aot_eager", fullgraph=True)
    assert scale_of_error(transformer(VIDEO, timesteps, TEXT), want) < 5e-6
    transformer(VIDEO, timesteps / 2, TEXT, branch="uncond")
    transformer(VIDEO, timesteps, 2 * TEXT, skip_blocks=frozenset({2}))
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_compiled_training_step_has_the_same_gradients() -> None:
    transformer = random_transformer(num_layers=2).train()
    timesteps = torch.tensor([500.0, 20.0])

    def loss(video: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            velocity = transformer(video, timesteps, TEXT)
        return (velocity - VIDEO).square().mean()

    def gradients(of: object) -> dict[str, Tensor]:
        transformer.zero_grad()
        of(VIDEO).backward()  # type: ignore[operator]
        found = {n: p.grad for n, p in transformer.named_parameters() if p.grad is not None}
        assert len(found) == len(list(transformer.parameters()))
        return {name: gradient.clone() for name, gradient in found.items()}

    want = gradients(loss)
    got = gradients(torch.compile(loss, backend="aot_eager"))
    total = torch.stack([gradient.norm() for gradient in want.values()]).norm()
    wrong = torch.stack([(got[name] - want[name]).norm() for name in want]).norm()
    assert wrong < 0.02 * total
