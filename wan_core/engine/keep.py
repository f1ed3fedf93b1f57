"""Keeping what was made until it is safe: latents survive a crash between sampling and the last frame."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wan_core.contract.events import Listener, Note

if TYPE_CHECKING:
    from torch import Tensor


MOST_KEPT = 20
"""Runs whose results are kept; older ones make room."""


class Keepsakes:
    """A folder for the results of one run's stages. It exists only while there is something to lose.

    Trouble with the folder never stops a run: it is told as a note.
    """

    def __init__(self, cache: Path, emit: Listener) -> None:
        self._runs = cache / "runs"
        self._emit = emit
        self.folder: Path | None = None

    def keep(self, stage: str, tensors: Mapping[str, Tensor]) -> Path | None:
        """Write a stage's tensors to ``<folder>/<stage>.safetensors``, whole or not at all."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        partial: Path | None = None
        try:
            if self.folder is None:
                self.folder = self._new_folder()
            target = self.folder / f"{stage}.safetensors"
            partial = target.with_suffix(".partial")
            save_file(ready, partial)
            return partial.replace(target)
        except (OSError, SafetensorError) as error:
            self._emit(Note(f"the latents of {stage} could not be kept ({error})", "warning"))
            return None
        finally:
            if partial:
                partial.unlink(missing_ok=True)

    def discard(self) -> None:
        """The run has succeeded: nothing needs keeping any more."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None

    def __str__(self) -> str:
        return f"the latents are kept in {self.folder}" if self.folder else ""

    def _new_folder(self) -> Path:
        self._runs.mkdir(parents=True, exist_ok=True)
        for old in sorted(self._runs.iterdir())[: -MOST_KEPT + 1]:
            shutil.rmtree(old, ignore_errors=True)
        stamp = time.strftime("%Y%m%d-%H%M%S-")
        return Path(tempfile.mkdtemp(prefix=stamp, dir=self._runs))
