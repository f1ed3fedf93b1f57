"""Each plugin alone with the core, and all together, as users install them.

    python tests/packaging/isolated.py [NAME …]

Wheels are built of the core and of every plugin. For each plugin a fresh environment gets the core's wheel and
its own, and runs the plugin's tests from a folder that has nothing else in it; a last environment gets all
wheels and runs the tests of all. Takes some minutes, for torch is installed each time. Exits 1 when tests
fail, or when an environment has a plugin that it should not have.

Arguments are names of plugins, ``all`` for the last environment; none = every one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGINS = {path.parent.name: path.parent for path in ROOT.glob("plugins/*/pyproject.toml")}
TOGETHER = "all"
LISTED = """
import json
from wan_core import Plugins
print(json.dumps([one.name for one in Plugins.discover().installed]))
"""


def main(arguments: Sequence[str]) -> int:
    """Build, install, test."""
    asked = arguments or [*sorted(PLUGINS), TOGETHER]
    if unknown := set(asked) - {*PLUGINS, TOGETHER}:
        print(f"no plugin is called {', '.join(sorted(unknown))}: there are {', '.join(PLUGINS)}")
        return 2
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        wheels = {name: build(path, Path(folder) / "dist") for name, path in sources().items()}
        for name in asked:
            started = time.monotonic()
            members = sorted(PLUGINS) if name == TOGETHER else [name]
            if not holds(members, wheels, Path(folder) / name):
                failed.append(name)
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else f"passed: {', '.join(asked)}")
    return bool(failed)


def sources() -> dict[str, Path]:
    """What wheels are made of."""
    return {"core": ROOT, **PLUGINS}


def build(source: Path, out: Path) -> Path:
    """The wheel of a package."""
    out.mkdir(exist_ok=True)
    before = set(out.iterdir())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(source)], check=True, stdout=subprocess.DEVNULL)
    (wheel,) = set(out.iterdir()) - before
    return wheel


def holds(members: Sequence[str], wheels: dict[str, Path], folder: Path) -> bool:
    """Whether the tests of these plugins pass in an environment that has these plugins alone."""
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    needed = [str(wheels["core"]), *(f"{wheels[name]}[test]" for name in members)]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *needed], check=True)
    found = subprocess.run([python, "-c", LISTED], check=True, capture_output=True, cwd=folder)
    if set(json.loads(found.stdout)) != {"core", *members}:
        print(
            f"installed are {found.stdout.decode().strip()}, wanted core and {', '.join(members)}"
        )
        return False
    results = []
    for name in members:
        beside = folder / name
        for part in ("tests", "examples"):
            shutil.copytree(PLUGINS[name] / part, beside / part)
        tests = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
        results.append(subprocess.run(tests, cwd=beside, check=False).returncode)
    return not any(results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
