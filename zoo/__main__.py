"""Everything in one go: ``python -m zoo all --out OUT`` (one H200 takes about 16 minutes).

``python -m zoo first`` trains the text encoder and the VAE (side by side), ``python -m zoo second``
the transformer on top of them and evaluates it; ``all`` is both. ``python -m zoo third`` goes on from
finished weights to the image-to-video model, ``python -m zoo ati`` from there to the LoRA of tracks;
``python -m zoo unilumos`` makes the LoRA that relights. Weights are copied into the packages only by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: what goes on from finished weights, and its training
LATER = {"third": "image", "ati": "ati", "unilumos": "unilumos"}


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Run ``python -m ...`` beside this process."""
    return subprocess.Popen([sys.executable, "-u", "-m", *arguments])


def finish(*processes: subprocess.Popen[bytes]) -> None:
    """Wait for all of them.

    Raises:
        SystemExit: one of them failed.
    """
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"a training script failed: exit codes {codes}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("first", "second", "all", *LATER))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", type=Path, help="folder of finished weights (default: OUT)")
    parser.add_argument("--text-minutes", type=float, default=1.5)
    parser.add_argument("--vae-minutes", type=float, default=5.6)
    parser.add_argument("--video-minutes", type=float, default=8.1)
    parser.add_argument("--image-minutes", type=float, default=6.5)
    parser.add_argument("--ati-minutes", type=float, default=6.0)
    parser.add_argument("--unilumos-minutes", type=float, default=7.0)
    options = parser.parse_args(arguments)
    out, tiny = str(options.out), str(options.tiny or options.out)
    if options.part in LATER:
        name = LATER[options.part]
        minutes = str(getattr(options, f"{name}_minutes"))
        finish(start(f"zoo.train_{name}", "--tiny", tiny, "--out", out, "--minutes", minutes))
        return
    if options.part != "second":
        finish(
            start("zoo.train_vae", "--out", out, "--minutes", str(options.vae_minutes)),
            start("zoo.train_text", "--out", out, "--minutes", str(options.text_minutes)),
        )
    if options.part != "first":
        minutes = str(options.video_minutes)
        finish(start("zoo.train_video", "--tiny", tiny, "--out", out, "--minutes", minutes))
        finish(
            start("zoo.evaluate", "t2v", "--tiny", tiny, "--video", out, "--out", out, "--sweep")
        )


if __name__ == "__main__":
    main()
