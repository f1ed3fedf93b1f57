"""Files of random weights with the names and shapes of a published checkpoint, to try things at full size.

    python benchmarks/fake_checkpoint.py wan2.1-t2v-14b /tmp/14b.safetensors --precision fp8_scaled
    python benchmarks/fake_checkpoint.py umt5-xxl-encoder /tmp/umt5.safetensors --device cuda

Names come from tests/golden/manifests, where encoders and VAEs have one for each dialect; --dialect renames
those of Wan transformers. Written tensor by tensor, so that the memory it takes is that of one.
Matrices are drawn from a normal distribution and then stored in the precision asked for, with what belongs to
it beside them; blocks of nvfp4, mxfp8 and GGUF are random codes with plausible scales. What the makers'
converters keep in high precision stays so here. The numbers mean nothing; what they give has a sane size.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import attrs
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the headers of GGUF are written as the tests do it

from tests.header_files import gguf_header  # noqa: E402
from wan_core.models.wan.dialects import DIFFUSERS  # noqa: E402
from wan_core.weights.gguf_types import GGML_TYPES  # noqa: E402
from wan_core.weights.quantised.packed import pack  # noqa: E402

MANIFESTS = ROOT / "tests" / "golden" / "manifests"
PLAIN = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
STORED = {
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint8: "U8",
    torch.int8: "I8",
}
GGUF = {"q8_0": "Q8_0", "q4_0": "Q4_0"}
WIDEST = {"q8_0": 64, "q4_0": 4}
"""What the codes are about as large as."""
PRECISIONS = (
    *PLAIN,
    "fp8",  # cast as it is
    "fp8_scaled",  # a scale for each tensor
    "fp8_channel",  # one for each output channel
    "comfy_fp8",
    "comfy_int8",
    "nvfp4",
    "mxfp8",
    *GGUF,
)
DIALECTS = ("official", "diffusers", "comfy")
PREFIX = "model.diffusion_model."
KEPT = (
    "norm",
    "time_",
    "patch_embedding",
    "img_emb",
    "modulation",
    "text_embedding",
    "emb",
    "head.mod",
)
"""Parts of names that the makers' converters do not quantise."""
STD = 0.02

Made = Mapping[str, Tensor]


def main() -> int:
    parser = parser_of()
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    write = write_gguf if options.precision in GGUF else write_safetensors
    try:
        shapes = names_of(options.manifest)
        size = write(options.out, shapes, options.precision, options.dialect, options.device)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{options.out}: {size / 1e9:.2f} GB")
    return 0


def parser_of() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", help=f"a name in {MANIFESTS.relative_to(ROOT)}")
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16")
    parser.add_argument("--dialect", choices=DIALECTS, default="official")
    parser.add_argument("--device", default="cpu", help="where the numbers are drawn")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def names_of(manifest: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint.

    Raises:
        ValueError: there is no manifest of this name.
    """
    known = [path.name.removesuffix(".json.gz") for path in sorted(MANIFESTS.glob("*.json.gz"))]
    known = [name for name in known if "-to-" not in name]  # those say what names become
    if manifest not in known:
        raise ValueError(f"there is no manifest {manifest!r}; there are {', '.join(known)}")
    with gzip.open(MANIFESTS / f"{manifest}.json.gz", "rt") as file:
        return {name: tuple(shape) for name, shape in json.load(file).items()}


@attrs.frozen
class Group:
    """A weight and what is stored beside it: their names and sizes, and how they are made."""

    layout: Mapping[str, tuple[str, tuple[int, ...]]]
    make: Callable[[], Made]


def write_safetensors(
    out: Path,
    shapes: Mapping[str, tuple[int, ...]],
    precision: str = "bf16",
    dialect: str = "official",
    device: str = "cpu",
) -> int:
    """Write the file and return its size.

    Raises:
        ValueError: the checkpoint does not come in this dialect.
    """
    named = in_dialect(shapes, dialect)
    groups = [group(name, shape, precision, device) for name, shape in named.items()]
    if precision.startswith("fp8_"):
        groups.append(plain("scaled_fp8", (0,), torch.float8_e4m3fn, device))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for one in groups:
        for name, (kind, shape) in one.layout.items():
            bits = 8 * torch.empty(0, dtype=torch_type(kind)).element_size()
            end = position + prod(shape) * bits // 8
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [position, end]}
            position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with out.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for one in groups:
            made = one.make()
            for name in one.layout:
                put(file, made[name])
    return out.stat().st_size


def write_gguf(
    out: Path,
    shapes: Mapping[str, tuple[int, ...]],
    precision: str,
    dialect: str = "official",
    device: str = "cpu",
) -> int:
    """The same as a GGUF file: matrices in blocks, the rest in float32."""
    kind = next(one for one in GGML_TYPES.values() if one.name == GGUF[precision])
    named = in_dialect(shapes, dialect)
    types = {name: kind.name if quantised(name, shape) else "F32" for name, shape in named.items()}
    header, _ = gguf_header(named, types)
    with out.open("wb") as file:
        file.write(header)
        for name, shape in named.items():
            if types[name] == "F32":
                data = drawn(name, shape, device)
            else:
                count = prod(shape) // kind.block
                scale = (
                    torch.rand(count, 1, device=device)
                    .mul_(STD / WIDEST[precision])
                    .half()
                    .view(torch.uint8)
                )
                codes = random_bytes((count, kind.nbytes - 2), device)
                data = torch.cat([scale, codes], 1)
            file.write(bytes(-put(file, data) % 32))
    return out.stat().st_size


def in_dialect(
    shapes: Mapping[str, tuple[int, ...]], dialect: str
) -> Mapping[str, tuple[int, ...]]:
    """The shapes under the names of a dialect.

    Raises:
        ValueError: the checkpoint does not come in it.
    """
    if dialect == "official":
        return shapes
    if dialect == "comfy" and any(name.startswith("patch_embedding") for name in shapes):
        return {PREFIX + name: shape for name, shape in shapes.items()}
    found = {name: DIFFUSERS.from_official(name) for name in shapes} if dialect != "comfy" else {}
    if found and all(found.values()):
        return {str(found[name]): shape for name, shape in shapes.items()}
    raise ValueError(
        f"this checkpoint does not come in the dialect {dialect!r}; leave --dialect out, and look for a "
        "manifest with other names, such as one that ends in .hf or .diffusers"
    )


def quantised(name: str, shape: Sequence[int]) -> bool:
    return len(shape) == 2 and name.endswith(".weight") and not any(part in name for part in KEPT)


def group(name: str, shape: tuple[int, ...], precision: str, device: str) -> Group:
    """How one tensor of the checkpoint is stored."""
    if precision in PLAIN:
        return plain(name, shape, PLAIN[precision], device)
    if not quantised(name, shape):
        return plain(name, shape, torch.bfloat16, device)
    module = name.removesuffix(".weight")
    if precision == "fp8":
        return plain(name, shape, torch.float8_e4m3fn, device)
    if precision in ("nvfp4", "mxfp8"):
        return in_blocks(module, shape, precision, device)
    int8, channel = precision == "comfy_int8", precision == "fp8_channel"
    comfy = precision.startswith("comfy")
    scale = f"{module}.{'weight_scale' if comfy else 'scale_weight'}"
    layout = {
        name: ("I8" if int8 else "F8_E4M3", shape),
        scale: ("F32", (shape[0], 1) if channel else ()),
    }
    word = noted("int8_tensorwise" if int8 else "float8_e4m3fn")
    if comfy:
        layout[f"{module}.comfy_quant"] = ("U8", tuple(word.shape))

    def make() -> Made:
        packed = pack(
            drawn(name, shape, device), "int8" if int8 else "fp8_e4m3fn", by_channel=channel
        )
        assert packed.scale is not None
        return {name: packed.payload, scale: packed.scale, f"{module}.comfy_quant": word}

    return Group(layout, make)


def plain(name: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Group:
    return Group(
        {name: (STORED[dtype], shape)}, lambda: {name: drawn(name, shape, device).to(dtype)}
    )


def in_blocks(module: str, shape: tuple[int, ...], precision: str, device: str) -> Group:
    """Random codes, and scales in tiles of 128 rows and 4 blocks."""
    rows, columns = shape
    four = precision == "nvfp4"
    tiles = -(-rows // 128) * 128 * (-(-columns // (16 if four else 32) // 4) * 4)
    word = noted(precision)
    layout = {
        f"{module}.weight": ("U8", (rows, columns // 2)) if four else ("F8_E4M3", shape),
        f"{module}.weight_scale": ("F8_E4M3" if four else "U8", (tiles,)),
        f"{module}.comfy_quant": ("U8", tuple(word.shape)),
    }
    if four:
        layout[f"{module}.weight_scale_2"] = ("F32", ())

    def make() -> Made:
        codes = (
            random_bytes((rows, columns // 2), device)
            if four
            else torch.randn(shape, device=device).to(torch.float8_e4m3fn)
        )
        scales = torch.full((tiles,), 121, dtype=torch.uint8)  # of mxfp8: two to the power of -6
        return {
            f"{module}.weight": codes,
            f"{module}.weight_scale": torch.ones(tiles).to(torch.float8_e4m3fn) if four else scales,
            f"{module}.weight_scale_2": torch.tensor(STD / 3),
            f"{module}.comfy_quant": word,
        }

    return Group(layout, make)


def noted(word: str) -> Tensor:
    """ComfyUI's note on a layer."""
    return torch.tensor(list(json.dumps({"format": word}).encode()), dtype=torch.uint8)


def drawn(name: str, shape: Sequence[int], device: str) -> Tensor:
    """Factors of norms are one, biases small, matrices normal; float32."""
    if (len(shape) <= 1 and "norm" in name and name.endswith("weight")) or name.endswith("gamma"):
        return torch.ones(tuple(shape), device=device)
    return torch.randn(tuple(shape), device=device).mul_(STD)


def random_bytes(shape: tuple[int, ...], device: str) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=device)


def torch_type(kind: str) -> torch.dtype:
    return next(dtype for dtype, stored in STORED.items() if stored == kind)


def put(file: IO[bytes], tensor: Tensor) -> int:
    """Write a tensor's bytes; returns how many."""
    flat = tensor.contiguous().cpu().flatten().view(torch.uint8)
    return file.write(memoryview(flat.numpy()))


if __name__ == "__main__":
    sys.exit(main())
