"""Tokens in pieces: the same numbers, nothing of the caller is written over, no hidden tensor in whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from live_bytes import Numbers
from torch import Tensor
from torch._dynamo.utils import counters
from wan_samples import latents, random_transformer, scale_of_error

from wan_core.contract.attention import AttentionCall
from wan_core.models.wan import Source, attention, layers, rows
from wan_core.models.wan.layers import (
    Float32LayerNorm,
    RMSNorm,
    gated_add,
    modulated_norm,
    normed_as,
)
from wan_core.models.wan.rope import rope_tables
from wan_core.weights.quantised.linear import QuantLinear, unpacked_once
from wan_core.weights.quantised.packed import pack

VIDEO, TEXT = latents(2, 16, 3, 8, 8), latents(2, 7, 16, seed=2)  # 48 tokens
BY_SAMPLE = torch.tensor([500.0, 20.0])
BY_FRAME = torch.tensor([[0.0, 500.0, 20.0], [900.0, 800.0, 0.0]])
BY_TOKEN = torch.arange(96.0).view(2, 48)


@pytest.mark.parametrize(
    ("tokens", "most", "groups", "starts"),
    [
        (100, None, 1, [0]),
        (100, 100, 4, [0]),
        (100, 99, 1, [0, 50]),
        (100, 30, 1, [0, 25, 50, 75]),
        (100, 34, 1, [0, 34, 68]),
        (100, 60, 4, [0, 50]),
        (100, 49, 4, [0, 25, 50, 75]),
        (100, 30, 2, [0, 25, 50, 75]),
        (9, 2, 9, [0, 2, 4, 6, 8]),
    ],
)
def test_pieces_follow_each_other_and_their_groups(
    tokens: int, most: int | None, groups: int, starts: list[int]
) -> None:
    made = rows.pieces(tokens, most, groups)
    assert [run.start for run, _ in made] == starts
    assert all(one.stop == other.start for (one, _), (other, _) in pairwise(made))
    assert made[-1][0].stop == tokens
    width = tokens // groups
    for run, part in made:
        assert most is None or run.stop - run.start <= most
        assert (part.start, part.stop) == (run.start // width, -(-run.stop // width))


@pytest.mark.parametrize(
    "timesteps", [BY_SAMPLE, BY_FRAME, BY_TOKEN], ids=["one", "frame", "token"]
)
@pytest.mark.parametrize("most", [1, 7, 16, 40])
@torch.no_grad()
def test_pieces_give_the_same_prediction(
    monkeypatch: pytest.MonkeyPatch, timesteps: Tensor, most: int
) -> None:
    transformer = random_transformer(vace_layers=(0, 2), vace_in_dim=16)
    told = {"add_ons": {"vace": {"context": latents(2, 16, 3, 8, 8, seed=3)}}}
    want = transformer(VIDEO, timesteps, TEXT, **told)
    for module in (layers, attention):
        monkeypatch.setattr(module, "AT_ONCE", most)
    assert torch.equal(transformer(VIDEO, timesteps, TEXT, **told), want)  # these are exact
    transformer.rows = most
    assert scale_of_error(transformer(VIDEO, timesteps, TEXT, **told), want) < 1e-6


@torch.no_grad()
def test_bfloat16_too(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = random_transformer().bfloat16()
    want = transformer(VIDEO, BY_FRAME, TEXT)
    for module in (layers, attention):
        monkeypatch.setattr(module, "AT_ONCE", 5)
    assert torch.equal(transformer(VIDEO, BY_FRAME, TEXT), want)
    transformer.rows = 20
    assert scale_of_error(transformer(VIDEO, BY_FRAME, TEXT), want) < 1e-2


@torch.no_grad()
def test_norms_rotation_and_sums_in_pieces_are_equal_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, shift, scale = latents(2, 12, 8), latents(2, 3, 8, seed=2), latents(2, 3, 8, seed=3)
    heads, table = x.view(2, 12, 2, 4).bfloat16(), rope_tables(4, (3, 2, 2))
    tables = (torch.stack([table[0], table[1]]), torch.stack([table[1], table[0]]))
    norm, rms = Float32LayerNorm(8), RMSNorm(8)

    def made() -> list[Tensor]:
        return [
            modulated_norm(x, shift, scale, 1e-6, torch.bfloat16),
            normed_as(norm, x, torch.bfloat16),
            rms(x.bfloat16()),
            attention.rotate(heads, table),
            attention.rotate(heads, tables),
        ]

    want = made()
    for module in (layers, attention):
        monkeypatch.setattr(module, "AT_ONCE", 5)
    assert all(torch.equal(one, other) for one, other in zip(made(), want, strict=True))
    for kind in (x, x.bfloat16()):
        written = kind.clone()
        assert gated_add(written, x, scale, written) is written
        assert torch.equal(written, gated_add(kind, x, scale))


@torch.no_grad()
def test_no_hidden_tensor_of_all_tokens() -> None:
    transformer = random_transformer(ffn_dim=640)
    transformer.rows = 16
    with Numbers() as numbers:
        transformer(VIDEO, BY_SAMPLE, TEXT)
    assert 2 * 16 * 640 in numbers.seen
    assert max(numbers.seen) < 2 * 48 * 640


@torch.no_grad()
def test_only_the_blocks_own_stream_is_written_over() -> None:
    block = random_transformer().blocks[0]
    seen: list[Tensor] = []

    class Keeps(torch.nn.Module):
        def forward(self, x: Tensor, *_: object) -> Tensor:
            seen.append(x)
            seen.append(x.clone())
            return x

    from wan_core.models.wan import BlockCall

    call = BlockCall(
        latents(1, 1, 6, 48),
        AttentionCall(),
        (Source("text", latents(1, 5, 48), AttentionCall("text")),),
        torch.float32,
        {"keeps": {}},
        rows=4,
    )
    x = latents(1, 9, 48)
    before = x.clone()
    want = block(x, call)
    assert torch.equal(x, before)
    block.attach("keeps", Keeps(), "after_self_attention")
    assert torch.equal(block(x, call), want)
    assert torch.equal(*seen)
    sub_step = block.cross_attention(x, call.sources, torch.float32)
    block.feed_forward(sub_step, block.modulate(call.modulation), torch.float32, rows=4)
    assert torch.equal(x, before)


@torch.no_grad()
def test_quantised_layers_unpack_once_for_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = random_transformer(num_layers=1)
    ffn = transformer.blocks[0].ffn
    for place in (0, 2):
        ffn[place] = QuantLinear(pack(ffn[place].weight, "int8", by_channel=True), ffn[place].bias)
    want = transformer(VIDEO, BY_SAMPLE, TEXT)
    unpacked: list[object] = []
    dense = QuantLinear.dequantised
    monkeypatch.setattr(
        QuantLinear,
        "dequantised",
        lambda self, dtype: (unpacked.append(self), dense(self, dtype))[1],
    )
    transformer.rows = 10
    assert scale_of_error(transformer(VIDEO, BY_SAMPLE, TEXT), want) < 1e-6
    assert len(unpacked) == 2
    with unpacked_once(ffn):
        pass
    ffn(latents(1, 3, 48))
    assert len(unpacked) == 4


@torch.no_grad()
def test_compiled_blocks_work_in_pieces_in_one_graph() -> None:
    torch._dynamo.reset()
    counters.clear()
    transformer = random_transformer()
    want = transformer(VIDEO, BY_FRAME, TEXT)
    transformer.rows = 20
    for block in transformer.blocks:
        block.compile(backend="aot_eager", fullgraph=True)
    assert scale_of_error(transformer(VIDEO, BY_FRAME, TEXT), want) < 5e-6
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


@torch.no_grad()
def test_compiled_blocks_unpack_once_for_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    counters.clear()
    transformer = random_transformer()
    for block in transformer.blocks:
        for place in (0, 2):
            weight, bias = block.ffn[place].weight, block.ffn[place].bias
            block.ffn[place] = QuantLinear(pack(weight, "int8", by_channel=True), bias)
    want = transformer(VIDEO, BY_SAMPLE, TEXT)
    transformer.rows = 20
    uses: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        given = graph.graph.find_nodes(op="placeholder")
        uses.extend(len(node.users) for node in given if "payload" in node.name)
        return graph

    for block in transformer.blocks:
        block.compile(backend=backend, fullgraph=True)
    assert scale_of_error(transformer(VIDEO, BY_SAMPLE, TEXT), want) < 5e-6
    assert counters["stats"]["unique_graphs"] == 1
    assert uses == [1, 1]
    assert all(
        layer._kept is None for layer in transformer.modules() if isinstance(layer, QuantLinear)
    )
    torch._dynamo.reset()


def test_gradients_are_those_of_the_whole() -> None:
    transformer = random_transformer()
    transformer.rows = 5
    transformer(VIDEO, BY_SAMPLE, TEXT).square().mean().backward()
    assert all(p.grad is not None for p in transformer.parameters())
