"""The wheel: everything the package needs at run time is in it, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = out.glob("wan_core-*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_tiny_models_and_data_files_are_in_it(names: list[str]) -> None:
    for name in ("t2v", "i2v", "vae", "text_encoder", "image_encoder"):
        assert f"wan_core/models/tiny/{name}.safetensors" in names
    assert "wan_core/models/tiny/tokenizer.json" in names
    assert "wan_core/models/tiny/words.txt" in names
    assert "wan_core/py.typed" in names


def test_the_link_to_the_hooks_is_no_module_of_its_own(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert "hookspecs.py" not in tops
    assert {top for top in tops if not top.endswith(".dist-info")} == {"wan_core"}


def test_the_link_shows_the_contract() -> None:
    assert (ROOT / "hookspecs.py").resolve() == ROOT / "wan_core" / "hookspecs.py"


def test_the_checkout_is_light() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout (a source archive)")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    total = sum(file.stat().st_size for file in files if file.is_file())
    assert total < 50 * 2**20
    golden = sum(f.stat().st_size for f in files if "tests/golden" in f.as_posix())
    assert golden < 12 * 2**20
    limits = {"vae": 5e6, "text_encoder": 2e6, "t2v": 8e6, "i2v": 8e6, "image_encoder": 1e6}
    for name, limit in limits.items():
        assert (ROOT / f"wan_core/models/tiny/{name}.safetensors").stat().st_size <= limit
