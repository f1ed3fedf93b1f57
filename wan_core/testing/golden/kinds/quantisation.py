"""Reference cases of quantised weights: whole fp8 and GGUF files, GGUF's blocks, and a layer in nvfp4."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from wan_core.models.wan.dialects import DIALECTS
from wan_core.models.wan.files import transformer_config
from wan_core.models.wan.transformer import WanTransformer
from wan_core.testing.golden.case import Case, stated
from wan_core.testing.golden.kinds.transformer import predict
from wan_core.weights import StateDict, TensorSource, in_official_names, load_into, open_weights
from wan_core.weights.numbers import unpacked
from wan_core.weights.quantised.layouts import GGUF_BLOCKS
from wan_core.weights.quantised.packed import Packed

PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


def run_fp8(case: Case) -> None:
    """``quant.fp8``: every fp8 tensor's values, and a forward pass of the loaded file."""
    _run_file(case, StateDict(case.group("file.")))


def run_gguf_file(case: Case) -> None:
    """``quant.gguf.file``: the same of the neighbouring ``.gguf`` file."""
    source = open_weights(case.path.with_suffix(".gguf"))
    for name, kind in case.get("ggml_types", {}).items():
        case.check_value(f"type of {name}", source.dtype(name), kind)
    for name, sizes in case.get("ggml_shapes_as_stored", {}).items():
        if len(sizes) == len(source.shape(name)):  # the file may state an original shape beside it
            case.check_value(f"shape of {name}", source.shape(name), tuple(sizes[::-1]))
    _run_file(case, source)


def _run_file(case: Case, source: TensorSource) -> None:
    plain = unpacked(in_official_names(source, DIALECTS))
    for name in case.group("expected."):
        case.check(f"expected.{name}", plain.get(name, dtype=torch.float32))
    sizes = stated(case.get("config", {}))
    known = {key: size for key, size in sizes.items() if key in ("num_heads", "text_len")}
    with torch.device("meta"):
        transformer = WanTransformer(transformer_config(plain, known))
    load_into(transformer, plain, dtype=torch.float32, keep_float32=WanTransformer.KEEP_FLOAT32)
    for index, output in enumerate(predict(case, transformer.eval())):
        case.check(f"outputs.{index}", output)


def run_gguf_blocks(case: Case) -> None:
    """``quant.gguf.blocks``: bytes of each type to numbers."""
    types: Mapping[str, Mapping[str, int]] = case["types"]
    for kind, raw in case.group("inputs.raw.").items():
        if kind in PLAIN:
            case.check(f"outputs.{kind}", raw.contiguous().view(PLAIN[kind]).float())
            continue
        stated_sizes = (types[kind]["block_size"], types[kind]["type_size_bytes"])
        case.check_value(f"block of {kind}", GGUF_BLOCKS[kind], stated_sizes)
        rows, nbytes = raw.shape
        shape = (rows, nbytes // stated_sizes[1] * stated_sizes[0])
        case.check(f"outputs.{kind}", Packed(kind, shape, raw).dense())


def run_nvfp4(case: Case) -> None:
    """``quant.nvfp4``: one layer's weight."""
    plain = unpacked(StateDict(case.group("file.")))
    rows, columns = case["logical_shape"]
    for name in plain.layouts:
        # stored in whole blocks of 16 rows and columns
        case.check("outputs.dequantised", plain.get(name)[:rows, :columns])


HANDLERS: dict[str, Callable[[Case], None]] = {
    "quant.fp8": run_fp8,
    "quant.gguf.blocks": run_gguf_blocks,
    "quant.gguf.file": run_gguf_file,
    "quant.nvfp4": run_nvfp4,
}
