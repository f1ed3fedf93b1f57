"""Every benchmark says how it is used without a GPU, and without what a bare GPU machine doesn't have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
LIBRARIES = {"side_by_side"}
WITH_EVERYTHING = {"budgets"}
"""Those that need all that wan-core depends on when they run."""

# as if they were started one after the other; prints what each said, and what is imported by then
CHILD = """
import contextlib, io, json, pathlib, runpy, sys
sys.path[0] = sys.argv[1]  # as of a script
folder, *names = sys.argv[1:]
said, forbidden = {}, {}
for name in names:
    path = str(pathlib.Path(folder) / f"{name}.py")
    sys.argv[:] = [path, "--help"]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(path, run_name="__main__")
    except SystemExit as ended:
        said[name] = [ended.code, out.getvalue()]
    forbidden[name] = [
        one for one in sys.modules
        if one == "av" or one.startswith(("wan_core.media", "wan_core.workflow", "diffusers"))
    ]
import torch
print(json.dumps([said, forbidden, torch.cuda.is_initialized()]))
"""


def test_help() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in LIBRARIES)
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(FOLDER), *names],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(FOLDER.parent)},
    )
    assert run.returncode == 0, run.stderr
    said, forbidden, initialised = json.loads(run.stdout)
    assert {name: code for name, (code, _) in said.items()} == dict.fromkeys(names, 0)
    for name, (_, text) in said.items():
        assert text.startswith(f"usage: {name}.py"), text
        assert "--help" in text
    assert forbidden == {name: [] for name in names}
    assert not initialised


def test_no_benchmark_names_media_or_workflow() -> None:
    """Nor within functions, which ``--help`` doesn't reach."""
    for path in FOLDER.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.stem not in WITH_EVERYTHING:
            assert "wan_core.media" not in text, path.name
            assert "wan_core.workflow" not in text, path.name
            assert "wan_core.planning" not in text, path.name


def test_the_readme_names_every_benchmark() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in FOLDER.glob("*.py"):
        assert path.name in readme, path.name
