"""The block: its sub-steps alone, sources of the cross-attention, add-ons, attention by assignment."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from wan_samples import latents, random_transformer, scale_of_error

from wan_core.contract.attention import AttentionCall
from wan_core.contract.state import State, StateSpec
from wan_core.models.wan import (
    BlockCall,
    CrossAttention,
    FeedForward,
    SelfAttention,
    Source,
    attend,
    gated_add,
    modulated_norm,
    rope_tables,
    rotate,
)

GRID = (2, 3, 4)
TOKENS = 24


def call_of(width: int = 48, **add_ons: Mapping[str, Tensor]) -> BlockCall:
    rope = rope_tables(12, GRID)
    return BlockCall(
        modulation=latents(1, 1, 6, width, seed=5),
        attention=AttentionCall(rope_q=rope, rope_k=rope, grid=GRID),
        sources=(Source("text", latents(1, 20, width, seed=6), AttentionCall("text")),),
        dtype=torch.float32,
        add_ons=add_ons,
    )


@torch.no_grad()
def test_the_block_is_its_three_sub_steps() -> None:
    block = random_transformer().blocks[0]
    x, call = latents(1, TOKENS, 48), call_of()
    m = block.modulate(call.modulation)
    step = block.self_attention(x, m, call.attention, call.dtype)
    step = block.cross_attention(step, call.sources, call.dtype)
    step = block.feed_forward(step, m, call.dtype)
    assert torch.equal(step, block(x, call))


@torch.no_grad()
def test_self_attention_by_the_formula() -> None:
    torch.manual_seed(0)
    module = SelfAttention(24, 2)
    nn.init.normal_(module.norm_q.weight)
    x, rope = latents(1, TOKENS, 24), rope_tables(12, GRID)

    def rms(v: Tensor) -> Tensor:
        return v * (v.square().mean(-1, keepdim=True) + 1e-6).rsqrt()

    def turned(v: Tensor) -> Tensor:
        heads = torch.view_as_complex(v.unflatten(-1, (2, 6, 2)).contiguous())
        angles = torch.complex(*rope)[:, None]
        return torch.view_as_real(heads * angles).flatten(-2)

    q = turned(rms(module.q(x)) * module.norm_q.weight)
    k = turned(rms(module.k(x)) * module.norm_k.weight)
    v = module.v(x).unflatten(-1, (2, 12))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * 12**-0.5
    mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(-2)
    got = module(x, AttentionCall(rope_q=rope, rope_k=rope, grid=GRID))
    assert scale_of_error(got, module.o(mixed)) < 1e-6


@torch.no_grad()
def test_sources_share_q_and_are_summed_before_the_projection() -> None:
    torch.manual_seed(0)
    module = CrossAttention(24, 2)
    module.add_source("sound", "_sound", width=10)
    names = {name.split(".")[0] for name, _ in module.named_parameters()}
    assert names == {"q", "o", "norm_q"} | {f"{n}{s}" for n in "kv" for s in ("", "_sound")} | {
        "norm_k",
        "norm_k_sound",
    }
    x = latents(1, TOKENS, 24)
    text = Source("text", latents(1, 5, 24, seed=2), AttentionCall("text"))
    tokens = latents(1, 6, 10, seed=3)
    rope = rope_tables(12, GRID), rope_tables(12, (6, 1, 1))
    turned = AttentionCall("sound", rope_q=rope[0], rope_k=rope[1])
    sound = Source("sound", tokens, turned, weight=torch.tensor(0.3))

    bias = module.o.bias
    alone = module(x, [Source("sound", tokens, turned)]) - bias
    want = (module(x, [text]) - bias) + 0.3 * alone + bias
    assert scale_of_error(module(x, [text, sound]), want) < 1e-6
    # the queries are rotated for the source that says so, and only there
    unturned = Source("sound", tokens, AttentionCall("sound"), weight=torch.tensor(0.3))
    assert scale_of_error(module(x, [text, unturned]), want) > 1e-3

    with pytest.raises(ValueError, match="sound"):
        module.add_source("sound", "_other")


@torch.no_grad()
def test_a_cross_attention_of_another_width() -> None:
    """What a plugin's own add-on uses: sound tokens of their own width under the plain names."""
    module = CrossAttention(24, 2, source="sound", width=10)
    assert set(module.state_dict()) == set(CrossAttention(24, 2).state_dict())
    out = module(latents(1, 8, 24), [Source("sound", latents(1, 3, 10), AttentionCall("sound"))])
    assert out.shape == (1, 8, 24)


def test_feed_forward_is_the_tanh_form() -> None:
    module = FeedForward(6, 10)
    x = latents(4, 6)
    want = module[2](F.gelu(module[0](x), approximate="tanh"))
    assert torch.equal(module(x), want)


class Adds(nn.Module):
    """Adds its parameter and an input, and keeps what it saw."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(width))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, inputs: Mapping[str, Tensor], call: BlockCall) -> Tensor:
        assert call.attention.grid == GRID
        self.seen.append(x)
        return x + self.bias + inputs["more"]


@torch.no_grad()
def test_add_ons_run_in_their_slots() -> None:
    block = random_transformer().blocks[0]
    names = set(block.state_dict())
    add_ons = {
        slot: Adds(48)
        for slot in ("before_block", "after_self_attention", "after_cross_attention", "after_block")
    }
    for slot, add_on in add_ons.items():
        block.attach(f"my_{slot}", add_on, slot)
    assert set(block.state_dict()) - names == {f"add_ons.my_{slot}.bias" for slot in add_ons}

    x = latents(1, TOKENS, 48)
    more = {f"my_{slot}": {"more": torch.tensor(0.5)} for slot in add_ons}
    call = call_of(**more)
    got = block(x, call)
    m = block.modulate(call.modulation)
    want = add_ons["before_block"](x, {"more": 0.5}, call)
    want = block.self_attention(want, m, call.attention, call.dtype)
    want = add_ons["after_self_attention"](want, {"more": 0.5}, call)
    want = block.cross_attention(want, call.sources, call.dtype)
    want = add_ons["after_cross_attention"](want, {"more": 0.5}, call)
    want = add_ons["after_block"](block.feed_forward(want, m, call.dtype), {"more": 0.5}, call)
    assert torch.equal(got, want)

    # without inputs nothing runs; detached, nothing is left
    plain = random_transformer().blocks[0](x, call_of())
    assert torch.equal(block(x, call_of()), plain)
    with pytest.raises(ValueError, match="my_after_block"):
        block.attach("my_after_block", Adds(48), "after_block")
    for slot in add_ons:
        block.detach(f"my_{slot}")
    assert set(block.state_dict()) == names
    assert torch.equal(block(x, call), plain)


@torch.no_grad()
def test_attention_is_replaced_by_assignment() -> None:
    transformer = random_transformer(image_dim=10)
    calls: list[AttentionCall] = []

    def watching(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
        calls.append(call)
        return attend(q, k, v, call)

    video, text, image = latents(1, 16, 5, 4, 6), latents(1, 7, 16), latents(1, 3, 10)
    arguments = (video, torch.ones(1), text)
    want = transformer(*arguments, image_tokens=image)
    transformer.blocks[1].self_attn.attend = watching
    transformer.blocks[2].cross_attn.attend["image"] = watching
    mine = {"k": torch.ones(1)}
    state = {"attention": State(StateSpec("attention", 4), {"blocks.1": mine})}
    got = transformer(*arguments, image_tokens=image, branch="uncond", state=state)
    assert torch.equal(got, want)
    first, second = calls
    assert (first.source, first.block, first.branch) == ("self", 1, "uncond")
    assert first.state == mine
    assert first.grid == (5, 2, 3) and first.lengths is None and first.rope_q is not None
    assert (second.source, second.block, second.rope_q) == ("image", 2, None)


@torch.no_grad()
@pytest.mark.parametrize("mutable", [True, False])
def test_only_mutable_state_is_carried_from_call_to_call(mutable: bool) -> None:
    transformer = random_transformer(vace_layers=(0,), vace_in_dim=8)
    seen: list[tuple[int, float]] = []

    def counting(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
        assert call.state is not None
        count = call.state.get("count", torch.zeros(1))
        seen.append((call.block, float(count)))
        call.state["count"] = count + 1
        return attend(q, k, v, call)

    for block in (*transformer.blocks, *transformer.vace_blocks):
        block.self_attn.attend = counting
    units = [unit.name for unit in transformer.units()]
    start = {} if mutable else {unit: {"count": torch.ones(1)} for unit in units}
    state = State(StateSpec("attention", 0, mutable=mutable), dict(start))
    add_ons = {"vace": {"context": latents(1, 8, 3, 4, 4)}}
    for _ in range(2):
        arguments = (latents(1, 16, 3, 4, 4), torch.ones(1), latents(1, 3, 16))
        transformer(*arguments, add_ons=add_ons, state={"attention": state})
    blocks = len(transformer.blocks)
    assert sorted(seen[: blocks + 1]) == [(i, 0.0 if mutable else 1.0) for i in range(blocks + 1)]
    assert sorted(seen[blocks + 1 :]) == [(i, 1.0) for i in range(blocks + 1)]
    assert set(state.parts) == set(units)
    assert all(float(part["count"]) == (2 if mutable else 1) for part in state.parts.values())


@torch.no_grad()
def test_lengths_mask_keys() -> None:
    q, k, v = (latents(2, 5, 2, 4, seed=seed) for seed in (1, 2, 3))
    masked = attend(q, k, v, AttentionCall(lengths=torch.tensor([3, 5])))
    assert torch.allclose(masked[:1], attend(q[:1], k[:1, :3], v[:1, :3], AttentionCall()))
    assert torch.allclose(masked[1:], attend(q[1:], k[1:], v[1:], AttentionCall()))


def test_rotation_keeps_bfloat16_exact_to_one_rounding() -> None:
    x, table = latents(1, TOKENS, 2, 12), rope_tables(12, GRID)
    half = x.bfloat16()
    assert torch.equal(rotate(half, table), rotate(half.float(), table).bfloat16())


def test_modulation_by_group() -> None:
    x, shift, scale = latents(2, 12, 8), latents(2, 3, 8, seed=2), latents(2, 3, 8, seed=3)
    rows = [part.repeat_interleave(4, dim=1) for part in (shift, scale)]
    want = F.layer_norm(x, (8,), eps=1e-6) * (1 + rows[1]) + rows[0]
    assert scale_of_error(modulated_norm(x, shift, scale, 1e-6, torch.float32), want) < 1e-6
    one = modulated_norm(x, shift[:1, :1], scale[:1, :1], 1e-6, torch.float32)
    want = F.layer_norm(x, (8,), eps=1e-6) * (1 + scale[:1, :1]) + shift[:1, :1]
    assert scale_of_error(one, want) < 1e-6
    assert scale_of_error(gated_add(x, 2 * x, scale), x + 2 * x * rows[1]) < 1e-6
    assert gated_add(x.bfloat16(), x.bfloat16(), scale).dtype == torch.bfloat16
