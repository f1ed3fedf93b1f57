"""LoRA files by their headers: every dialect leads to official weights, and what leads nowhere says why."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from header_files import write_safetensors
from lora_samples import DIM, TARGETS, WIDE, header, pair

from wan_core.contract.errors import WeightsError
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.models.wan.files import lora_targets
from wan_core.weights import StateDict
from wan_core.weights.lora import read_lora
from wan_core.weights.lora.unmatched import told

K_IMG = "blocks.11.cross_attn.k_img.weight"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("diffusion_model.blocks.11.cross_attn.k_img", K_IMG),
        ("blocks.11.cross_attn.k_img", K_IMG),
        ("model.diffusion_model.blocks.11.cross_attn.k_img", K_IMG),
        ("transformer.blocks.11.attn2.add_k_proj", K_IMG),
        ("transformer_2.blocks.11.attn2.add_k_proj", K_IMG),
        ("base_model.model.blocks.11.cross_attn.k_img", K_IMG),
        ("base_model.model.blocks.11.attn2.add_k_proj", K_IMG),
        ("pipe.dit.blocks.11.cross_attn.k_img", K_IMG),
        ("lora_unet_blocks_11_cross_attn_k_img", K_IMG),
        ("lora_unet__blocks_11_cross_attn_k_img", K_IMG),
        ("lora_unet_blocks_11.cross_attn.k_img", K_IMG),
        ("lycoris_blocks_11_attn2_add_k_proj", K_IMG),
        ("lycoris_blocks_1_attn1_to_out_0", "blocks.1.self_attn.o.weight"),
        ("transformer.blocks.1.attn1.to_out.0", "blocks.1.self_attn.o.weight"),
        ("transformer.blocks.1.attn1.processor.to_q", "blocks.1.self_attn.q.weight"),
        ("transformer.blocks.1.attn2.to_v", "blocks.1.cross_attn.v.weight"),
        ("lora_unet_vace_blocks_0_self_attn_k", "vace_blocks.0.self_attn.k.weight"),
        ("diffusion_model.text_embedding.2", "text_embedding.2.weight"),
        (
            "transformer.condition_embedder.text_embedder.linear_2",
            "text_embedding.2.weight",
        ),
    ],
)
def test_dialects_lead_to_the_official_name(path: str, target: str) -> None:
    found = read_lora(header(pair(path)), TARGETS)
    assert [(p.form, p.target) for p in found.patches] == [("pair", target)]
    assert not found.unmatched


@pytest.mark.parametrize(
    "name", ["wan2.1-flf2v-14b", "wan2.1-vace-1.3b", "wan2.2-ti2v-5b", "wan2.1-t2v-1.3b"]
)
def test_no_two_weights_of_a_published_model_are_confused(
    manifest: Callable[[str], StateDict], name: str
) -> None:
    targets = lora_targets(manifest(name))
    for official in targets.shapes:
        theirs = DIFFUSERS.from_official(official)
        assert theirs is not None
        leaf = official.rpartition(".")[2]
        for path in (official, theirs):
            if leaf in ("weight", "bias"):
                path = path.removesuffix(f".{leaf}")
            spellings = [path, f"transformer.{path}"]
            spellings += [lead + path.replace(".", "_") for lead in ("lora_unet_", "lycoris_")]
            found = {targets.find(one, leaf if leaf == "bias" else "weight") for one in spellings}
            assert found == {official}


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (".lora_down.weight", ".lora_up.weight"),
        (".lora_A.weight", ".lora_B.weight"),
        (".lora_A.default.weight", ".lora_B.default.weight"),
        (".lora_A.my-style.weight", ".lora_B.my-style.weight"),
        (".lora_A", ".lora_B"),
        ("_lora.down.weight", "_lora.up.weight"),
        (".lora.down.weight", ".lora.up.weight"),
        (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    ],
)
def test_pairs_by_every_suffix(down: str, up: str) -> None:
    path = "transformer.blocks.0.ffn.net.0.proj"
    names = {f"{path}{up}": (WIDE, 3), f"{path}{down}": (3, DIM), f"{path}.alpha": ()}
    (patch,) = read_lora(header(names), TARGETS).patches
    assert patch.target == "blocks.0.ffn.0.weight"
    assert patch.parts == {"down": path + down, "up": path + up, "alpha": f"{path}.alpha"}


@pytest.mark.parametrize(
    ("name", "shape", "target"),
    [
        ("blocks.0.ffn.2.diff", (DIM, WIDE), "blocks.0.ffn.2.weight"),
        ("blocks.0.ffn.2.diff_b", (DIM,), "blocks.0.ffn.2.bias"),
        ("blocks.0.diff_m", (1, 6, DIM), "blocks.0.modulation"),
        ("head.diff_m", (1, 2, DIM), "head.modulation"),
        ("head.head.diff", (16, DIM), "head.head.weight"),
        ("patch_embedding.diff", (DIM, 4, 1, 2, 2), "patch_embedding.weight"),
        ("blocks.0.norm3.w_norm", (DIM,), "blocks.0.norm3.weight"),
        ("blocks.0.norm3.b_norm", (DIM,), "blocks.0.norm3.bias"),
        ("blocks.0.modulation.diff", (1, 6, DIM), "blocks.0.modulation"),
        ("blocks.0.ffn.2.set_weight", (DIM, WIDE), "blocks.0.ffn.2.weight"),
        ("blocks.0.ffn.2.lora_B.bias", (DIM,), "blocks.0.ffn.2.bias"),
    ],
)
def test_changes_of_one_tensor(name: str, shape: tuple[int, ...], target: str) -> None:
    found = read_lora(header({f"diffusion_model.{name}": shape}), TARGETS)
    assert [p.target for p in found.patches] == [target]
    assert found.matched == 1


LOKR = {"lokr_w1": (2, 3), "lokr_w2_a": (3, 2), "lokr_w2_b": (2, 2)}
LOHA = {"hada_w1_a": (6, 2), "hada_w1_b": (2, 6), "hada_w2_a": (6, 3), "hada_w2_b": (3, 6)}


@pytest.mark.parametrize(
    ("form", "parts"),
    [
        ("lokr", LOKR),
        ("lokr", {"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 2), "lokr_w2": (3, 3)}),
        ("lokr", {"lokr_w1": (6, 6), "lokr_w2": (1, 1)}),
        ("loha", LOHA),
    ],
)
def test_lycoris(form: str, parts: dict[str, tuple[int, ...]]) -> None:
    found = read_lora(header({f"blocks.0.self_attn.q.{k}": v for k, v in parts.items()}), TARGETS)
    assert [(p.form, p.target) for p in found.patches] == [(form, "blocks.0.self_attn.q.weight")]


Q = "blocks.0.self_attn.q"
UNMATCHED = {
    "no such block": (pair("blocks.7.ffn.0"), "the model has no such module"),
    "another width": (pair(Q, 8, 8), "a weight of shape [8, 8], the model's is [6, 6]"),
    "turned": (pair("blocks.0.ffn.0", DIM, WIDE), "shape [6, 10], the model's is [10, 6]"),
    "half a pair": ({f"{Q}.lora_A.weight": (2, 6)}, "what belongs to it is missing"),
    "alpha alone": ({f"{Q}.alpha": ()}, "what belongs to it is missing"),
    "ranks that differ": (
        {f"{Q}.lora_A.weight": (2, 6), f"{Q}.lora_B.weight": (6, 3)},
        "its factors do not fit each other",
    ),
    "no rank": (
        {f"{Q}.lora_A.weight": (0, 6), f"{Q}.lora_B.weight": (6, 0)},
        "it holds no numbers",
    ),
    "a vector for a factor": (
        {f"{Q}.lora_A.weight": (6,), f"{Q}.lora_B.weight": (6, 3)},
        "its factors do not fit each other",
    ),
    "a wide alpha": ({**pair(Q), f"{Q}.alpha": (3,)}, "its alpha is no single number"),
    "magnitudes": ({**pair(Q), f"{Q}.dora_scale": (4, 1)}, "its magnitudes do not fit the weight"),
    "columns for PEFT": (
        {**pair(Q), f"{Q}.lora_magnitude_vector": (1, 6)},
        "its magnitudes do not fit the weight",
    ),
    "text encoder": (pair("lora_te_text_model_0_q"), "it is for a text encoder"),
    "a module": ({"dwpose_embedding.0.weight": (3, 3)}, "it is no part of a LoRA that is known"),
    "branches": ({f"{Q}_loras.down.weight": (2, 6)}, "it is no part of a LoRA that is known"),
    "no bias": ({"text_embedding.2.diff_b": (6,)}, "this module of the model has no bias"),
    "a difference": ({f"{Q}.diff": (6, 7)}, "a weight of shape [6, 7], the model's is [6, 6]"),
    "LoKr": (
        {f"{Q}.lokr_w1": (2, 2), f"{Q}.lokr_w2": (2, 2)},
        "a weight of shape [4, 4], the model's is [6, 6]",
    ),
    "LoHa": (
        {f"{Q}.{k}": v for k, v in (LOHA | {"hada_w2_b": (3, 5)}).items()},
        "its factors do not fit each other",
    ),
}


@pytest.mark.parametrize("name", UNMATCHED)
def test_what_fits_nowhere_says_why(name: str) -> None:
    shapes, why = UNMATCHED[name]
    found = read_lora(header(shapes), TARGETS)
    assert not found.patches
    assert found.unmatched.keys() == shapes.keys()
    assert all(why in reason for reason in found.unmatched.values()), found.unmatched


def test_whole_numbers_are_no_factors() -> None:
    source = header(pair(Q))
    shapes = dict(source.tensors)
    name = f"{Q}.lora_A.weight"
    source.tensors = {**shapes, name: type(shapes[name])("I8", shapes[name].shape, 12)}
    assert "stored as I8" in read_lora(source, TARGETS).unmatched[name]


def test_two_adapters_are_refused() -> None:
    names = {f"{Q}.lora_A.{one}.weight": (2, 6) for one in ("default", "other")}
    with pytest.raises(WeightsError, match="the file holds two adapters"):
        read_lora(header(names), TARGETS)


@pytest.mark.parametrize(
    "other", ["diffusion_model.", "transformer.", "base_model.model.", "lora_unet_"]
)
def test_one_weight_under_two_names_is_not_changed_twice(other: str) -> None:
    again = f"{other}{Q}" if other[-1] == "." else other + Q.replace(".", "_")
    with pytest.raises(WeightsError, match=r"change one weight: the file holds two adapters"):
        read_lora(header({**pair(Q), **pair(again)}), TARGETS)
    # another tensor of the module under another name is no second adapter
    file = header({**pair(Q), f"diffusion_model.{Q}.diff_b": (DIM,)})
    assert len(read_lora(file, TARGETS).patches) == 2


def test_every_name_without_a_place_is_told_in_a_line() -> None:
    """Names that differ in the number of a block are one, and so are the tensors of a module."""
    img = {n: pair(f"transformer.blocks.{n}.attn3.to_k") for n in (0, 1, 2, 3, 7, 11)}
    names = {k: v for one in img.values() for k, v in one.items()} | pair(Q)
    names |= {f"blocks.{n}.ffn.9.diff": (3,) for n in (0, 1)} | {"dwpose.0.weight": (3,)}
    names |= {f"{Q}.diff_b": (DIM + 1,), "lora_unet_blocks_5_self_attn_q.alpha": ()}
    assert told(read_lora(header(names), TARGETS)) == (
        "17 of the LoRA's 19 tensors: 'transformer.blocks.0-3,7,11.attn3.to_k.*', 'blocks.0-1.ffn.9.diff' "
        "(the model has no such module), 'blocks.0.self_attn.q.diff_b' (it is for a weight of shape [7], the "
        "model's is [6]), 'dwpose.0.weight' (it is no part of a LoRA that is known), "
        "'lora_unet_blocks_5_self_attn_q.alpha' (what belongs to it is missing)"
    )


def test_a_file_of_nothing_but_strangers_is_told_in_a_short_line() -> None:
    names = {f"tower.{n}.{'x' * 60}.lora_A.weight": (3, 3) for n in range(500)}
    line = told(read_lora(header(names | pair(Q)), TARGETS))
    assert line.startswith("500 of the LoRA's 502 tensors: 'tower.0.xxx")
    assert line.endswith("' and 493 more (what belongs to it is missing)")
    assert len(line) < 700
    # each for a weight of another shape, so each has a reason of its own
    odd = {
        f"blocks.{n}.self_attn.{p}.diff_b": (200 * n + ord(p),) for n in (0, 1, 11) for p in "qkvo"
    }
    line = told(read_lora(header(odd | pair("blocks.0.ffn.0", WIDE)), TARGETS))
    assert line.startswith(
        "12 of the LoRA's 14 tensors: 'blocks.0.self_attn.q.diff_b' (it is for a weight"
    )
    assert re.search(r"the model's is \[6\]\), \d others$", line)
    assert len(line) < 900


def alphas(rank: int = 4, **config: object) -> list[float | None]:
    said = json.dumps({f"transformer.{key}": value for key, value in config.items()})
    names = {**pair("transformer.blocks.0.attn1.to_q", rank=rank)}
    names |= pair("transformer.blocks.0.attn1.to_k", rank=rank)
    file = header(names, lora_adapter_metadata=said)
    return [patch.alpha for patch in read_lora(file, TARGETS).patches]


def test_peft_states_alpha_in_the_header() -> None:
    assert alphas(r=4, lora_alpha=8) == [8, 8]
    assert alphas(lora_alpha=8, alpha_pattern={"attn1.to_k": 2}) == [8, 2]
    longest_first = {"to_k": 3, "blocks.0.attn1.to_k": 2, "attn1.to_q": 1, "o_q": 5}
    assert alphas(lora_alpha=8, alpha_pattern=longest_first) == [1, 2]
    assert alphas(lora_alpha=8, use_rslora=True) == [16, 16]
    for odd in (math.nan, -math.inf, 10**400):
        assert alphas(lora_alpha=odd) == [None, None]
    assert alphas(lora_alpha="8") == alphas(lora_alpha=True) == alphas(r=3) == [None, None]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000])
def test_a_header_that_makes_no_sense_says_nothing(text: str) -> None:
    (patch,) = read_lora(header(pair(Q), lora_adapter_metadata=text), TARGETS).patches
    assert patch.alpha is None


@pytest.mark.parametrize(("rank", "alpha"), [(4, 8), (6, 14), (16, 64), (1, 1)])
def test_rank_stabilised_scales(rank: int, alpha: float) -> None:
    file = header(pair(f"base_model.model.{Q}", rank=rank))
    (patch,) = read_lora(file, TARGETS, rank_stabilised=True).patches
    assert patch.alpha == alpha == rank * rank // math.sqrt(rank)
    (plain,) = read_lora(file, TARGETS).patches
    assert plain.alpha is None
    # an alpha of the file counts more
    own = header({**pair(Q, rank=rank), f"{Q}.alpha": ()})
    (patch,) = read_lora(own, TARGETS, rank_stabilised=True).patches
    assert patch.alpha is None


def test_a_file_for_both_experts_is_split() -> None:
    names = {**pair("transformer.blocks.0.attn1.to_q"), **pair("transformer_2.blocks.1.attn1.to_q")}
    file = header(names)
    for expert, target in (("high", "blocks.0.self_attn.q"), ("low", "blocks.1.self_attn.q")):
        found = read_lora(file, TARGETS, expert=expert)
        assert [p.target for p in found.patches] == [f"{target}.weight"]
        assert not found.unmatched
    alone = read_lora(file, TARGETS)
    assert set(alone.unmatched.values()) == {"it is for the second of two experts"}


def test_headers_are_matched_without_torch(tmp_path: Path) -> None:
    file = write_safetensors(tmp_path / "x.safetensors", pair("lora_unet_blocks_0_ffn_0", 4, 4))
    code = (
        "import sys; from wan_core.weights import open_weights\n"
        "from wan_core.weights.lora import LoraTargets, read_lora\n"
        "targets = LoraTargets({'blocks.0.ffn.0.weight': (4, 4)})\n"
        f"print(len(read_lora(open_weights({str(file)!r}), targets).patches), 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["1", "False"]
