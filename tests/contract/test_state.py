"""State: what is said of it before it exists, what there is of it then, and where a plan counts it."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch

from wan_core.contract import State, StateSpec
from wan_core.planning import make_plan
from wan_core.planning.known import what_is_known
from wan_core.planning.phases import predict_memory
from wan_core.plugins import Plugins
from wan_core.workflow import parse_workflow


def test_bytes_are_those_of_all_tensors_of_all_parts() -> None:
    state = State(StateSpec("kv", 100))
    assert state.bytes == 0
    state.parts["blocks.0"] = {"k": torch.zeros(3, 5), "v": torch.zeros(2, dtype=torch.bfloat16)}
    state.parts[""] = {"count": torch.zeros(1, dtype=torch.int64)}
    assert state.bytes == 3 * 5 * 4 + 2 * 2 + 8


@pytest.mark.parametrize("wrong", [{"name": ""}, {"bytes": -1}, {"scope": "forever"}])
def test_a_spec_that_says_nothing_sensible_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a state needs a name, bytes of 0 or more and a scope"):
        StateSpec(**{"name": "kv", "bytes": 1, **wrong})  # type: ignore[arg-type]


def test_a_plan_counts_the_state_of_a_stage_as_memory_of_sampling(tmp_path: Path) -> None:
    plugins = Plugins.discover()
    text = 'format = 1\n[model]\nfamily = "tiny-t2v"\n[[stages]]\nuse = "generate"\nprompt = "a"\n'
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins)
    plan = make_plan(workflow, plugins, device="cpu")
    specs = (StateSpec("kv", 3_000_000), StateSpec("past", 500, mutable=True))
    needs = attrs.evolve(plan.stages[0].needs, state=specs)
    stage = attrs.evolve(plan.stages[0], needs=needs)
    with_state = predict_memory(stage, what_is_known(stage, plan.models))
    more = {
        after.part: after.peak - before.peak
        for before, after in zip(plan.phases, with_state, strict=True)
    }
    assert more == {"text": 0, "sampling": 3_000_500, "decoding": 0}
