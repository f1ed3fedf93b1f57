"""A sweep: several plans in one session, everything loaded once, and a picture of what came out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import WanCoreError, WeightsError
from wan_core.contract.events import Listener, Note, Recovered
from wan_core.engine.recoveries import read_recoveries
from wan_core.engine.results import RunResult
from wan_core.engine.resume import card_of, refuse, runs_of
from wan_core.engine.unfinished import Card, Unfinished
from wan_core.media import labelled_sheet, probe, read_frames
from wan_core.media.files import file_errors, replacing
from wan_core.media.formats import unit_of
from wan_core.planning import Plan
from wan_core.plugins import Plugins
from wan_core.weights.places import exists

FRAMES = 6
"""Frames of each result on the contact sheet."""


@attrs.frozen(eq=False)
class SweepKept:
    """What is left of the runs of a sweep until it is over.

    Attributes:
        cards: of its runs, in order.
        runs: unfinished runs of the workflow, as the sweep begins.
    """

    cards: Sequence[Card]
    runs: Sequence[Unfinished]
    cache: Path

    @classmethod
    def of(
        cls, plans: Sequence[Plan], plugins: Plugins, arguments: Sequence[str], cache: Path
    ) -> SweepKept:
        """Look at what there is."""
        cards = [card_of(plan, plugins, arguments) for plan in plans]
        return cls(cards, runs_of(cards[0], cache) if cards else [], cache)

    def check(self) -> None:
        """Refuse to go on where nothing is left of any of the runs.

        Raises:
            WorkflowError: it says whether there is nothing, or what differs.
        """
        hashes = {run.card.plan for run in self.runs}
        if self.cards and not any(card.plan in hashes for card in self.cards):
            raise refuse(self.cards[0], self.runs)

    def made(self, card: Card) -> RunResult | None:
        """What a run made that is over, while it is there."""
        for run in self.runs:
            outputs = tuple(map(Path, run.card.outputs))
            if run.card.plan == card.plan and outputs and all(map(exists, outputs)):
                recoveries: tuple[Recovered, ...] = ()
                with suppress(WeightsError):
                    recoveries = read_recoveries(run.path).made
                return RunResult(outputs, {"total": 0.0}, 0, None, recoveries=recoveries)
        return None

    def forget(self) -> None:
        """The sweep is over."""
        hashes = {card.plan for card in self.cards}
        for run in runs_of(self.cards[0], self.cache) if self.cards else ():
            if run.card.outputs and run.card.plan in hashes:
                shutil.rmtree(run.path, ignore_errors=True)


def with_all_texts(plans: Sequence[Plan]) -> list[Plan]:
    """The same plans, of which the first also encodes the texts of the others.

    The text encoder is then needed once, and the others find their texts in the cache.
    """
    texts: dict[str, tuple[str, ...]] = {}
    for plan in plans:
        for model, prompts in plan.texts.items():
            texts[model] = tuple(dict.fromkeys((*texts.get(model, ()), *prompts)))
    return [attrs.evolve(one, texts=texts) for one in plans[:1]] + [*plans[1:]]


def make_sheet(
    plans: Sequence[Plan], outcomes: Sequence[RunResult | Exception], emit: Listener
) -> Path | None:
    """Draw the contact sheet beside the first video. Trouble with it is a note, and no failure."""
    made = [one.outputs[0] for one in outcomes if isinstance(one, RunResult)]
    if not made:
        return None
    path = _sheet_path(plans, made)
    try:
        rows = [
            (_label(plan), _some(one.outputs[0]) if isinstance(one, RunResult) else [])
            for plan, one in zip(plans, outcomes, strict=True)
        ]
        with replacing(path, may_replace=lambda _: False) as partial, file_errors(str(path)):
            partial.hidden.write_bytes(labelled_sheet(rows))
    except WanCoreError as error:
        emit(Note(f"the contact sheet could not be made: {error}", "warning"))
        return None
    return partial.path


def _label(plan: Plan) -> str:
    """What tells a run from the others; no prompt where the videos shall not tell theirs."""
    source = plan.workflow.source
    if plan.workflow.output.provenance == "full":
        return source.label
    return ", ".join(
        text if text.startswith(key) else f"{key} {text}" for key, text in source.varied
    )


def _some(video: Path) -> list[Any]:
    count = probe(video).frames
    wanted = {round(i * (count - 1) / max(1, FRAMES - 1)) for i in range(FRAMES)}
    return [frame for index, frame in enumerate(read_frames(video)) if index in wanted]


def _sheet_path(plans: Sequence[Plan], made: Sequence[Path]) -> Path:
    """Beside the first video, named after the workflow: ``hello-sheet.png``."""
    name = f"{Path(plans[0].workflow.source.name).stem}-sheet.png"
    return unit_of(made[0]).parent / name


def title(number: int, plans: Sequence[Plan]) -> str:
    """``"run 2 of 3 (seed 7)"``."""
    return f"run {number} of {len(plans)} ({plans[number - 1].workflow.source.label})"
