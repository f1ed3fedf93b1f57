"""Makes outlines of published files from the tests' lists of tensors; with ``--check`` it only compares."""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from pathlib import Path

from wan_core.contract.text import spans
from wan_core.weights.outlines import OUTLINE_SUFFIX

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT / "tests" / "golden" / "manifests"
FOLDER = ROOT / "wan_core" / "models" / "outlines"
FOLDERS = {"unilumos-1.3b": ROOT / "plugins" / "unilumos" / "wan_plugin_unilumos"}
"""Those of plugins."""

HALF = ("umt5-xxl-encoder", "unilumos-1.3b")
"""Published in bfloat16, as their sizes tell."""
NAMES = (
    "clip-vit-h-14-full-official-checkpoint",
    "umt5-xxl-encoder",
    "unilumos-1.3b",
    "wan2.1-flf2v-14b",
    "wan2.1-i2v-14b",
    "wan2.1-t2v-1.3b",
    "wan2.1-t2v-14b",
    "wan2.1-vace-1.3b",
    "wan2.1-vace-14b",
    "wan2.1-vae",
    "wan2.2-i2v-a14b",
    "wan2.2-t2v-a14b",
    "wan2.2-ti2v-5b",
    "wan2.2-vae",
)


NAME = re.compile(r"(.*?blocks\.)?(?:(?<=\.)(\d+)(?=\.))?(.*)")
"""What stands before the number of a block, the number, and the rest."""


def outline(name: str) -> str:
    """The text of an outline: tensors that are alike in all blocks stand there once."""
    shapes = json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes()))
    numbers: dict[tuple[str, str, str], list[int]] = {}
    for tensor, shape in shapes.items():
        found = NAME.fullmatch(tensor)
        assert found
        before, number, after = found.groups("")
        entry = " ".join(map(str, (dtype(name, tensor), *shape)))
        numbers.setdefault((before, after, entry), []).append(int(number) if number else -1)
    tensors = {}
    for (before, after, entry), all_of in numbers.items():
        for first, last in spans(all_of):
            number = str(first) if first == last else f"{{{first}-{last}}}"
            tensors[f"{before}{number if first >= 0 else ''}{after}"] = entry
    return json.dumps({"tensors": dict(sorted(tensors.items()))}, indent=0) + "\n"


def dtype(name: str, tensor: str) -> str:
    """The type of a tensor: VACE's makers added theirs in bfloat16 to a checkpoint in float32."""
    return "BF16" if name in HALF or tensor.startswith("vace_") else "F32"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name in NAMES:
        path, text = FOLDERS.get(name, FOLDER) / f"{name}{OUTLINE_SUFFIX}", outline(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run python docs/make_outlines.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
