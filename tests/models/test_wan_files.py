"""A transformer file is judged by its header: exactly the tensors of the module, nothing loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch
from header_files import write_safetensors
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import wan_core.models
from wan_core.contract.errors import WanCoreError, WeightsError
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.models.wan.files import expected_shapes, verify_transformer
from wan_core.planning import make_plan
from wan_core.plugins import Plugins
from wan_core.weights import open_weights
from wan_core.workflow import parse_workflow

TINY = Path(wan_core.models.__file__).parent / "tiny"
BASE = WanConfig(dim=64, ffn_dim=96, num_heads=2, num_layers=4, text_dim=32, freq_dim=16)


@pytest.mark.parametrize(
    "config",
    [
        BASE,
        attrs.evolve(BASE, in_dim=36, image_dim=40),
        attrs.evolve(BASE, in_dim=36, image_dim=40, image_positions=10),
        attrs.evolve(BASE, vace_layers=(0, 2), vace_in_dim=96),
        attrs.evolve(BASE, in_dim=48, out_dim=48),
        WanConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40),
    ],
)
def test_expected_shapes_are_those_of_the_module(config: WanConfig) -> None:
    with torch.device("meta"):
        module = WanTransformer(config)
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert expected_shapes(config) == own


def changed(folder: Path, **change: torch.Tensor | None) -> Path:
    path = folder / "t2v.safetensors"
    with safe_open(TINY / "t2v.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors = load_file(TINY / "t2v.safetensors")
    for name, tensor in change.items():
        key = name.replace("__", ".")
        tensors = {n: t for n, t in tensors.items() if not n.startswith(key)}
        if tensor is not None:
            tensors[key] = tensor
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"blocks__3__self_attn__q__weight": None},
            r"incomplete: blocks\.3\.self_attn\.q\.weight is missing",
        ),
        ({"head__head__bias": None}, r"incomplete: head\.head\.bias is missing"),
        (
            {"blocks__2__ffn__0__weight": torch.zeros(3, 3)},
            r"tensor blocks\.2\.ffn\.0\.weight is \[3, 3\], not \[544, 192\]",
        ),
    ],
)
def test_a_damaged_transformer_is_refused_at_planning(
    tmp_path: Path, change: dict[str, torch.Tensor | None], says: str
) -> None:
    path = changed(tmp_path, **change)
    with pytest.raises(WeightsError, match=says):
        verify_transformer(open_weights(path), {"num_heads": 4})
    plugins = Plugins.discover()
    text = (
        'format = 1\n[model]\nfamily = "tiny-t2v"\ntransformer = "t2v.safetensors"\n'
        '[[stages]]\nuse = "generate"\nprompt = "x"\n'
    )
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins)
    with pytest.raises(WanCoreError, match=rf"w\.toml, line 4, model\.transformer, .*{says}"):
        make_plan(workflow, plugins, device="cpu")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "the header entry config is no JSON"),
        ("[" * 100_000, "the header entry config is no JSON"),
        ("[]", "the header entry config is no JSON object"),
        (
            '{"num_heads": 0.5}',
            "the header's config says num_heads = 0.5, which is no whole number",
        ),
    ],
    ids=["cut", "deep", "list", "half a head"],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, config: str, says: str) -> None:
    path = tmp_path / "t2v.safetensors"
    save_file(load_file(TINY / "t2v.safetensors"), path, {"config": config})
    with pytest.raises(WeightsError, match=says):
        verify_transformer(open_weights(path), {})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("latents_std", "[" + ", ".join(["1e6"] * 16) + "]", "latents_std goes from 1e\\+06"),
        ("latents_mean", "[" + ", ".join(["1e6"] * 16) + "]", "latents_mean holds 1e\\+06"),
        ("latents_std", "[1, 2]", "need 16 numbers each"),
    ],
)
def test_constants_that_no_vae_has_are_refused_at_planning(
    tmp_path: Path, key: str, value: str, says: str
) -> None:
    with safe_open(TINY / "vae.safetensors", "pt") as file:
        metadata = {**file.metadata(), key: value}
    save_file(load_file(TINY / "vae.safetensors"), tmp_path / "vae.safetensors", metadata)
    plugins = Plugins.discover()
    text = (
        'format = 1\n[model]\nfamily = "tiny-t2v"\nvae = "vae.safetensors"\n'
        '[[stages]]\nuse = "generate"\nprompt = "x"\n'
    )
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins)
    with pytest.raises(WanCoreError, match=rf"w\.toml, line 4, model\.vae.*{says}"):
        make_plan(workflow, plugins, device="cpu")


def test_a_file_for_a_family_that_makes_its_own_weights_is_refused(tmp_path: Path) -> None:
    shutil.copy(TINY / "vae.safetensors", tmp_path)
    plugins = Plugins.discover()
    text = (
        'format = 1\n[model]\nfamily = "tiny-random"\nvae = "vae.safetensors"\n'
        '[[stages]]\nuse = "generate"\nprompt = "x"\n'
    )
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins)
    with pytest.raises(WanCoreError, match="makes its own vae, it takes no file; leave vae out"):
        make_plan(workflow, plugins, device="cpu")


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (
            lambda path, shapes: write_safetensors(path, shapes | {"head.head.wscales": (4,)}),
            r"not read: with 'head\.head\.wscales'; use a bf16, fp16, fp8 or GGUF file of the model",
        ),
        (
            lambda path, shapes: write_safetensors(path, shapes | {"face_adapter.a.weight": (4,)}),
            r"'face_adapter\.a\.weight' \(this is Wan 2\.2 Animate\); name a file of the family",
        ),
        (
            lambda path, _: write_safetensors(
                path,
                {
                    "double_blocks.0.img_attn.qkv.weight": (2,),
                    "single_blocks.0.linear1.weight": (2,),
                    "img_in.weight": (2,),
                },
            ),
            r"t2v\.safetensors is a Flux transformer; slot transformer of family tiny-t2v needs a Wan "
            "transformer; name another file",
        ),
    ],
)
def test_what_would_not_run_is_refused_at_planning(
    tmp_path: Path, write: Callable[[Path, dict[str, tuple[int, ...]]], Path], says: str
) -> None:
    tiny = open_weights(TINY / "t2v.safetensors")
    write(tmp_path / "t2v.safetensors", {name: tiny.shape(name) for name in tiny.names()})
    plugins = Plugins.discover()
    text = (
        'format = 1\n[model]\nfamily = "tiny-t2v"\ntransformer = "t2v.safetensors"\n'
        '[[stages]]\nuse = "generate"\nprompt = "x"\n'
    )
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins)
    with pytest.raises(WanCoreError, match=rf"w\.toml, line 4, model\.transformer.*{says}"):
        make_plan(workflow, plugins, device="cpu")
