"""What a file is, told from its header: published checkpoints by their lists of tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from wan_core.weights import StateDict, identify

WAN_14B = {"dim": 5120, "ffn_dim": 13824, "num_layers": 40, "out_dim": 16, "text_dim": 4096}
WAN_1_3B = {"dim": 1536, "ffn_dim": 8960, "num_layers": 30, "out_dim": 16, "text_dim": 4096}


@pytest.mark.parametrize(
    ("name", "component", "variant", "details"),
    [
        ("wan2.1-t2v-1.3b", "wan-transformer", "t2v", WAN_1_3B | {"in_dim": 16}),
        ("wan2.1-i2v-14b", "wan-transformer", "i2v", WAN_14B | {"in_dim": 36}),
        ("wan2.2-i2v-a14b", "wan-transformer", "i2v", WAN_14B | {"in_dim": 36}),
        ("wan2.1-flf2v-14b", "wan-transformer", "flf2v", WAN_14B | {"in_dim": 36}),
        ("wan2.1-vace-1.3b", "wan-transformer", "vace", WAN_1_3B | {"in_dim": 16}),
        (
            "wan2.2-ti2v-5b",
            "wan-transformer",
            "ti2v",
            {
                "dim": 3072,
                "ffn_dim": 14336,
                "num_layers": 30,
                "in_dim": 48,
                "out_dim": 48,
                "text_dim": 4096,
            },
        ),
        ("unilumos-1.3b", "wan-transformer", "relight", WAN_1_3B | {"in_dim": 48}),
        ("humo-17b", "humo-transformer", "", WAN_14B | {"in_dim": 36, "audio_dim": 1536}),
        ("wan2.1-vae", "wan-vae", "2.1", {"z_dim": 16}),
        ("wan2.1-vae.diffusers", "wan-vae", "2.1", {"z_dim": 16}),
        ("wan2.2-vae", "wan-vae", "2.2", {"z_dim": 48}),
        ("wan2.2-vae.diffusers", "wan-vae", "2.2", {"z_dim": 48}),
        (
            "umt5-xxl-encoder",
            "umt5-encoder",
            "",
            {"dim": 4096, "layers": 24, "vocabulary": 256384},
        ),
        (
            "umt5-xxl-encoder.hf",
            "umt5-encoder",
            "",
            {"dim": 4096, "layers": 24, "vocabulary": 256384},
        ),
        ("clip-vit-h-14-visual", "clip-vision", "", {"dim": 1280, "layers": 32}),
        ("clip-vit-h-14-visual.hf", "clip-vision", "", {"dim": 1280, "layers": 32}),
        ("clip-vit-h-14-full-official-checkpoint", "clip-vision", "", {"dim": 1280, "layers": 32}),
    ],
)
def test_published_checkpoints(
    manifest: Callable[[str], StateDict],
    name: str,
    component: str,
    variant: str,
    details: dict[str, int],
) -> None:
    source = manifest(name)
    identity = identify(source)
    assert (identity.component, identity.variant) == (component, variant)
    assert identity.details == details
    prefixed = StateDict({f"model.{n}": t for n, t in source.held.items()})
    assert identify(prefixed) == identity


def test_diffusers_names_of_a_transformer(manifest: Callable[[str], StateDict]) -> None:
    shapes = {
        "patch_embedding.weight": (1536, 16, 1, 2, 2),
        "condition_embedder.text_embedder.linear_1.weight": (1536, 4096),
        "blocks.0.attn1.to_q.weight": (1536, 1536),
        "blocks.0.norm2.weight": (1536,),
        "blocks.0.scale_shift_table": (1, 6, 1536),
        "blocks.0.ffn.net.0.proj.weight": (8960, 1536),
        "blocks.1.attn1.to_q.weight": (1536, 1536),
        "proj_out.weight": (64, 1536),
        "scale_shift_table": (1, 2, 1536),
    }
    held = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    identity = identify(StateDict(held))
    assert identity.variant == "t2v"
    assert identity.details == WAN_1_3B | {"num_layers": 2, "in_dim": 16}
    assert str(identity).startswith("a Wan transformer (t2v, dim 1536, ffn_dim 8960")


def test_t5_of_other_models_is_not_taken_for_umt5(manifest: Callable[[str], StateDict]) -> None:
    bias = "relative_attention_bias.weight"
    held = {
        name: tensor
        for name, tensor in manifest("umt5-xxl-encoder.hf").held.items()
        if not name.endswith(bias) or ".block.0." in name
    }
    identity = identify(StateDict(held))
    assert identity.component == "t5-encoder"
    assert identity.title == "a T5 text encoder (not UMT5)"


def test_a_lora_is_no_model() -> None:
    names = ("blocks.0.self_attn.q.lora_down.weight", "blocks.0.self_attn.q.lora_up.weight")
    held = {f"diffusion_model.{name}": torch.zeros(4, 4) for name in names}
    assert identify(StateDict(held)).component == "lora"


def test_a_file_with_several_components(manifest: Callable[[str], StateDict]) -> None:
    transformer, vae = manifest("wan2.1-t2v-1.3b"), manifest("wan2.1-vae")
    held = {f"model.diffusion_model.{n}": t for n, t in transformer.held.items()}
    held |= {f"first_stage_model.{n}": t for n, t in vae.held.items()}
    everything = StateDict(held)
    assert identify(everything, "wan-transformer").variant == "t2v"
    assert identify(everything, "wan-vae").variant == "2.1"
    assert identify(everything, "umt5-encoder").component == "unknown"
    whole = identify(everything)
    assert (whole.variant, whole.prefix) == ("t2v", "model.diffusion_model.")
    assert whole.model.endswith("with other parts in the same file")
