"""Which steps see the tracks: the rule, and the parts that it makes of a run."""

from __future__ import annotations

import pytest
from wan_plugin_ati.steps import leads, parts, spans

from wan_core.contract import ALWAYS, StepRange

CASES = [
    (4, 0.0, 1.0, "EEEE"),
    (4, 0.0, 0.5, "EEE-"),  # the end counts
    (4, 0.0, 0.49, "EE--"),
    (4, 0.25, 0.5, "-EE-"),
    (4, 0.26, 0.5, "--E-"),
    (4, 0.0, 0.0, "E---"),  # 0 is between 0 and 0
    (4, 0.0, 0.1, "E---"),
    (4, 0.8, 1.0, "----"),
    (3, 0.5, 0.6, "---"),
    (1, 0.0, 1.0, "E"),
    (40, 0.0, 0.2, "E" * 9 + "-" * 31),
]


@pytest.mark.parametrize(("steps", "start", "end", "told"), CASES)
def test_the_steps_of_a_run(steps: int, start: float, end: float, told: str) -> None:
    rule = "".join("-E"[leads(step, steps, start, end)] for step in range(steps))
    assert rule == told
    made = spans(steps, start, end)
    held = [[led for led, span in made if span.holds(step, steps)] for step in range(steps)]
    assert held == [[letter == "E"] for letter in told], "each step has exactly one"


@pytest.mark.parametrize("steps", [3, 7, 30, 49, 50])
def test_every_step_of_any_run_is_in_one_part(steps: int) -> None:
    for start, end in ((0.1, 0.7), (1 / 3, 2 / 3), (0.0, 0.9), (0.5, 0.5)):
        made = spans(steps, start, end)
        for step in range(steps):
            (led,) = [led for led, span in made if span.holds(step, steps)]
            assert led == leads(step, steps, start, end)


def test_parts_of_a_part() -> None:
    halves = [(True, StepRange(0, 0.5)), (False, StepRange(0.5, 1))]
    assert parts(ALWAYS, halves) == halves
    assert parts(StepRange(0.25, 0.75), halves) == [
        (True, StepRange(0.25, 0.5)),
        (False, StepRange(0.5, 0.75)),
    ]
    assert parts(StepRange(0, 0.25), halves) == [(True, StepRange(0, 0.25))]
