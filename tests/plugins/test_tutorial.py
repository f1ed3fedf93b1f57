"""CONTRIBUTING's tutorial, as written: the plugin is built, installed with pip, found, used and tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wan_core.media import read_frames

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's files, written out, and the plugin installed into ``site``."""
    folder = tmp_path_factory.mktemp("workshop")
    for name, content in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    # no network: hatchling is there, and wan-core is the one under test
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    where = ["--no-index", "--target", str(folder / "site")]
    subprocess.run([*pip, *where, str(folder / "wan-plugin-fade")], check=True)
    return folder


def run(folder: Path, *arguments: str, site: bool = True) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), *([str(folder / "site")] if site else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def frames(video: Path) -> np.ndarray:
    return np.stack(list(read_frames(video)))


def test_the_plugin_is_listed_with_its_distribution(workshop: Path) -> None:
    listed = run(workshop, "wan_core", "plugins")
    assert listed.returncode == 0, listed.stderr
    assert "wan-plugin-fade" in listed.stdout
    assert "0.1.0" in listed.stdout
    assert "feature: fade" in listed.stdout


def test_the_feature_fades_and_is_asked_for_by_the_workflow(workshop: Path) -> None:
    ran = run(workshop, "wan_core", "run", "wan-plugin-fade/example.toml")
    assert ran.returncode == 0, ran.stderr
    faded = frames(workshop / "wan-plugin-fade" / "faded.mp4").astype(float)
    assert faded.shape == (5, 32, 32, 3)
    light = faded.mean(axis=(1, 2, 3))
    assert light[0] < 3
    assert light[-1] < 3
    assert light[2] > 30


def test_fades_that_do_not_fit_are_refused_by_the_plugins_own_check(workshop: Path) -> None:
    ran = run(
        workshop,
        "wan_core",
        "plan",
        "wan-plugin-fade/example.toml",
        "-s",
        "stages.0.apply.0.frames=3",
    )
    assert ran.returncode == 2
    assert "two fades of 3 frames don't fit into 5" in ran.stderr
    assert "use at most 2" in ran.stderr


def test_the_model_of_the_tutorial_runs_after_another_stage(workshop: Path) -> None:
    workflow = "wan-plugin-fade/redrawn.toml"
    planned = run(workshop, "wan_core", "plan", workflow)
    assert planned.returncode == 0, planned.stderr
    assert '"generate" hands to "redraw" its latents' in planned.stdout
    ran = run(workshop, "wan_core", "run", workflow)
    assert ran.returncode == 0, ran.stderr
    drawn = frames(workshop / "wan-plugin-fade" / "redrawn.mp4")
    assert drawn.shape == (5, 32, 32, 3)
    # what it sees counts: another video, another result
    other = [*("-s", "stages.0.seed=1"), *("-s", "output.path=other.mp4")]
    ran = run(workshop, "wan_core", "run", workflow, *other)
    assert ran.returncode == 0, ran.stderr
    assert not np.array_equal(drawn, frames(workshop / "wan-plugin-fade" / "other.mp4"))


def test_without_it_the_error_names_the_package(workshop: Path) -> None:
    ran = run(workshop, "wan_core", "run", "wan-plugin-fade/example.toml", site=False)
    assert ran.returncode == 4
    assert "example.toml, line" in ran.stderr
    assert "pip install wan-plugin-fade" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_switched_off_by_without(workshop: Path) -> None:
    ran = run(workshop, "wan_core", "run", "wan-plugin-fade/example.toml", "--without", "fade")
    assert ran.returncode == 4
    assert "fade" in ran.stderr


def test_bits_are_equal_with_and_without_the_plugin_installed(workshop: Path) -> None:
    plain = (workshop / "wan-plugin-fade" / "example.toml").read_text().split("[[stages.apply]]")
    workflow = workshop / "plain.toml"
    workflow.write_text(plain[0] + '[output]\npath = "plain.mp4"\noverwrite = true\n')
    videos = []
    for site in (True, False):
        ran = run(workshop, "wan_core", "run", "plain.toml", site=site)
        assert ran.returncode == 0, ran.stderr
        videos.append(frames(workshop / "plain.mp4"))
    assert np.array_equal(*videos)


def test_the_tutorials_own_test_passes(workshop: Path) -> None:
    ran = run(workshop, "pytest", "-q", "-p", "no:cacheprovider", "wan-plugin-fade/tests")
    assert ran.returncode == 0, ran.stdout
