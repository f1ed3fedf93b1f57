"""The list of solvers: cheap to read, and everything in it builds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch

from wan_core.contract.errors import WorkflowError
from wan_core.contract.lazy import resolve
from wan_core.sampling import __all__ as public
from wan_core.sampling.catalog import SOLVERS, check_steps
from wan_core.sampling.noise import SeededNoise


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys, wan_core.sampling, wan_core.sampling.solvers; "
        "from wan_core.sampling.catalog import SOLVERS; "
        "assert SOLVERS and 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_unique_and_build() -> None:
    names = [solver.name for solver in SOLVERS]
    assert len(set(names)) == len(names)
    assert names[:2] == ["unipc", "dpm++"]
    for solver in SOLVERS:
        steps = max(solver.fixed_steps, default=4)
        setup = resolve(solver.build)(steps, 5.0, width=1536)
        assert setup.schedule.steps == steps
        x = torch.ones(1, 1, 1, 2, 2)
        assert setup.new_solver(SeededNoise(0)).step(x, x, 0).shape == x.shape


@pytest.mark.parametrize(
    ("allowed", "steps", "says"),
    [
        ((4,), 5, "can run 4 steps, not 5; set steps to 4,"),
        ((1, 2, 3), 9, "can run 1 to 3 steps, not 9; set steps to 3,"),
        ((2, 4, 8), 7, "can run 2 or 4 or 8 steps, not 7; set steps to 8,"),
        (range(1, 51), 60, "can run 1 to 50 steps, not 60; set steps to 50,"),
    ],
)
def test_numbers_of_steps_that_can_not_be_run(
    allowed: Sequence[int], steps: int, says: str
) -> None:
    with pytest.raises(WorkflowError, match=says):
        check_steps("it", steps, allowed)
    assert check_steps("it", allowed[0], allowed) == allowed[0]


def test_public_names_exist() -> None:
    import wan_core.sampling

    for name in public:
        assert getattr(wan_core.sampling, name) is not None
