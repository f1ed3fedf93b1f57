"""LoRA factors beside the weights: the same as merged within rounding, with strengths that change."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from wan_samples import SMALL, latents, random_transformer

from wan_core.contract.loras import LoraUse
from wan_core.models.wan import WanTransformer
from wan_core.models.wan.dialects import DIALECTS
from wan_core.weights import StateDict
from wan_core.weights.lora import LoraFile, LoraTargets, merge, read_lora
from wan_core.weights.lora.apart import KeptApart, LoraLinear, keep_apart
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
    assert (both.down.shape, both.up.shape) == ((8, 48), (48, 8))
    assert not isinstance(apart.get_submodule("blocks.1.ffn.0"), LoraLinear)
    kept.set_strength(0, 1.5)
    kept.set_strength(1, 0.0)
    changed = [(files[0][0], LoraUse("a", 1.5, blocks=files[0][1].blocks))]
    close(predict(apart), predict(merged(base, changed)))
    kept.set_strength(0, 0.0)
    assert torch.equal(predict(apart), predict(base))


def test_what_is_no_plain_product_is_left_to_be_merged() -> None:
    base = random_transformer(num_layers=1)
    shapes = {name: tuple(p.shape) for name, p in base.state_dict().items()}
    q = "blocks.0.self_attn.q"
    held = {
        f"{q}.lora_A.weight": torch.ones(2, 48),
        f"{q}.lora_B.weight": torch.ones(48, 2),
        f"{q}.dora_scale": torch.ones(48, 1),
        "blocks.0.ffn.0.diff": torch.ones(64, 48),
        "patch_embedding.lora_A.weight": torch.ones(2, 16, 1, 2, 2),
        "patch_embedding.lora_B.weight": torch.ones(48, 2, 1, 1, 1),
    }
    file = read_lora(StateDict(held), LoraTargets(shapes))
    assert len(file.patches) == 3
    kept = keep_apart(base, [(file, LoraUse("x"))])
    assert kept.places == ((),)
    assert not any(isinstance(one, LoraLinear) for one in base.modules())


def layer(dtype: torch.dtype = torch.float32) -> LoraLinear:
    """A layer that gives zeros, with ones beside it: rank 2, scale a half, strength 2."""
    base = torch.nn.Linear(4, 6)
    torch.nn.init.zeros_(base.weight)
    torch.nn.init.zeros_(base.bias)
    return LoraLinear(base, [(torch.ones(2, 4), torch.ones(6, 2), 0.5)], [2.0]).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_factors_move_with_their_layer(dtype: torch.dtype) -> None:
    made = layer(dtype)
    assert made.down.dtype == made.up.dtype == dtype
    assert made.files.dtype == torch.int64
    assert torch.equal(made(torch.ones(3, 4, dtype=dtype)), torch.full((3, 6), 8.0, dtype=dtype))


@torch.no_grad()
def test_strengths_change_without_another_compilation() -> None:
    made, counter = layer(), CompileCounter()
    compiled = torch.compile(made, backend=counter, fullgraph=True)
    for strength in (2.0, 0.5, -1.0):
        KeptApart((((made, 0),),)).set_strength(0, strength)
        assert torch.equal(compiled(torch.ones(3, 4)), torch.full((3, 6), 4 * strength))
    assert counter.frame_count == 1
