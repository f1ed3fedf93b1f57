"""LoRA factors beside the weights: the same as merged within rounding, with strengths that change."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from wan_samples import SMALL, latents, random_transformer

from wan_core.contract.loras import LoraUse
from wan_core.memory import BlockSwap, SimulatedCopier
from wan_core.models.wan import WanTransformer
from wan_core.models.wan.dialects import DIALECTS
from wan_core.weights import StateDict
from wan_core.weights.lora import LoraFile, LoraLinear, LoraTargets, keep_apart, merge, read_lora
from wan_core.weights.lora.uses import strength_of


def lora(transformer: WanTransformer, rank: int, seed: int) -> LoraFile:
    """Random factors for all linear layers of the blocks, in the names of diffusers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: tuple(p.shape) for name, p in transformer.state_dict().items()}
    held: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name.startswith("blocks.") and len(shape) == 2:
            theirs = DIALECTS[1].from_official(name)
            path = f"transformer.{theirs}".removesuffix(".weight")
            held[f"{path}.lora_A.weight"] = torch.randn(rank, shape[1], generator=generator)
            held[f"{path}.lora_B.weight"] = 0.02 * torch.randn(shape[0], rank, generator=generator)
            held[f"{path}.alpha"] = torch.tensor(2.0 * rank)
    return read_lora(StateDict(held), LoraTargets(shapes, DIALECTS))


def merged(transformer: WanTransformer, files: list[tuple[LoraFile, LoraUse]]) -> WanTransformer:
    made = copy.deepcopy(transformer)
    weights = made.state_dict()
    for file, use in files:
        for patch in file.patches:
            own, strength = weights[patch.target], strength_of(use, patch)
            own.copy_(merge(own, [patch], file.source, strength))
    return made


@torch.no_grad()
def predict(transformer: WanTransformer) -> Tensor:
    text = [latents(5, SMALL["text_dim"], seed=3)]
    video = [latents(16, 2, 4, 4)]
    return transformer.forward_padded(video, torch.tensor([500.0]), text, 8)[0]


def close(got: Tensor, want: Tensor) -> None:
    assert float((got - want).abs().max()) < 2e-5 * float(want.abs().max())


@torch.no_grad()
def test_apart_is_merged_within_rounding() -> None:
    base = random_transformer()
    files = [
        (lora(base, 3, 1), LoraUse("a", 0.7, blocks={"0": 1.0, "2": -0.5})),
        (lora(base, 5, 2), LoraUse("b", -0.4, skip=("ffn",))),
    ]
    apart = copy.deepcopy(base)
    kept = keep_apart(apart, files)
    want = predict(merged(base, files))
    close(predict(apart), want)
    assert float((want - predict(base)).abs().max()) > 0.05 * float(want.abs().max())
    # a layer that both files change has one pair of matrices
    both = apart.get_submodule("blocks.0.self_attn.q")
    assert isinstance(both, LoraLinear)
    assert (both.lora.down.shape, both.lora.up.shape) == ((8, 48), (48, 8))
    assert not isinstance(apart.get_submodule("blocks.1.ffn.0"), LoraLinear)
    kept.set_strength(0, 1.5)
    kept.set_strength(1, 0.0)
    changed = [(files[0][0], LoraUse("a", 1.5, blocks=files[0][1].blocks))]
    close(predict(apart), predict(merged(base, changed)))
    kept.set_strength(0, 0.0)
    assert torch.equal(predict(apart), predict(base))


@torch.no_grad()
def test_a_file_of_many_forms() -> None:
    """Weights of which only some are products of two matrices; head, embeddings and norms take part."""
    base = random_transformer(num_layers=1)
    shapes = {name: tuple(p.shape) for name, p in base.state_dict().items()}
    q, held = "blocks.0.self_attn.q", {}
    parts = {
        f"{q}.lora_A.weight": (2, 48),
        f"{q}.lora_B.weight": (48, 2),
        f"{q}.dora_scale": (48, 1),
        f"{q}.diff_b": (48,),
        "blocks.0.ffn.0.diff": (64, 48),
        "blocks.0.diff_m": (1, 6, 48),
        "blocks.0.self_attn.norm_q.diff": (48,),
        "blocks.0.norm3.diff_b": (48,),
        "patch_embedding.lora_A.weight": (2, 16, 1, 2, 2),
        "patch_embedding.lora_B.weight": (48, 2, 1, 1, 1),
        "time_embedding.0.lora_A.weight": (2, 32),
        "time_embedding.0.lora_B.weight": (48, 2),
        "text_embedding.0.lora_A.weight": (2, 16),
        "text_embedding.0.lora_B.weight": (48, 2),
        "head.head.diff": (64, 48),
        "head.diff_m": (1, 2, 48),
    }
    for seed, (name, shape) in enumerate(parts.items()):
        held[name] = 0.1 * latents(*shape, seed=seed) + (1 if "dora" in name else 0)
    file, use = read_lora(StateDict(held), LoraTargets(shapes)), LoraUse("x", 0.7)
    assert not file.unmatched
    want = predict(merged(base, [(file, use)]))
    plain = predict(base)
    names = list(base.state_dict())
    kept = keep_apart(base, [(file, use)])
    close(predict(base), want)
    assert float((want - plain).abs().max()) > 0.05 * float(want.abs().max())
    assert [name for name in base.state_dict() if ".lora." not in name] == names
    kept.detach()
    assert torch.equal(predict(base), plain)


@torch.no_grad()
def test_units_are_swapped_with_their_factors() -> None:
    """Swapped units compute the same, with strengths that change while their weights are on the device."""
    base = random_transformer()
    files = [(lora(base, 3, 1), LoraUse("a")), (lora(base, 5, 2), LoraUse("b"))]
    resident = copy.deepcopy(base)
    want, kept = keep_apart(resident, files), keep_apart(base, files)
    swap = BlockSwap(base, ["blocks.0", "blocks.2"], 1, SimulatedCopier())
    factors = sum(8 * (inputs + outputs) * 4 for inputs, outputs in block_linears(base))
    assert swap.slot_bytes >= factors
    with swap.active():
        for strengths in ([0.5, 0.0], [0.0, 1.0], [-1.0, 0.25]):
            for one in (want, kept):
                one.assign([(strength,) for strength in strengths])
            assert torch.equal(predict(base), predict(resident))
    # files that leave are no part of the units any more
    kept.detach()
    swap.settle()
    with swap.active():
        assert torch.equal(predict(base), predict(random_transformer()))


def block_linears(transformer: WanTransformer) -> list[tuple[int, int]]:
    linears = (m for m in transformer.blocks[0].modules() if isinstance(m, torch.nn.Linear))
    return [(linear.in_features, linear.out_features) for linear in linears]


@torch.no_grad()
def test_compiled_blocks_share_a_graph() -> None:
    base = random_transformer()
    files = [(lora(base, 3, 1), LoraUse("a", blocks={"0-1": 1.0, "2": 0.5}))]
    eager = copy.deepcopy(base)
    kept, other = keep_apart(base, files), keep_apart(eager, files)
    counter = CompileCounter()
    torch._dynamo.reset()
    for block in base.blocks:
        block.compile(backend=counter, fullgraph=True)
    for strength in (1.0, 0.5, -1.0):
        kept.set_strength(0, strength)
        other.set_strength(0, strength)
        close(predict(base), predict(eager))
    assert counter.frame_count == 1
    torch._dynamo.reset()
