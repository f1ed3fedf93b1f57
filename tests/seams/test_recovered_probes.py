"""The probes' runs go on when memory runs out in one of their units, without a line of their own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.seams.test_swapped_seams import PROBES
from wan_core import Session
from wan_core.contract.events import Event
from wan_core.engine.components import ModelComponents
from wan_core.engine.results import RunResult
from wan_core.media import read_frames
from wan_core.memory import stack_of
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    probes = [
        Found(name, name, "0", lambda name=name: import_module(f"tests.seams.{name}.plugin"))
        for name in ("ovi", "longcat", "flashvsr")
    ]
    return Plugins([next(iter(installed_entry_points())), *probes])


@pytest.fixture
def session(plugins: Plugins, tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=plugins, device="cpu", cache=tmp_path / "cache") as session:
        yield session


def frames(result: RunResult) -> np.ndarray:
    return np.stack(list(read_frames(result.outputs[0])))


class Units:
    """Counts calls of the units of a family's transformer, some of which find no memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
        self.calls = 0
        self.short: frozenset[int] = frozenset()
        load = ModelComponents._load

        def loading(components: ModelComponents, slot: str, keep: Any = None) -> Any:
            loaded = load(components, slot, keep)
            stack = stack_of(loaded)
            if components.model.family.name == family and slot == "transformer" and stack:
                for unit in stack.units():
                    unit.module.register_forward_pre_hook(self._count)
            return loaded

        monkeypatch.setattr(ModelComponents, "_load", loading)

    def _count(self, module: torch.nn.Module, given: object) -> None:
        number, self.calls = self.calls, self.calls + 1
        if number in self.short:
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("family", PROBES)
def test_bits_of_a_run_that_has_recovered(
    family: str,
    share: float,
    session: Session,
    plugins: Plugins,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the first call, in the middle, near the end; states and segments included."""
    stage, text = PROBES[family]
    text = text.format(family=family, stage=stage)
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins)
    units = Units(monkeypatch, family)
    whole = frames(session.run(workflow))
    session.close()
    first = int(share * units.calls)
    units.calls, units.short = 0, frozenset((first, first + 1))
    seen: list[Event] = []
    result = session.run(workflow, listen=seen.append)
    assert np.array_equal(frames(result), whole)
    assert len(result.recoveries) == 2
    assert all(one.exact for one in result.recoveries)
    assert "blocks are swapped" in result.recoveries[-1].how
