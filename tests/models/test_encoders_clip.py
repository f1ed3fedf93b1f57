"""CLIP's vision tower: reference numbers, all dialects, full-size names, what is not loaded, files that lie."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from wan_core.contract.descriptions import Component
from wan_core.contract.errors import WeightsError
from wan_core.contract.requests import LoadRequest
from wan_core.memory.units import BlockStack
from wan_core.models.encoders import (
    PREPARATIONS,
    ClipConfig,
    ClipVision,
    ImageEncoder,
    load_clip,
    prepare,
)
from wan_core.models.encoders.clip import build_clip
from wan_core.models.encoders.clip_files import (
    CLIP_OFFICIAL,
    CLIP_OPENCLIP,
    expected_shapes,
    verify_image_encoder,
    vision_tower,
)
from wan_core.models.loaders import load_image_encoder
from wan_core.testing.golden.case import Case
from wan_core.testing.golden.kinds.encoders import HANDLERS
from wan_core.weights import StateDict, identify, open_weights

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [GOLDEN / "encoders" / f"{name}.json" for name in ("clip_vit_tiny", "clip_preprocess")]
KNOWN = {"num_heads": 2}
VIT_H = ClipConfig(224, 14, 1280, 5120, 16, 32)
MANIFESTS = (
    "clip-vit-h-14-visual",
    "clip-vit-h-14-visual.hf",
    "clip-vit-h-14-full-official-checkpoint",
)


def weights() -> dict[str, Tensor]:
    return Case(CASES[0]).group("weights.")


def as_openclip() -> dict[str, Tensor]:
    """The same tensors as OpenCLIP names them, with a text tower that means nothing here."""
    named = {
        CLIP_OPENCLIP.from_official(CLIP_OFFICIAL.to_official(name) or ""): tensor
        for name, tensor in weights().items()
    }
    named["visual.class_embedding"] = named["visual.class_embedding"].flatten()
    named["visual.positional_embedding"] = named["visual.positional_embedding"][0]
    named["transformer.resblocks.0.ln_1.weight"] = named["logit_scale"] = torch.ones(1)
    return {name: tensor for name, tensor in named.items() if name}


def as_transformers(prefix: str = "vision_model.") -> dict[str, Tensor]:
    """The same with query, key and value apart."""
    named: dict[str, Tensor] = {}
    for name, tensor in weights().items():
        official = CLIP_OFFICIAL.to_official(name) or ""
        official = official.replace("vision_model.", prefix)
        if ".qkv." in official:
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                named[official.replace(".qkv.", f".{part}_proj.")] = third.clone()
        elif not official.startswith("visual_projection"):
            flat = "class_embedding" in official or "position_embedding" in official
            named[official] = tensor.squeeze(0).squeeze(0) if flat else tensor
    named[f"{prefix}embeddings.position_ids"] = torch.arange(10)[None]
    return named


def as_full_checkpoint() -> dict[str, Tensor]:
    return weights() | {"log_scale": torch.ones(()), "textual.norm.weight": torch.ones(3)}


def without_what_is_unused() -> dict[str, Tensor]:
    """A re-pack that leaves out what is never run; the depth is then known from elsewhere."""
    unused = ("visual.transformer.2.", "visual.post_norm", "visual.head")
    return {name: t for name, t in weights().items() if not name.startswith(unused)}


def manifest(name: str) -> dict[str, list[int]]:
    file = GOLDEN / "manifests" / f"{name}.json.gz"
    table: dict[str, list[int]] = json.loads(gzip.decompress(file.read_bytes()))
    return table


def hollow(shapes: Mapping[str, Any]) -> StateDict:
    return StateDict({name: torch.empty(s, device="meta") for name, s in shapes.items()})


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_reference_case(path: Path) -> None:
    case = Case(path)
    HANDLERS[case.kind](case)
    assert case.checks
    assert not [check for check in case.checks if not check.ok]
    assert not case.uncompared()


@pytest.mark.parametrize("seed", range(3))
def test_every_preparation_is_told_apart_and_differs_by_its_proportions(seed: int) -> None:
    """Three ways meet where nothing is resized; on a picture twice as wide only two crop."""
    rng = np.random.default_rng(seed)
    square = torch.from_numpy(rng.integers(0, 256, (1, 3, 28, 28), dtype=np.uint8))
    same = [prepare(square, 28, way) for way in PREPARATIONS]
    assert all(torch.allclose(one, same[0], atol=1e-5) for one in same)
    wide = torch.zeros(1, 3, 28, 56, dtype=torch.uint8)
    wide[..., :12] = 255
    edges = {way: float(prepare(wide, 28, way)[0, 0, 14, 0]) for way in PREPARATIONS}
    kept = {way for way, edge in edges.items() if edge > 0}
    assert kept == {"official", "comfy-stretch"}


def test_floats_and_levels_are_the_same_picture() -> None:
    levels = torch.randint(0, 256, (1, 3, 21, 34), dtype=torch.uint8)
    for way in PREPARATIONS:
        floats = levels.float() / 127.5 - 1
        assert torch.allclose(prepare(levels, 14, way), prepare(floats, 14, way), atol=2e-5)


DIALECTS: Mapping[str, Callable[[], dict[str, Tensor]]] = {
    "official": weights,
    "full": as_full_checkpoint,
    "openclip": as_openclip,
    "transformers": as_transformers,
    "bare": lambda: as_transformers(""),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_gives_the_same_tokens(name: str) -> None:
    source = StateDict(DIALECTS[name]())
    assert identify(source).component == "clip-vision"
    verify_image_encoder(source, KNOWN)
    pixels = Case(CASES[0]).tensor("outputs.pixel_values_1")
    got = load_clip(source, known=KNOWN).encode(pixels)
    assert torch.equal(got, load_clip(StateDict(weights()), known=KNOWN).encode(pixels))


def test_a_file_without_what_is_never_run() -> None:
    source = StateDict(without_what_is_unused())
    known = {**KNOWN, "num_layers": 3}
    verify_image_encoder(source, known)
    pixels = Case(CASES[0]).tensor("outputs.pixel_values_0")
    want = Case(CASES[0]).tensor("outputs.clip_fea_0")
    assert torch.allclose(load_clip(source, known=known).encode(pixels), want, atol=1e-4)


@pytest.mark.parametrize("name", MANIFESTS)
def test_published_names_are_read_at_full_size(name: str) -> None:
    source = hollow(manifest(name))
    config, tower = vision_tower(source, {})
    assert config == VIT_H
    assert config.tokens == 257
    verify_image_encoder(source, {})
    own = {n: tuple(t.shape) for n, t in build_clip(config).state_dict().items()}
    assert {n: tower.shape(n) for n in tower.names()} == own == expected_shapes(config)
    assert not tower.unknown
    # of 632,076,800 in the visual part and 1,193,014,785 in the whole checkpoint
    assert sum(map(prod, own.values())) == 611_086_080


def test_openclips_own_names_at_full_size() -> None:
    named = {
        CLIP_OPENCLIP.from_official(CLIP_OFFICIAL.to_official(name) or "") or "": shape
        for name, shape in manifest(MANIFESTS[0]).items()
    }
    assert "visual.transformer.resblocks.31.attn.in_proj_weight" in named
    assert vision_tower(hollow(named), {})[1].tensors.keys() == expected_shapes(VIT_H).keys()


def test_the_last_layer_and_the_text_tower_are_never_read() -> None:
    class Watched(StateDict):
        def __init__(self) -> None:
            super().__init__(as_full_checkpoint())
            self.read: list[str] = []

        def get(self, name: str, *args: Any, **kwargs: Any) -> Tensor:
            self.read.append(name)
            return super().get(name, *args, **kwargs)

    source = Watched()
    load_clip(source, known=KNOWN)
    assert {name.split(".")[2] for name in source.read if ".transformer." in name} == {"0", "1"}
    others = {name for name in source.read if ".transformer." not in name}
    assert others == {
        *("visual.cls_embedding", "visual.pos_embedding", "visual.patch_embedding.weight"),
        *("visual.pre_norm.weight", "visual.pre_norm.bias"),
    }


@pytest.mark.parametrize(
    ("stored", "wanted", "got"),
    [
        (torch.float16, None, torch.float16),
        (torch.float8_e4m3fn, None, torch.bfloat16),
        (torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32, torch.float32),
    ],
)
def test_precision(stored: torch.dtype, wanted: torch.dtype | None, got: torch.dtype) -> None:
    source = StateDict({name: tensor.to(stored) for name, tensor in weights().items()})
    clip = load_clip(source, known=KNOWN, dtype=wanted)
    assert {p.dtype for p in clip.model.parameters()} == {got} == {clip.dtype}
    case = Case(CASES[0])
    want = case.tensor("outputs.clip_fea_0")
    tokens = clip.encode(case.tensor("outputs.pixel_values_0")).float()
    assert (tokens - want).abs().max() < 0.3 * want.abs().max()


def test_it_is_a_block_stack() -> None:
    clip = load_clip(StateDict(weights()), known=KNOWN)
    encoder: BlockStack = ImageEncoder(clip)
    assert [unit.name for unit in encoder.units()] == ["encoder.layers.0", "encoder.layers.1"]
    assert {name.split(".")[0] for name in encoder.rest()} == {"embeddings", "pre_layrnorm"}
    assert not any(tensor.is_meta for tensor in encoder.rest().values())


def test_pictures_of_several_sizes_become_one_batch() -> None:
    encoder = ImageEncoder(load_clip(StateDict(weights()), known=KNOWN))
    picture = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    floats = torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1
    tokens = encoder.encode([picture, floats, floats[:, None].expand(3, 2, 30, 50)])
    assert tokens.shape == (4, encoder.tokens, encoder.image_dim) == (4, 10, 32)
    assert torch.allclose(tokens, tokens[:1].expand_as(tokens), atol=1e-4)
    other = encoder.encode([picture[:, ::-1].copy()])
    assert (other - tokens[:1]).abs().max() > 0.1


def request(file: Path, **config: Any) -> LoadRequest:
    return LoadRequest(
        slot="image_encoder",
        component=Component(kind="clip-vision", load="", config=config),
        file=file,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def test_the_loader_takes_what_the_component_knows(tmp_path: Path) -> None:
    file = tmp_path / "clip.safetensors"
    save_file(weights(), file)
    encoder = load_image_encoder(request(file, num_heads=2, preparation="comfy-center"))
    assert isinstance(encoder.clip, ClipVision)
    assert (encoder.preparation, encoder.clip.config.heads) == ("comfy-center", 2)
    save_file(weights(), file, metadata={"config": json.dumps(KNOWN)})
    assert load_image_encoder(request(file)).preparation == "official"


def test_a_family_may_state_the_published_sizes(tmp_path: Path) -> None:
    """What a component says of its kind does not contradict what the header shows."""
    from wan_core.planning.fitting import misfit

    component = Component(kind="clip-vision", load="", config={"dim": 1280, "layers": 32})
    assert misfit(component, identify(hollow(manifest(MANIFESTS[1])))) is None
    small = identify(StateDict(weights()))
    assert misfit(component, small) == ("dim", 32, 1280)


DAMAGES: list[tuple[Callable[[dict[str, Tensor]], object], str]] = [
    (
        lambda w: w.pop("visual.transformer.1.attn.to_qkv.bias"),
        "incomplete: 'visual.transformer.1.attn.to_qkv.bias' is missing; download",
    ),
    (
        lambda w: [w.pop(f"visual.pre_norm.{part}") for part in ("weight", "bias")],
        "incomplete: 'visual.pre_norm.weight' and 1 more are missing",
    ),
    (
        lambda w: w.update({"visual.transformer.0.mlp.2.weight": torch.zeros(32, 64)}),
        r"'visual.transformer.0.mlp.2.weight' does not fit the others: it gives \[32, 64\], and \[32, 128\]",
    ),
    (
        lambda w: w.update({"visual.transformer.0.attn.to_qkv.weight": torch.zeros(32, 32)}),
        r"to_qkv.weight' \[32, 32\] does not hold query, key and value",
    ),
    (
        lambda w: w.update({"visual.transformer.0.attn.to_qkv.weight": torch.zeros(99, 32)}),
        r"does not fit the others: it gives \[33, 32\]",
    ),
    (
        lambda w: w.update({"visual.pos_embedding": torch.zeros(1, 9, 32)}),
        "not those of a CLIP vision tower",
    ),
    (
        lambda w: w.update({"visual.pos_embedding": torch.zeros(())}),
        "not those of a CLIP vision tower",
    ),
    (
        lambda w: w.pop("visual.transformer.0.mlp.0.weight"),
        "not those of a CLIP vision tower",
    ),
    (lambda w: w.pop("visual.patch_embedding.weight"), "this is .*, not a CLIP vision tower"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES)
def test_what_is_wrong_is_said_from_the_header(
    damage: Callable[[dict[str, Tensor]], object], sentence: str
) -> None:
    tensors = weights()
    damage(tensors)
    with pytest.raises(WeightsError, match=f"^mine: .*{sentence}"):
        verify_image_encoder(StateDict(tensors, label="mine"), KNOWN)
    with pytest.raises(WeightsError, match=r"^mine: "):
        load_clip(StateDict(tensors, label="mine"), known=KNOWN)


@pytest.mark.parametrize(
    ("known", "config", "sentence"),
    [
        ({}, None, "number of heads of a vision tower of width 32 is not known; use CLIP ViT-H/14"),
        ({"num_heads": 3}, None, "3 heads do not divide the width 32"),
        (
            {"num_heads": 2, "num_layers": 9},
            None,
            r"transformer.3.norm1.* more are missing|missing",
        ),
        ({}, {"num_heads": "2"}, "says num_heads"),
        ({}, {"num_heads": 0}, "says num_heads"),
        ({}, {"num_heads": 10**9}, "says num_heads"),
        ({}, [1], "config is no JSON object"),
        ({}, "{", "config is no JSON$|no JSON object"),
    ],
)
def test_sizes_that_make_no_sense(
    known: dict[str, int], config: Any, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.safetensors"
    save_file(weights(), file, metadata={"config": json.dumps(config)} if config else None)
    with pytest.raises(WeightsError, match=sentence) as caught:
        verify_image_encoder(open_weights(file), known)
    assert str(caught.value).startswith("a.safetensors: ")


def test_quantised_files_and_strangers_are_refused() -> None:
    scaled = weights() | {"visual.transformer.0.mlp.0.scale_weight": torch.ones(())}
    with pytest.raises(WeightsError, match="scale of no quantised weight"):
        load_clip(StateDict(scaled), known=KNOWN)
    siglip = as_transformers() | {"vision_model.embeddings.patch_embedding.bias": torch.ones(32)}
    with pytest.raises(WeightsError, match=r"1 unexpected|SigLIP"):
        load_clip(StateDict(siglip), known=KNOWN)


QUIET = """
import sys
import wan_core.models.encoders.clip_files as files
from wan_core.weights import open_weights
try:
    files.verify_image_encoder(open_weights(sys.argv[1]), {"num_heads": 2})
finally:
    print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


def test_verifying_imports_no_torch(tmp_path: Path) -> None:
    file = tmp_path / "clip.safetensors"
    save_file(weights(), file)
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
