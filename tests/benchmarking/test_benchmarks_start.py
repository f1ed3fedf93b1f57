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


# what a bare machine has not can't be imported; prints nothing when all went well
BARE = """
import importlib, pathlib, sys
folder, out = map(pathlib.Path, sys.argv[1:])
sys.path.insert(0, str(folder))
MISSING = (
    "av", "imageio", "PIL", "click", "rich", "pluggy", "transformers", "tokenizers", "diffusers",
    "huggingface_hub", "wan_core.media", "wan_core.workflow", "wan_core.planning", "wan_core.engine",
)
class Bare:
    def find_spec(self, name, path=None, target=None):
        if any(name == one or name.startswith(one + ".") for one in MISSING):
            raise ModuleNotFoundError(f"a bare machine has no {name}")
sys.meta_path.insert(0, Bare())
import side_by_side, wan_core.memory.compiled
side_by_side.WIDE = {"dim": 96, "ffn_dim": 64, "num_heads": 2, "num_layers": 4}
wan_core.memory.compiled.BACKEND = lambda graph, inputs: graph
clip = ("--height", "16", "--width", "16", "--frames", "5", "--repeats", "2")
for name, more in (("block_swap", ()), ("lora_apart", ("--size", "0.0001"))):
    sys.argv[:] = [name, *clip, *more, "--out", str(out / "result.json")]
    importlib.import_module(name).main()
import fake_checkpoint, swap_setup
file = swap_setup.write_model(out, swap_setup.wide())
sys.argv[:] = ["swap_setup", "--one", "wan_core", "--file", str(file)]
assert swap_setup.one_set_up(swap_setup.parse())["swapped GB"] > 0
fake_checkpoint.write_safetensors(out / "x.safetensors", {"blocks.0.ffn.0.weight": (4, 32)}, "fp8_scaled")
for name in ("wan14b", "fp8_products", "transformer_vs_diffusers", "block_variants"):
    importlib.import_module(name)
"""


def test_a_bare_gpu_machine_runs_them(tmp_path: Path) -> None:
    """From end to end, on tiny models: what they need shows only then."""
    run = subprocess.run(
        [sys.executable, "-c", BARE, str(FOLDER), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(FOLDER.parent)},
    )
    assert run.returncode == 0, run.stderr


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
