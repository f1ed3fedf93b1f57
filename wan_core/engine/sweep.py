"""A sweep: several plans in one session, everything loaded once, and a picture of what came out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import WanCoreError
from wan_core.contract.events import Listener, Note
from wan_core.engine.results import RunResult
from wan_core.media import labelled_sheet, probe, read_frames
from wan_core.media.files import replacing
from wan_core.planning import Plan
from wan_core.planning.output import with_ending

FRAMES = 6
"""Frames of each result on the contact sheet."""


def with_all_texts(plans: Sequence[Plan]) -> list[Plan]:
    """The same plans, of which the first also encodes the texts of the others.

    The text encoder is then needed once, and the others find their texts in the cache.
    """
    texts: dict[str, tuple[str, ...]] = {}
    for plan in plans:
        for model, prompts in plan.texts.items():
            texts[model] = tuple(dict.fromkeys((*texts.get(model, ()), *prompts)))
    return [attrs.evolve(plans[0], texts=texts), *plans[1:]]


def make_sheet(
    plans: Sequence[Plan], outcomes: Sequence[RunResult | Exception], emit: Listener
) -> Path | None:
    """Draw the contact sheet beside the first video. Trouble with it is a note, and no failure."""
    rows = [
        (plan.workflow.source.label, _some(one.outputs[0]) if isinstance(one, RunResult) else [])
        for plan, one in zip(plans, outcomes, strict=True)
    ]
    made = [one.outputs[0] for one in outcomes if isinstance(one, RunResult)]
    if not made:
        return None
    target = _sheet_path(plans, made)
    try:
        with replacing(target) as partial:
            partial.write_bytes(labelled_sheet(rows))
    except WanCoreError as error:
        emit(Note(f"the contact sheet could not be made: {error}", "warning"))
        return None
    return target


def _some(video: Path) -> list[Any]:
    count = probe(video).frames
    wanted = {round(i * (count - 1) / max(1, FRAMES - 1)) for i in range(FRAMES)}
    return [frame for index, frame in enumerate(read_frames(video)) if index in wanted]


def _sheet_path(plans: Sequence[Plan], made: Sequence[Path]) -> Path:
    """``clip-1.mp4``, ``clip-2.mp4`` -> ``clip-sheet.png``; never in the place of another file."""
    units = [path.parent if "%" in path.name else path for path in made]
    columns = takewhile(lambda one: len(set(one)) == 1, zip(*(u.stem for u in units), strict=False))
    stem = "".join(column[0] for column in columns).rstrip("-_.0123456789")
    if not stem:
        stem = Path(plans[0].workflow.source.name).stem
    target = units[0].parent / f"{stem}-sheet.png"
    return next(free for free in _numbered(target) if not os.path.lexists(free))


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 2
    while True:
        yield with_ending(path, f"-{number}")
        number += 1


def title(number: int, plans: Sequence[Plan]) -> str:
    """``"run 2 of 3 (seed 7)"``."""
    return f"run {number} of {len(plans)} ({plans[number - 1].workflow.source.label})"
