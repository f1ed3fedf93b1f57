"""Keeping what was made until it is safe: latents survive a crash between sampling and the last frame."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cache_folder() -> Path:
    """``$WAN_CORE_CACHE``, else ``$XDG_CACHE_HOME/wan-core``, else ``~/.cache/wan-core``."""
    if own := os.environ.get("WAN_CORE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wan-core"


class Keepsakes:
    """A folder for the results of one run's stages. It exists only while there is something to lose."""

    def __init__(self, cache: Path) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.folder = cache / "runs" / f"{stamp}-{os.getpid()}"
        self.files: list[Path] = []

    def keep(self, stage: str, tensors: Mapping[str, Tensor]) -> Path:
        """Write a stage's tensors to ``<folder>/<stage>.safetensors``, whole or not at all."""
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{stage}.safetensors"
        partial = target.with_suffix(".partial")
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, partial)
        partial.replace(target)
        self.files.append(target)
        return target

    def discard(self) -> None:
        """The run has succeeded: nothing needs keeping any more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.files.clear()
