"""Behaviour of the transformer: timesteps, precision, memory, units, VACE, blocks that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from wan_samples import latents, random_transformer, scale_of_error

from wan_core.contract.conditioning import Axis, Positions
from wan_core.models.wan import WanConfig, WanTransformer, rotate

VIDEO = latents(2, 16, 5, 4, 6)
TEXT = latents(2, 7, 16, seed=2)
TOKENS_PER_FRAME = 2 * 3


class LargestTensor(TorchDispatchMode):
    """Bytes of the largest tensor that any operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            # a view that repeats its values has no memory of its own
            if isinstance(tensor, Tensor) and 0 not in tensor.stride():
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return out


@torch.no_grad()
def test_timesteps_per_frame_and_token_equal_the_scalar() -> None:
    transformer = random_transformer()
    scalar = torch.tensor([700.0, 31.5])
    frames = scalar[:, None].expand(2, 5)
    tokens = scalar[:, None].expand(2, 5 * TOKENS_PER_FRAME)
    want = transformer(VIDEO, scalar, TEXT)
    assert scale_of_error(transformer(VIDEO, frames, TEXT), want) < 2e-6
    assert scale_of_error(transformer(VIDEO, tokens, TEXT), want) < 2e-6
    alone = transformer(VIDEO[:1], scalar[:1], TEXT[:1])
    assert scale_of_error(alone, want[:1]) < 2e-6


@torch.no_grad()
def test_each_frame_may_have_its_own_timestep() -> None:
    transformer = random_transformer()
    frames = torch.tensor([[0.0, 900.0, 900.0, 450.0, 3.0]]).expand(2, 5)
    by_frame = transformer(VIDEO, frames, TEXT)
    by_token = transformer(VIDEO, frames.repeat_interleave(TOKENS_PER_FRAME, dim=1), TEXT)
    assert scale_of_error(by_frame, by_token) < 2e-6
    assert scale_of_error(by_frame, transformer(VIDEO, frames[:, 1], TEXT)) > 1e-2


def test_timesteps_per_frame_need_no_row_per_token() -> None:
    # one block of the 14B model at 1280x720, 81 frames
    config = WanConfig(5120, 13824, 40, 1)
    grid = (21, 45, 80)
    with torch.device("meta"):
        transformer = WanTransformer(config).to(torch.bfloat16)
        transformer.rows = None  # the largest tensor is that of the feed-forward
        video = torch.empty(1, 16, 21, 90, 160, dtype=torch.bfloat16)
        text = torch.empty(1, 512, 4096, dtype=torch.bfloat16)
        frames, tokens = torch.empty(1, 21), torch.empty(1, grid[0] * grid[1] * grid[2])

    # on the meta device torch would spell out the attention matrix, which no kernel does
    block = transformer.blocks[0]
    block.self_attn.attend = lambda q, k, v, call: rotate(q, call.rope_q) + v
    block.cross_attn.attend["text"] = lambda q, k, v, call: q * 1

    def largest(timesteps: Tensor) -> int:
        with torch.no_grad(), LargestTensor() as watch:
            transformer(video, timesteps, text)
        return watch.bytes

    hidden = tokens.numel() * config.ffn_dim * 2
    assert largest(frames) == largest(frames[:, 0]) == hidden
    assert largest(tokens) > 4 * hidden  # what the watch sees when there is a row per token


@torch.no_grad()
def test_bfloat16_stays_close_and_the_stream_stays_float32() -> None:
    transformer = random_transformer(num_layers=6)
    timesteps = torch.tensor([500.0, 20.0])
    want = transformer(VIDEO, timesteps, TEXT)
    streams: list[torch.dtype] = []
    halved = random_transformer(num_layers=6).to(torch.bfloat16)
    halved.blocks[3].register_forward_pre_hook(lambda _m, args: streams.append(args[0].dtype))
    got = halved(VIDEO, timesteps, TEXT)
    assert got.dtype == torch.float32
    assert streams == [torch.float32]
    assert float((got - want).norm() / want.norm()) < 0.02


@torch.no_grad()
def test_parameters_kept_in_float32_are_used_in_float32() -> None:
    """Time, modulation and norms of a bfloat16 model lose nothing when they are kept in float32."""
    from fnmatch import fnmatchcase

    transformer, plain = random_transformer(), random_transformer().to(torch.bfloat16)
    for name, parameter in transformer.named_parameters():
        if not any(fnmatchcase(name, pattern) for pattern in WanTransformer.KEEP_FLOAT32):
            parameter.data = parameter.data.to(torch.bfloat16)
    assert transformer.dtype == torch.bfloat16
    timesteps = torch.tensor([500.0, 20.0])
    exact = random_transformer()
    assert torch.equal(transformer.embed_time(timesteps)[1], exact.embed_time(timesteps)[1])
    want = exact(VIDEO, timesteps, TEXT)
    errors = [(m(VIDEO, timesteps, TEXT) - want).norm() for m in (transformer, plain)]
    assert errors[0] < errors[1]


@torch.no_grad()
def test_padding_of_the_text_counts() -> None:
    transformer = random_transformer()
    timesteps = torch.tensor([500.0, 20.0])
    padded = torch.cat((TEXT, torch.zeros(2, 13, 16)), dim=1)
    want = transformer(VIDEO, timesteps, TEXT)
    assert torch.equal(transformer(VIDEO, timesteps, padded), want)
    assert torch.equal(transformer(VIDEO, timesteps, [TEXT[0], TEXT[1]]), want)
    short = random_transformer(text_len=7)
    assert scale_of_error(short(VIDEO, timesteps, TEXT), want) > 1e-3
    with pytest.raises(ValueError, match="21 text rows"):
        transformer(VIDEO, timesteps, torch.zeros(2, 21, 16))


@torch.no_grad()
def test_rope_positions() -> None:
    transformer = random_transformer()
    timesteps = torch.tensor([500.0, 20.0])
    natural = transformer(VIDEO, timesteps, TEXT)
    # rope is relative: a common offset changes nothing, another scale does
    moved = Positions(frames=Axis(offset=7.0), height=Axis(offset=3.0))
    stretched = Positions(width=Axis(length=3, scale=0.5))
    assert scale_of_error(transformer(VIDEO, timesteps, TEXT, positions=moved), natural) < 1e-5
    assert scale_of_error(transformer(VIDEO, timesteps, TEXT, positions=stretched), natural) > 1e-3
    with pytest.raises(ValueError, match="positions for 4 tokens"):
        transformer(VIDEO, timesteps, TEXT, positions=Positions(width=Axis(length=4)))


@torch.no_grad()
def test_skipped_blocks_are_left_out() -> None:
    transformer = random_transformer()
    timesteps = torch.tensor([500.0, 20.0])
    got = transformer(VIDEO, timesteps, TEXT, skip_blocks=frozenset({1}))
    del transformer.blocks[1]
    assert torch.equal(got, transformer(VIDEO, timesteps, TEXT))


@torch.no_grad()
def test_vace_contexts_add_up() -> None:
    transformer = random_transformer(vace_layers=(0, 2), vace_in_dim=8)
    timesteps = torch.tensor([500.0, 20.0])
    context = latents(2, 8, 5, 4, 6, seed=3)

    def run(**inputs: Tensor) -> Tensor:
        named = {name.replace("_", "."): tensor for name, tensor in inputs.items()}
        out: Tensor = transformer(VIDEO, timesteps, TEXT, add_ons={"vace": named})
        return out

    without = transformer(VIDEO, timesteps, TEXT)
    assert torch.equal(run(context=context, scale=torch.tensor(0.0)), without)
    whole = run(context=context)
    assert scale_of_error(without, whole) > 1e-2
    halves = run(
        context=context, scale=torch.tensor(0.25), context_b=context, scale_b=torch.tensor([0.75])
    )
    assert scale_of_error(halves, whole) < 2e-6


def test_units_are_all_blocks_in_their_order_of_use() -> None:
    transformer = random_transformer(vace_layers=(0, 2), vace_in_dim=8)
    units = transformer.units()
    names = ["blocks.0", "vace_blocks.0", "blocks.1", "blocks.2", "vace_blocks.1"]
    assert [unit.name for unit in units] == names
    order: list[str] = []
    for unit in units:
        unit.module.register_forward_pre_hook(lambda _m, _args, name=unit.name: order.append(name))
    context = latents(2, 8, 5, 4, 6, seed=3)
    with torch.no_grad():
        transformer(VIDEO, torch.ones(2), TEXT, add_ons={"vace": {"context": context}})
    assert order == names
    inside = {f"{unit.name}.{name}" for unit in units for name, _ in unit.module.named_parameters()}
    rest = transformer.rest()
    assert inside.isdisjoint(rest)
    assert inside | set(rest) == {name for name, _ in transformer.named_parameters()}


def test_every_parameter_learns() -> None:
    transformer = random_transformer(image_dim=10, image_positions=6, in_dim=36).train()
    video, image = latents(2, 36, 5, 4, 6), latents(2, 6, 10)
    velocity = transformer(video, torch.tensor([3.0, 700.0]), TEXT, image_tokens=image)
    velocity.square().mean().backward()
    still = [n for n, p in transformer.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_start_values_for_training() -> None:
    transformer = WanTransformer(WanConfig(dim=64, ffn_dim=128, num_heads=4, num_layers=2))
    transformer.initialise()
    assert not transformer.head.head.weight.any()  # predicts zero at first
    assert 0.5 < float(transformer.blocks[1].modulation.detach().std()) * 64**0.5 < 1.5
    bound = (6 / (64 + 128)) ** 0.5
    assert 0.9 * bound < float(transformer.blocks[0].ffn[0].weight.detach().abs().max()) <= bound
    assert all(torch.isfinite(p).all() for p in transformer.parameters())


def test_odd_latents_are_refused() -> None:
    with pytest.raises(ValueError, match="3x6"):
        random_transformer()(latents(1, 16, 2, 3, 6), torch.ones(1), TEXT[:1])
