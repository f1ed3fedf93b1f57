"""How numbers are stored, from the header alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from header_files import write_gguf, write_safetensors

from wan_core.weights import Precision, identify, open_weights
from wan_core.weights.gguf_types import mixture

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def layer(weight: str, **more: tuple[str, tuple[int, ...]]) -> Tensors:
    tensors: Tensors = {"head.bias": ("F32", (8,))}
    for block in range(2):
        name = f"blocks.{block}.ffn.0"
        tensors[f"{name}.weight"] = (weight, (64, 32))
        tensors |= {f"{name}.{key}": value for key, value in more.items()}
    return tensors


def read(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Precision:
    shapes = {name: shape for name, (_, shape) in tensors.items()}
    dtypes = {name: dtype for name, (dtype, _) in tensors.items()}
    path = write_safetensors(folder / "x.safetensors", shapes, dtypes, metadata)
    return identify(open_weights(path)).precision


STATED = json.dumps({"layers": {"blocks.0.ffn.0": {"format": "float8_e4m3fn"}}})


@pytest.mark.parametrize(
    ("tensors", "scheme", "says"),
    [
        (layer("BF16"), "bf16", "bf16"),
        (layer("F16"), "fp16", "fp16"),
        (layer("I32"), "i32", "I32, which needs more to become weights"),
        (layer("U8"), "u8", "U8, which needs more to become weights"),
        (layer("F4"), "f4", "F4, which needs more to become weights"),
        (layer("F32"), "fp32", "fp32"),
        (layer("F32", bias=("BF16", (64, 32))), "mixed", "mixed"),
        (layer("F8_E4M3"), "fp8_e4m3fn", "fp8 e4m3fn, no scales"),
        (layer("F8_E5M2"), "fp8_e5m2", "fp8 e5m2, no scales"),
        (
            layer("F8_E4M3", scale_weight=("F32", ())) | {"scaled_fp8": ("F8_E4M3", (2,))},
            "fp8_e4m3fn_scaled",
            "one scale for each tensor (scale_weight)",
        ),
        (
            layer("F8_E5M2", weight_scale=("F32", (1,))),
            "fp8_e5m2_scaled",
            "one scale for each tensor (weight_scale)",
        ),
        (
            layer("F8_E4M3", weight_scale=("F32", (64, 1))),
            "fp8_e4m3fn_scaled",
            "one scale for each output channel (weight_scale)",
        ),
        (
            layer("F8_E4M3", weight_scale=("F32", ()), comfy_quant=("U8", (26,))),
            "fp8_e4m3fn_scaled",
            "comfy_quant",
        ),
        (
            layer(
                "U8", weight_scale=("F8_E4M3", (128, 4)), weight_scale_2=("F32", ()),
                comfy_quant=("U8", (19,)),
            ),
            "nvfp4",
            "nvfp4",
        ),
        (
            layer("F8_E4M3", weight_scale=("F8_E8M0", (64, 1)), comfy_quant=("U8", (19,))),
            "mxfp8",
            "mxfp8",
        ),
        (layer("I8", weight_scale=("F32", ())), "int8_scaled", "one scale for each tensor"),
    ],
)  # fmt: skip
def test_schemes(tmp_path: Path, tensors: Tensors, scheme: str, says: str) -> None:
    precision = read(tmp_path, tensors)
    assert precision.scheme == scheme
    assert says in precision.title


def test_scales_and_markers_are_no_parameters(tmp_path: Path) -> None:
    tensors = layer("F8_E4M3", scale_weight=("F32", ())) | {"scaled_fp8": ("F8_E4M3", (2,))}
    precision = read(tmp_path, tensors)
    assert dict(precision.values) == {"F8_E4M3": 2 * 64 * 32, "F32": 8}
    assert precision.marker == ("scaled_fp8", "scale_weight")
    assert precision.shares == "fp8 e4m3fn 100 %, fp32 under 1 %"


def test_two_numbers_of_four_bits_in_a_byte_count_as_two(tmp_path: Path) -> None:
    scales = {"weight_scale": ("U8", (128, 4)), "weight_scale_2": ("F32", ())}
    assert read(tmp_path, layer("U8", **scales)).values["NVFP4"] == 2 * 64 * 32 * 2


def test_int8_of_longcat(tmp_path: Path) -> None:
    tensors: Tensors = {
        "a.weight_int8": ("I8", (64, 32)), "a.weight_scale": ("F32", (64,)), "a.bias": ("BF16", (64,)),
    }  # fmt: skip
    precision = read(tmp_path, tensors)
    assert precision.scheme == "int8_scaled"
    assert "output channel" in precision.title


@pytest.mark.parametrize("stated", [STATED, "[" * 100_000, "{}", '{"layers": 3}', "x" * 2_000_000])
def test_what_the_header_states(tmp_path: Path, stated: str) -> None:
    tensors = layer("F8_E4M3", weight_scale=("F32", ()))
    precision = read(tmp_path, tensors, {"_quantization_metadata": stated})
    assert ("float8_e4m3fn" in precision.marker) == (stated is STATED)
    assert ("comfy_quant" in precision.title) == (stated is STATED)


@pytest.mark.parametrize(
    ("values", "stated", "label"),
    [
        ({"Q8_0": 90, "F32": 10}, None, "Q8_0"),
        ({"Q4_K": 80, "Q6_K": 15, "F32": 5}, None, "Q4_K_M"),
        ({"Q4_K": 80, "Q5_K": 15, "F16": 5}, None, "Q4_K_S"),
        ({"Q4_K": 100}, None, "Q4_K_S"),
        ({"Q3_K": 60, "Q4_K": 20, "Q5_K": 5}, None, "Q3_K_M"),
        ({"Q5_K": 60, "Q8_0": 20}, 17, "Q5_K_M"),
        ({"Q3_K": 60, "Q5_K": 20}, 13, "Q3_K_L"),
        ({"Q4_0": 60, "F32": 20}, 15, "Q4_0"),  # the tensors don't bear the file's word out
        ({"Q2_K": 60, "F32": 20}, 9999, "Q2_K"),
        ({"BF16": 60, "F32": 20}, None, "BF16"),
        ({"IQ4_NL": 60, "F32": 20}, None, "IQ4_NL"),
        ({}, None, ""),
    ],
)
def test_mixtures_of_gguf(values: dict[str, int], stated: int | None, label: str) -> None:
    assert mixture(values, stated) == label


def test_a_gguf_file(tmp_path: Path) -> None:
    shapes = {f"blocks.{i}.ffn.0.weight": (256, 256) for i in range(8)} | {"head.bias": (8,)}
    types = dict.fromkeys(shapes, "Q4_K") | {"blocks.0.ffn.0.weight": "Q6_K", "head.bias": "F32"}
    path = write_gguf(tmp_path / "x.gguf", shapes, types, {"general.file_type": 15})
    precision = identify(open_weights(path)).precision
    assert (precision.scheme, precision.title) == ("Q4_K_M", "GGUF Q4_K_M")
    assert precision.shares == "Q4_K 87 %, Q6_K 12 %, fp32 under 1 %"
