"""Where the files of earlier runs are, by their content, so that a video finds them again on this machine.

A video names the files that it was made with without their folders (:mod:`wan_core.planning.provenance`). This
list, in the user's own cache folder, says where a file with the recorded fingerprint was last.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from wan_core.config import cache_folder
from wan_core.contract.errors import WanCoreError
from wan_core.media.files import replacing
from wan_core.weights.places import exists

NAME = "files.json"
MOST = 500
LONGEST = 2**20


def remember(files: dict[str, Path]) -> None:
    """Note where files are. What can't be written is forgotten: nothing depends on it.

    Args:
        files: fingerprint -> path.
    """
    known = _read()
    new = {fingerprint: str(path.absolute()) for fingerprint, path in files.items()}
    if all(known.get(fingerprint) == path for fingerprint, path in new.items()):
        return
    kept = {key: path for key, path in known.items() if key not in new}
    latest = dict([*kept.items(), *new.items()][-MOST:])
    with suppress(WanCoreError, OSError), replacing(_file(), may_replace=lambda _: True) as partial:
        partial.hidden.write_text(json.dumps(latest, indent=1), encoding="utf-8")


def whereabouts(fingerprint: str | None) -> Path | None:
    """Where a file with this fingerprint was last, if something is there."""
    found = _read().get(fingerprint or "")
    if not found:
        return None
    path = Path(found)
    # a pattern of numbered pictures is no file itself
    return path if exists(path.parent if "%" in path.name else path) else None


def _read() -> dict[str, str]:
    """The list; empty when there is none, or it is not ours."""
    try:
        with _file().open("rb") as file:
            found: Any = json.loads(file.read(LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: path for key, path in found.items() if isinstance(path, str) and "\0" not in path}


def _file() -> Path:
    return cache_folder() / NAME
