"""LoRA files: whose names they have, their rank, and the model they are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from header_files import write_safetensors

from wan_core.weights import Identity, identify, open_weights

Shapes = dict[str, tuple[int, ...]]
PATHS = ("blocks.0.self_attn.q", "blocks.0.cross_attn.k", "blocks.1.self_attn.q")
DIFFUSERS = ("blocks.0.attn1.to_q", "blocks.0.attn2.to_k", "blocks.1.attn1.to_q")


def pairs(paths: tuple[str, ...], down: str, up: str, rank: int = 16, dim: int = 5120) -> Shapes:
    shapes: Shapes = {}
    for path in paths:
        shapes |= {f"{path}{down}": (rank, dim), f"{path}{up}": (dim, rank)}
    return shapes


def kohya(start: str) -> tuple[str, ...]:
    return tuple(start + path.replace(".", "_") for path in PATHS)


def prefixed(start: str, paths: tuple[str, ...] = PATHS) -> tuple[str, ...]:
    return tuple(start + path for path in paths)


DOWN_UP = (".lora_down.weight", ".lora_up.weight")
A_B = (".lora_A.weight", ".lora_B.weight")
DIALECTS: list[tuple[str, str, Shapes]] = [
    ("official", "lora_down/lora_up", pairs(PATHS, *DOWN_UP)),
    ("official", "lora_A/lora_B", pairs(prefixed("diffusion_model."), *A_B)),
    ("official", "lora_A/lora_B", pairs(prefixed("diffusion_model."), ".lora_A", ".lora_B")),
    ("diffusers", "lora_A/lora_B", pairs(prefixed("transformer.", DIFFUSERS), *A_B)),
    ("diffusers", "lora_A/lora_B", pairs(prefixed("transformer_2.", DIFFUSERS), *A_B)),
    ("diffusers", "lora_A/lora_B", pairs(DIFFUSERS, *A_B)),
    (
        "diffusers",
        "lora.down/lora.up",
        pairs(DIFFUSERS, "_lora.down.weight", "_lora.up.weight"),
    ),
    ("kohya", "lora_down/lora_up", pairs(kohya("lora_unet_"), *DOWN_UP)),
    ("wan-fun", "lora_down/lora_up", pairs(kohya("lora_unet__"), *DOWN_UP)),
    ("half-flat", "lora_down/lora_up", pairs(("lora_unet_blocks_0.self_attn.k",), *DOWN_UP)),
    ("peft", "lora_A/lora_B", pairs(prefixed("base_model.model."), *A_B)),
    ("diffsynth", "lora_A/lora_B", pairs(prefixed("pipe.dit."), *A_B)),
    (
        "diffsynth",
        "lora_A/lora_B",
        pairs(PATHS, ".lora_A.default.weight", ".lora_B.default.weight"),
    ),
    ("lycoris", "lora_down/lora_up", pairs(("lycoris_blocks_0_self_attn_to_q",), *DOWN_UP)),
]


def read(folder: Path, shapes: Shapes) -> Identity:
    return identify(open_weights(write_safetensors(folder / "x.safetensors", shapes)))


@pytest.mark.parametrize(("dialect", "form", "shapes"), DIALECTS)
def test_dialects(tmp_path: Path, dialect: str, form: str, shapes: Shapes) -> None:
    identity = read(tmp_path, shapes)
    assert (identity.component, identity.dialect) == ("lora", dialect)
    assert identity.lora is not None
    assert (identity.lora.form, identity.lora.rank) == (form, 16)
    assert identity.lora.keys == len(shapes)
    assert identity.lora.modules == len(shapes) // 2
    assert identity.lora.width == 5120
    assert identity.model == "a LoRA for the 14 B models of Wan 2.1 and 2.2"


@pytest.mark.parametrize(
    ("shapes", "model", "rank"),
    [
        (pairs(PATHS, *DOWN_UP, 4, 1536), "a LoRA for Wan 2.1, 1.3 B", 4),
        (pairs(PATHS, *DOWN_UP, 32, 3072), "a LoRA for Wan 2.2 TI2V 5B", 32),
        (
            pairs((*PATHS, "blocks.0.cross_attn.k_img"), *A_B),
            "a LoRA for the 14 B models of Wan 2.1 and 2.2, with image tokens",
            16,
        ),
        (pairs(PATHS, *DOWN_UP, 8, 4096), "a LoRA for LongCat-Video", 8),
        (
            pairs(("lora_unet_double_blocks_0_img_attn_qkv",), *DOWN_UP, 8, 3072),
            "a LoRA for Flux or HunyuanVideo",
            8,
        ),
        (
            pairs(("lora_unet_down_blocks_0_attentions_0_proj_in",), *DOWN_UP, 8, 320),
            "a LoRA for Stable Diffusion",
            8,
        ),
        (
            {
                "diffusion_model.blocks.0.self_attn.q.diff": (5120, 5120),
                "diffusion_model.blocks.0.self_attn.q.diff_b": (5120,),
                "diffusion_model.blocks.0.diff_m": (1, 6, 5120),
            },
            "a LoRA for the 14 B models of Wan 2.1 and 2.2",
            0,
        ),
        (
            {
                "blocks.0.self_attn.q.lokr_w1": (16, 16),
                "blocks.0.self_attn.q.lokr_w2_a": (320, 8),
                "blocks.0.self_attn.q.lokr_w2_b": (8, 320),
            },
            "a LoRA for the 14 B models of Wan 2.1 and 2.2",
            8,
        ),
        (
            {
                f"blocks.0.self_attn.q.hada_{w}": s
                for w, s in (
                    ("w1_a", (1536, 6)), ("w1_b", (6, 1536)), ("w2_a", (1536, 6)), ("w2_b", (6, 1536)),
                )
            },
            "a LoRA for Wan 2.1, 1.3 B",
            6,
        ),
    ],
)  # fmt: skip
def test_models_and_ranks(tmp_path: Path, shapes: Shapes, model: str, rank: int) -> None:
    identity = read(tmp_path, shapes)
    assert identity.model == model
    assert identity.lora is not None and identity.lora.rank == rank


@pytest.mark.parametrize(
    ("path", "rows", "columns"),
    [
        ("diffusion_model.blocks.0.cross_attn.k", 5120, 5120),
        ("lora_unet_blocks_31_cross_attn_v_img", 5120, 5120),
        ("diffusion_model.blocks.17.self_attn.o", 5120, 5120),
        ("diffusion_model.blocks.3.ffn.0", 13824, 5120),
        ("diffusion_model.blocks.3.ffn.2", 5120, 13824),
        ("transformer.blocks.9.ffn.net.0.proj", 13824, 5120),
        ("transformer.blocks.9.attn1.to_qkv", 15360, 5120),
        ("transformer.blocks.9.attn2.add_k_proj", 5120, 5120),
        ("diffusion_model.vace_blocks.2.after_proj", 5120, 5120),
    ],
)
def test_one_module_of_any_block_tells_the_width(
    tmp_path: Path, path: str, rows: int, columns: int
) -> None:
    down, up = A_B if "lora_unet" not in path else DOWN_UP
    lora = read(tmp_path, {f"{path}{down}": (8, columns), f"{path}{up}": (rows, 8)}).lora
    assert lora is not None and lora.width == 5120
    assert lora.target.startswith("the 14 B models of Wan 2.1 and 2.2")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("transformer_blocks.0.attn.to_q", "Qwen-Image, Flux or Stable Diffusion 3"),
        ("transformer_blocks.0.attn1.to_q", "LTX Video or CogVideoX"),
    ],
)
def test_other_families_have_blocks_of_the_same_name(
    tmp_path: Path, path: str, target: str
) -> None:
    assert read(tmp_path, pairs((path,), *A_B)).model == f"a LoRA for {target}"


def test_what_it_holds_beside_pairs(tmp_path: Path) -> None:
    shapes = pairs(PATHS, *DOWN_UP) | pairs(("blocks.2.ffn.0",), *DOWN_UP, 64)
    shapes |= {f"{path}.alpha": () for path in PATHS}
    shapes |= {"blocks.0.self_attn.q.dora_scale": (5120, 1), "dwpose_embedding.0.weight": (4, 4)}
    lora = read(tmp_path, shapes).lora
    assert lora is not None
    assert dict(lora.ranks) == {16: 3, 64: 1}
    assert lora.extras == ("DoRA magnitudes", "alpha", "1 other tensor")


def test_a_model_with_some_pairs_left_in_it_is_no_lora(
    tmp_path: Path, manifest: Callable[[str], object]
) -> None:
    whole: Shapes = {
        name: tuple(shape)
        for name, shape in manifest("wan2.1-t2v-1.3b").held.items()  # type: ignore[attr-defined]
        for shape in [shape.shape]
    }
    identity = read(tmp_path, whole | pairs(PATHS, *DOWN_UP, 4, 1536))
    assert identity.component == "wan-transformer"


def test_the_width_of_a_patch_embedding_is_told(tmp_path: Path) -> None:
    lead = "diffusion_model.patch_embedding"
    control: Shapes = {
        f"{lead}.lora_A.weight": (4, 32, 1, 2, 2),
        f"{lead}.lora_B.weight": (1536, 4, 1, 1, 1),
    }
    cases: tuple[tuple[Shapes, int], ...] = (
        ({f"{lead}.diff": (1536, 48, 1, 2, 2)}, 48),
        (control, 32),
        ({"diffusion_model.blocks.0.self_attn.q.diff": (1536, 1536)}, 0),
    )
    for number, (shapes, inputs) in enumerate(cases):
        file = write_safetensors(tmp_path / f"{number}.safetensors", shapes)
        found = identify(open_weights(file)).lora
        assert found is not None and found.inputs == inputs
