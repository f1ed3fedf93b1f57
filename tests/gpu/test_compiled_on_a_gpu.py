"""Compiled blocks on a GPU: one graph whether swapped or not, the bits of resident ones, memory as predicted.

Skipped where there is no CUDA device; ``pytest tests/gpu/test_compiled_on_a_gpu.py -s`` shows the times.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from torch import nn

from wan_core.contract.requests import VideoSize
from wan_core.memory import BlockSwap, CudaCopier, compile_units, compiled, spread
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.planning.known import tokens
from wan_core.planning.predict import transformer_activations

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SIZE = VideoSize(832, 480, 81, 16)


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch._dynamo.reset()
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        if not os.environ.get(variable):
            monkeypatch.setenv(variable, str(tmp_path))
    yield
    torch._dynamo.reset()


def transformer(**sizes: int) -> WanTransformer:
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = WanTransformer(WanConfig(**sizes)).requires_grad_(False)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=0.02)
        if not any(fnmatchcase(name, pattern) for pattern in WanTransformer.KEEP_FLOAT32):
            parameter.data = parameter.data.bfloat16()
    return model.eval()


@torch.no_grad()
def test_swapped_and_compiled() -> None:
    model = transformer(dim=1024, ffn_dim=4096, num_heads=8, num_layers=8)
    text = torch.randn(1, 512, 4096, device="cuda").bfloat16()
    given = (
        torch.randn(1, 16, 9, 60, 104, device="cuda"),
        torch.tensor([723.0], device="cuda"),
        text,
    )
    eager = model(*given)
    compiling = compile_units(model)
    want = model(*given)
    assert float((want - eager).norm() / eager.norm()) < 1e-2
    names = [unit.name for unit in model.units()]
    for prefetch in (0, 1, 2):
        chosen = [names[i] for i in spread(8, 7)]
        swap = BlockSwap(model, chosen, prefetch, CudaCopier())
        with swap.active():
            assert torch.equal(model(*given), want)
            assert torch.equal(model(*given), want)
        model.cuda()
    assert (compiling.graphs, compiling.failure) == (1, "")
    print(f"compiled in {compiling.seconds:.1f} s")


@torch.no_grad()
def test_a_kernel_that_can_not_be_built_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    model = transformer(dim=256, ffn_dim=512, num_heads=2, num_layers=2)
    text = torch.randn(1, 512, 4096, device="cuda").bfloat16()
    given = torch.randn(1, 16, 3, 8, 8, device="cuda"), torch.tensor([723.0], device="cuda"), text
    eager = model(*given)

    def broken(graph: object, inputs: object) -> object:
        raise RuntimeError("PassManager::run failed")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    compiling = compile_units(model)
    # the call that failed runs what was captured of it, in which norm and rotation are one kernel
    first = model(*given)
    assert float((first - eager).norm() / eager.norm()) < 1e-2
    assert compiling.failure == "RuntimeError: PassManager::run failed"
    assert torch.equal(model(*given), eager)


@torch.no_grad()
@pytest.mark.parametrize("rows", [None, 4096])
def test_the_peak_of_14_billion_parameters_compiled(rows: int | None) -> None:
    model = transformer(dim=5120, ffn_dim=13824, num_heads=40, num_layers=3)
    model.rows = rows
    compile_units(model)
    text = torch.randn(1, 512, 4096, device="cuda").bfloat16()
    given = (
        torch.randn(1, 16, 21, 60, 104, device="cuda"),
        torch.tensor([723.0], device="cuda"),
        text,
    )
    model(*given)
    torch.cuda.synchronize()
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    model(*given)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    real = torch.cuda.max_memory_allocated() - weights
    predicted = transformer_activations(model.config, tokens(SIZE), 2, rows=rows, compiled=True)
    print(
        f"rows {rows}: {seconds:.3f} s, predicted {predicted / 1e9:.2f} GB, real {real / 1e9:.2f} GB"
    )
    assert 0.8 * real <= predicted <= 1.25 * real
    assert real <= 2.75e9
