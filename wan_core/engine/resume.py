"""Finding the unfinished run that a plan goes on with, or saying in one sentence why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wan_core.contract.errors import ResourceError, WorkflowError
from wan_core.contract.options import show
from wan_core.engine.identity import differences, digest, identity
from wan_core.engine.run import circumstances
from wan_core.engine.unfinished import Card, Taken, Unfinished, take, unfinished
from wan_core.planning import Plan
from wan_core.plugins import Plugins


def card_of(plan: Plan, plugins: Plugins, arguments: Sequence[str]) -> Card:
    """What the folder of a plan's run says of it.

    Args:
        arguments: of ``wan-core run``; empty when it is not what runs the plan.
    """
    facts = identity(plan, plugins, circumstances(plan))
    source = plan.workflow.source
    return Card(
        source.name,
        str(source.folder.absolute()),
        source.label,
        tuple(arguments),
        digest(facts),
        facts,
    )


def runs_of(card: Card, cache: Path) -> list[Unfinished]:
    """The unfinished runs of the same workflow file, newest first."""
    return [
        run
        for run in unfinished(cache)
        if (run.card.workflow, run.card.folder) == (card.workflow, card.folder)
    ]


def take_same(card: Card, runs: Sequence[Unfinished]) -> Taken | None:
    """The newest of the runs with the same plan; None when there is none.

    Raises:
        ResourceError: another process is at it.
    """
    same = [run for run in runs if run.card.plan == card.plan and not run.card.outputs]
    for run in same:
        if (taken := take(run)) is not None:
            return taken
    if same:
        raise ResourceError(
            f"the run of {show(card.workflow)} to go on with is still going on, in another process",
            remedy="wait for it, or stop it",
        )
    return None


def refuse(card: Card, runs: Sequence[Unfinished]) -> WorkflowError:
    """The error of a plan that no unfinished run can go on with.

    Args:
        runs: of the same workflow.
    """
    others = [run for run in runs if not run.card.outputs]
    if not others:
        return WorkflowError(
            f"there is no unfinished run of {show(card.workflow)}",
            where="--resume",
            remedy="run it without --resume",
        )
    run = others[0]
    decode = f", or see wan-core runs --help for decoding what {run.name} has kept"
    return WorkflowError(
        f"the unfinished run of {show(card.workflow)} had another plan: "
        f"{differences(run.card.facts, card.facts) or 'what it says of itself is damaged'}",
        where="--resume",
        remedy="make it the same again, or run it without --resume"
        + (decode if run.kept() else ""),
    )
