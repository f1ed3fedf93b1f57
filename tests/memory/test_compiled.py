"""Compiled units: one graph for equal units and shapes, and eager calls for whatever goes wrong."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch._inductor.config
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager

from wan_core.contract.errors import PluginError
from wan_core.memory import (
    BlockSwap,
    Compiling,
    SimulatedCopier,
    Unit,
    compile_units,
    compiled,
    compiling_of,
    rest_of,
    stack_of,
)

Backend = Callable[[Any, Sequence[Any]], Any]


class Layer(nn.Module):
    """A unit; ``fault`` is raised where it is called eagerly, too."""

    def __init__(self, width: int, fault: Exception | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        if self.fault is not None:
            raise self.fault
        return x + torch.tanh(self.linear(x))


class Model(nn.Module):
    """A stack of layers."""

    def __init__(self, layers: int = 4, width: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def units(self) -> list[Unit]:
        return [Unit(f"layers.{index}", layer) for index, layer in enumerate(self.layers)]

    def rest(self) -> dict[str, Tensor]:
        return rest_of(self, self.units())


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", aot_eager)
    yield
    torch._dynamo.reset()


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model().requires_grad_(False)


def told(compiling: Compiling) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    compiling.tell = lambda text, level: lines.append((text, level))
    return lines


def failing(*good: Backend) -> Backend:
    """Works as often as there are backends, then fails."""
    left = list(good)

    def backend(graph: Any, inputs: Sequence[Any]) -> Any:
        if left:
            return left.pop(0)(graph, inputs)
        raise RuntimeError("\n  no compiler \x1b[31m\nuse another machine")

    return backend


X = torch.linspace(-1, 1, 18).view(3, 6)


@torch.no_grad()
def test_equal_units_share_a_graph_and_each_shape_has_one(model: Model) -> None:
    want, larger = model(X), model(X.repeat(2, 1))
    compiling = compile_units(model)
    lines = told(compiling)
    assert compiling_of(model) is compiling
    for _ in range(2):
        assert torch.allclose(model(X), want)
        assert torch.allclose(model(X.repeat(2, 1)), larger)
    assert (compiling.graphs, compiling.failure) == (2, "")
    assert compiling.seconds > 0
    assert [level for _, level in lines] == ["info"]
    other = Model().requires_grad_(False)  # as a second expert
    assert compile_units(other) is not compiling
    other(X)
    assert compiling_of(other).graphs == 0  # type: ignore[union-attr]
    assert compiling_of(Model()) is None


@torch.no_grad()
def test_units_are_swapped_with_one_graph_of_real_code(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "BACKEND", compiled._inductor)
    want = model(X)
    compiling = compile_units(model)
    swap = BlockSwap(model, ["layers.0", "layers.2", "layers.3"], 1, SimulatedCopier())
    # what the C++ compiler needs time for, and is not asked here
    quick = {"cpp.simdlen": 1, "cpp_cache_precompile_headers": False, "compile_threads": 1}
    with torch._inductor.config.patch(quick):
        for _ in range(2):
            with swap.active():
                assert torch.allclose(model(X), want, atol=1e-6)
        assert torch.allclose(model(X), want, atol=1e-6)
    assert (compiling.graphs, compiling.failure) == (1, "")


@torch.no_grad()
@pytest.mark.parametrize("swapped", [False, True])
def test_what_fails_to_compile_runs_eagerly_and_says_so_once(
    model: Model, monkeypatch: pytest.MonkeyPatch, swapped: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    want, larger = model(X), model(X.repeat(2, 1))
    monkeypatch.setattr(compiled, "BACKEND", failing(aot_eager))
    compiling = compile_units(model)
    lines = told(compiling)
    names = ["layers.1", "layers.3"] if swapped else []
    with BlockSwap(model, names, 1, SimulatedCopier()).active():
        assert torch.allclose(model(X), want)
        assert torch.equal(model(X.repeat(2, 1)), larger)  # a new shape, in the middle of a run
        assert torch.equal(model(X), want)
    assert compiling.failure == "RuntimeError: no compiler ?[31m"
    reason = "torch.compile failed, so the model runs without it: RuntimeError: no compiler ?[31m"
    assert lines[1:] == [(reason, "warning")]
    assert compiling.graphs == 2
    assert capfd.readouterr() == ("", "")


@torch.no_grad()
def test_compiled_code_that_fails_while_it_runs_is_replaced_too(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def backend(graph: Any, inputs: Sequence[Any]) -> Any:
        def run(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == 6:
                raise RuntimeError("Triton Error [CUDA]: invalid argument")
            return graph(*arguments)

        return run

    want = model(X)
    monkeypatch.setattr(compiled, "BACKEND", backend)
    compiling = compile_units(model)
    assert all(torch.equal(model(X), want) for _ in range(3))
    assert "Triton Error" in compiling.failure
    assert len(calls) == 6


@torch.no_grad()
@pytest.mark.parametrize("fault", [ValueError("odd"), PluginError("a fault of a plugin")])
def test_errors_of_the_model_are_the_models(model: Model, fault: Exception) -> None:
    compiling = compile_units(model)
    model(X)
    model.layers[2].fault = fault
    with pytest.raises(type(fault), match=str(fault)):
        model(X)
    assert not compiling.failure


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
)
@torch.no_grad()
def test_a_lack_of_memory_is_no_failure_of_compiling(
    error: RuntimeError, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(compiled, "BACKEND", lambda graph, inputs: short)
    compiling = compile_units(model)
    with pytest.raises(RuntimeError, match=r"out of memory|ALLOC_FAILED"):
        model(X)
    assert not compiling.failure


@torch.no_grad()
def test_more_shapes_than_torch_keeps_end_in_a_line_and_not_in_silence(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(compiled.LIMITS, "recompile_limit", 2)
    before = torch._dynamo.config.recompile_limit
    compiling = compile_units(model)
    for rows in range(1, 5):
        assert model(X.repeat(rows, 1)).shape == (3 * rows, 6)
    assert compiling.graphs == 2
    assert "limit" in compiling.failure.lower()
    assert torch._dynamo.config.recompile_limit == before


def test_what_a_compiler_says_is_the_reason() -> None:
    output = (
        "a.cpp: In function f:\na.cpp:19:21: error: 'at::vec' has not been declared\n   19 | x\n"
    )
    error = RuntimeError(
        f"C++ compile error\n\nCommand:\ng++ a.cpp\n\nOutput:\n{output}a.cpp: error: more"
    )
    assert compiled.in_one_line(error) == (
        "RuntimeError: C++ compile error: 'at::vec' has not been declared"
    )
    plain = RuntimeError("error: no compiler\nSet TORCH_LOGS for more")
    assert compiled.in_one_line(plain) == "RuntimeError: error: no compiler"


@torch.no_grad()
def test_weights_leave_with_their_owner_without_a_search_for_circles() -> None:
    model = Model().requires_grad_(False)
    compile_units(model)
    model(X)
    weight = weakref.ref(model.layers[0].linear.weight)
    gc.disable()
    try:
        del model
        assert weight() is None
    finally:
        gc.enable()
    assert logging.getLogger("torch._dynamo").level != logging.CRITICAL


def test_the_stack_of_a_component() -> None:
    class Denoiser:
        def __init__(self, **parts: Any) -> None:
            vars(self).update(parts)

    model = Model()
    assert stack_of(model) is model
    assert stack_of(Denoiser(transformer=model, name="video")) is model
    assert stack_of(Denoiser(one=model, other=Model())) is None
    assert stack_of(Denoiser()) is None
    assert stack_of(3) is None
