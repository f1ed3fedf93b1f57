"""The list of solvers: cheap to read, and everything in it builds."""

from __future__ import annotations

import subprocess
import sys

import torch

from wan_core.contract.lazy import resolve
from wan_core.sampling import __all__ as public
from wan_core.sampling.catalog import SOLVERS
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


def test_public_names_exist() -> None:
    import wan_core.sampling

    for name in public:
        assert getattr(wan_core.sampling, name) is not None
