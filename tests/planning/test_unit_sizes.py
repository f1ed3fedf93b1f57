"""Units of a file, read off its header: their names, order and bytes are those of the loaded model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from header_files import write_gguf
from published_files import TRANSFORMER_OF, file_of
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import wan_core.models
from wan_core.contract import LoraUse, Quantization
from wan_core.contract.descriptions import Component
from wan_core.contract.lazy import resolve
from wan_core.contract.requests import LoadRequest
from wan_core.memory import packed_bytes, tensors_of
from wan_core.models.encoders.clip import ClipConfig, ClipVision, build_clip
from wan_core.models.encoders.umt5 import UMT5Config, UMT5Encoder, build_umt5
from wan_core.models.families import FAMILIES
from wan_core.models.families.tiny import TINY_I2V, TINY_T2V
from wan_core.models.families.wan import WAN21_I2V_14B_480P, WAN22_TI2V_5B
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.models.wan.files import KEEP_FLOAT32, transformer_config
from wan_core.planning.files import PlannedFile
from wan_core.planning.unit_sizes import UnitSizes, unit_sizes
from wan_core.weights import Identity, QuantLinear, open_weights
from wan_core.weights.naming import matches

TINY = Path(wan_core.models.__file__).parent / "tiny"
VIT_H = ClipConfig(224, 14, 1280, 5120, 16, 32)
E4M3 = torch.float8_e4m3fn
Write = Callable[[Path, dict[str, Tensor]], None]


def sizes_of(
    component: Component, path: Path, dtype: str, asked: Quantization | None = None
) -> UnitSizes:
    found = unit_sizes(
        component, PlannedFile(path, Identity(component.kind), "", 0, 0), (), dtype, asked
    )
    assert found is not None
    return found


def check(
    slot: str, component: Component, path: Path, dtype: str, **more: Any
) -> tuple[UnitSizes, Any]:
    """What the header says equals what was loaded."""
    sizes = sizes_of(component, path, dtype, more.get("quantization"))
    precision = getattr(torch, dtype)
    request = LoadRequest(slot, component, path, torch.device("cpu"), precision, **more)
    loaded = resolve(component.load)(request)
    stack = getattr(loaded, "transformer", loaded)
    held = {u.name: [t.nbytes for t in tensors_of(u.module).values()] for u in stack.units()}
    assert list(sizes.units.items()) == [(name, packed_bytes(of)) for name, of in held.items()]
    # CLIP makes the numbers of its positions itself
    rest = {n: t.nbytes for n, t in stack.rest().items() if "position_ids" not in n}
    assert sizes.rest + sum(sizes.parts.values()) == packed_bytes(rest.values())
    assert sizes.bytes == sum(map(sum, held.values())) + sum(rest.values())
    return sizes, stack


BUNDLED = {
    f"{family.name}-{slot}": (slot, component)
    for family in (TINY_T2V, TINY_I2V)
    for slot, component in family.components.items()
    if component.units
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files(name: str, dtype: str) -> None:
    slot, component = BUNDLED[name]
    assert component.bundled
    check(slot, component, TINY.parent / component.bundled, dtype)


@pytest.mark.parametrize(
    "asked",
    [
        Quantization(),
        Quantization(scale="tensor"),
        Quantization(dtype="int8", keep=("blocks.0.*", "*.ffn.?")),
    ],
)
def test_quantised_while_it_is_loaded(asked: Quantization) -> None:
    component = TINY_T2V.components["transformer"]
    check("transformer", component, TINY / "t2v.safetensors", "bfloat16", quantization=asked)


def matrices(held: Mapping[str, Tensor]) -> list[str]:
    return [name for name, t in held.items() if name.startswith("blocks.") and t.ndim == 2]


def plain_fp8(path: Path, held: dict[str, Tensor]) -> None:
    save_file(held | {name: held[name].to(E4M3) for name in matrices(held)}, path)


def scaled_fp8(path: Path, held: dict[str, Tensor]) -> None:
    written = held | {"scaled_fp8": torch.zeros(2, dtype=E4M3)}
    for name in matrices(held):
        written[name] = held[name].to(E4M3)
        written[name.replace(".weight", ".scale_weight")] = torch.ones((), dtype=torch.bfloat16)
    save_file(written, path)


def int8_by_channel(path: Path, held: dict[str, Tensor]) -> None:
    written = {f"model.diffusion_model.{name}": tensor for name, tensor in held.items()}
    for name in matrices(held):
        stored = f"model.diffusion_model.{name}"
        written[stored] = held[name].to(torch.int8)
        written[f"{stored}_scale"] = torch.ones(len(held[name]), 1)
    save_file(written, path)


def gguf(path: Path, held: dict[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
    types = {name: "Q8_0" if name in matrices(held) else "F32" for name in held}
    write_gguf(path, shapes, types)


def diffusers(path: Path, held: dict[str, Tensor]) -> None:
    save_file({DIFFUSERS.from_official(name) or name: t for name, t in held.items()}, path)


@pytest.mark.parametrize("write", [plain_fp8, scaled_fp8, int8_by_channel, gguf, diffusers])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ways_of_writing_a_transformer(tmp_path: Path, write: Write, dtype: str) -> None:
    path = tmp_path / "t2v.safetensors"
    write(path, load_file(TINY / "t2v.safetensors"))
    component = TINY_T2V.components["transformer"]
    _, stack = check("transformer", component, path, dtype)
    quantised = [m for m in stack.modules() if type(m).__name__ == "QuantLinear"]
    assert bool(quantised) == (write is not diffusers)


def test_what_is_quantised_in_part_stays_so_where_its_codes_are_multiplied(tmp_path: Path) -> None:
    held = load_file(TINY / "t2v.safetensors")
    path = tmp_path / "t2v.safetensors"
    scaled_fp8(path, held)
    written = load_file(path)
    for name in matrices(held):
        if name.startswith("blocks.1."):
            written[name] = held[name]
            del written[name.replace(".weight", ".scale_weight")]
    save_file(written, path)
    component, asked = TINY_T2V.components["transformer"], Quantization(products="fp8")
    _, stack = check("transformer", component, path, "bfloat16", quantization=asked)
    codes = {n.split(".")[1] for n, m in stack.named_modules() if isinstance(m, QuantLinear)}
    assert "1" not in codes and len(codes) > 1


def test_a_quantised_text_encoder(tmp_path: Path) -> None:
    held = load_file(TINY / "text_encoder.safetensors")
    path = tmp_path / "text_encoder.safetensors"
    save_file({n: t.to(E4M3) if t.ndim == 2 else t for n, t in held.items()}, path)
    component = TINY_T2V.components["text_encoder"]
    sizes = sizes_of(component, path, "bfloat16")
    plain = sizes_of(component, TINY / "text_encoder.safetensors", "bfloat16")
    # tables that are looked up become numbers, the matrices of layers stay codes
    assert sizes.parts == plain.parts
    assert sum(sizes.units.values()) < 0.7 * sum(plain.units.values())


def test_merged_loras_change_no_size(tmp_path: Path) -> None:
    held = load_file(TINY / "t2v.safetensors")
    file = tmp_path / "lora.safetensors"
    name = "blocks.0.self_attn.q"
    rows, columns = held[f"{name}.weight"].shape
    factors = {"lora_A": torch.ones(2, columns), "lora_B": torch.ones(rows, 2)}
    save_file({f"diffusion_model.{name}.{n}.weight": t for n, t in factors.items()}, file)
    component = TINY_T2V.components["transformer"]
    check("transformer", component, TINY / "t2v.safetensors", "bfloat16", loras=(LoraUse(file),))


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def expected(stack: Any, keep_float32: tuple[str, ...] = ()) -> dict[str, int]:
    """Sizes of units of a model without memory, as if it were loaded in bfloat16."""
    return {
        unit.name: packed_bytes(
            tensor.numel() * (4 if matches(f"{unit.name}.{name}", keep_float32) else 2)
            for name, tensor in unit.module.named_parameters()
        )
        for unit in stack.units()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.mark.parametrize("written", ["official", "diffusers"])
@pytest.mark.parametrize("name", TRANSFORMER_OF)
def test_published_transformers(folder: Path, name: str, written: str) -> None:
    family = next(family for family in FAMILIES if family.name == name)
    component = family.components[family.slots("transformer")[0]]
    path = file_of(folder, TRANSFORMER_OF[name], written)
    config: WanConfig = transformer_config(
        open_weights(file_of(folder, TRANSFORMER_OF[name])), component.config
    )
    model = on_meta(lambda: WanTransformer(config))
    sizes = sizes_of(component, path, "bfloat16")
    assert list(sizes.units.items()) == list(expected(model, KEEP_FLOAT32).items())
    assert ("img_emb" in sizes.parts) == (config.image_dim is not None)
    if config.vace_layers:
        assert list(sizes.units)[:3] == ["blocks.0", "vace_blocks.0", "blocks.1"]


@pytest.mark.parametrize("manifest", ["umt5-xxl-encoder", "umt5-xxl-encoder.hf"])
def test_umt5_xxl(folder: Path, manifest: str) -> None:
    path = file_of(folder, manifest)
    component = WAN22_TI2V_5B.components["text_encoder"]
    sizes = sizes_of(component, path, "bfloat16")
    config = UMT5Config(256384, 4096, 4096, 10240, 64, 24)
    assert list(sizes.units.items()) == list(
        expected(UMT5Encoder(build_umt5(config), config)).items()
    )
    assert sizes.parts == {"shared": 256384 * 4096 * 2}
    assert sizes.on_host == {"shared"}


@pytest.mark.parametrize(
    "manifest",
    ["clip-vit-h-14-full-official-checkpoint", "clip-vit-h-14-visual", "clip-vit-h-14-visual.hf"],
)
def test_vit_h(folder: Path, manifest: str) -> None:
    component = WAN21_I2V_14B_480P.components["image_encoder"]
    sizes = sizes_of(component, file_of(folder, manifest), "bfloat16")
    tower = ClipVision(model := build_clip(VIT_H), VIT_H)
    assert list(sizes.units.items()) == list(expected(tower).items())
    assert len(sizes.units) == 31  # of 32, the last is not run
    assert sizes.bytes == 2 * sum(one.numel() for one in model.parameters())


def test_a_component_without_units_has_no_sizes() -> None:
    component = attrs.evolve(TINY_T2V.components["vae"])
    file = PlannedFile(TINY / "vae.safetensors", Identity("wan-vae"), "", 0, 0)
    assert unit_sizes(component, file, (), "float32") is None
