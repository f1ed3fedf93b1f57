"""Lists of seeds and prompts: one workflow for each combination, and a sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_core.contract.errors import WorkflowError
from wan_core.plugins import Plugins
from wan_core.workflow import Workflow, parse_workflow, parse_workflows, to_toml

TEXT = """\
format = 1
[model]
family = "tiny-random"
[[stages]]
use = "generate"
{lines}
"""
PLUGINS = Plugins.discover()


def parse(lines: str, *overrides: str) -> tuple[Workflow, ...]:
    return parse_workflows(
        TEXT.format(lines=lines), name="w.toml", folder=Path("/f"), overrides=overrides,
        plugins=PLUGINS,
    )  # fmt: skip


def options(workflows: tuple[Workflow, ...]) -> list[tuple[int, str]]:
    return [(w.stages[0].options.seed, w.stages[0].options.prompt) for w in workflows]


def test_without_lists_there_is_one_workflow_without_a_label() -> None:
    (workflow,) = parse('prompt = "a"')
    assert (workflow.source.label, workflow.source.varied) == ("", ())


def test_two_lists_make_all_combinations_the_last_one_fastest() -> None:
    found = parse('prompt = ["a", "b"]\nseed = [7, 8]')
    assert options(found) == [(7, "a"), (8, "a"), (7, "b"), (8, "b")]
    assert found[0].source.label == 'prompt "a", seed 7'
    assert found[3].source.varied == (("prompt", "prompt2"), ("seed", "8"))


def test_a_list_of_one_is_no_sweep() -> None:
    (workflow,) = parse('prompt = ["a"]\nseed = [3]')
    assert options((workflow,)) == [(3, "a")]
    assert workflow.source.label == ""


@pytest.mark.parametrize(
    "override", ["stages.0.seed=1,2,3", "stages.0.seed=1, 2 ,3", "stages.generate.seed=[1, 2, 3]"]
)
def test_the_command_line_needs_no_brackets_for_seeds(override: str) -> None:
    found = parse('prompt = "a"', override)
    assert [seed for seed, _ in options(found)] == [1, 2, 3]
    assert [w.source.label for w in found] == ["seed 1", "seed 2", "seed 3"]


def test_commas_in_a_prompt_make_no_list() -> None:
    (workflow,) = parse('prompt = "a"', "stages.0.prompt=1,2,3")
    assert workflow.stages[0].options.prompt == "1,2,3"


def test_each_run_is_a_workflow_of_its_own() -> None:
    for workflow in parse('prompt = ["a", "b"]\nseed = [7, 8]'):
        again = parse_workflow(to_toml(workflow), folder=Path("/f"), plugins=PLUGINS)
        assert again == workflow


def test_stages_are_swept_independently() -> None:
    second = '[[stages]]\nuse = "generate"\nname = "b"\nprompt = "c"\nseed = [1, 2]'
    found = parse(f'prompt = "a"\nseed = [1, 2]\n{second}')
    seeds = {tuple(s.options.seed for s in w.stages) for w in found}
    assert seeds == {(1, 1), (1, 2), (2, 1), (2, 2)}


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("seed = []", "{seed}: seed is an empty list; give at least one value."),
        ("seed = [1, 2, 1]", "{seed}.2: stages.0.seed.2 is there twice; keep one of them."),
        ('seed = [1, "x"]', '{seed}: seed must be a whole number, not "x".'),
        ("seed = [1, -1]", "{seed}: seed must be from 0 to 9223372036854775807, not -1."),
        ("seed = [[1, 2]]", "{seed}: seed must be a whole number, not a list of 2."),
        ("steps = [1, 2]", "w.toml, line 7, stages.0.steps: steps must be a whole number, not a list of 2."),
        (
            # counted first: a look for twins takes long where there are so many
            f"seed = {[7] * 1001}",
            "{seed}: these lists make a sweep of 1001 runs; "
            "the most is 1000: shorten a list.",
        ),
    ],
)  # fmt: skip
def test_mistakes(lines: str, sentence: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        parse(f'prompt = "a"\n{lines}')
    assert str(caught.value) == sentence.replace("{seed}", "w.toml, line 7, stages.0.seed")


def test_who_wants_one_workflow_is_told_of_a_sweep() -> None:
    text = TEXT.format(lines='prompt = "a"\nseed = [1, 2]')
    with pytest.raises(WorkflowError, match="a sweep of 2 runs where one is wanted"):
        parse_workflow(text, name="w.toml", plugins=PLUGINS)
