"""What the commands know of runs that did not finish: how they were asked for, and what goes on with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from wan_core.cli.wanted import Wanted, make_plans
from wan_core.config import cache_folder
from wan_core.contract.errors import WanCoreError, WorkflowError
from wan_core.contract.options import show
from wan_core.engine.unfinished import Card, is_free, unfinished

if TYPE_CHECKING:
    from wan_core.planning import Plan
    from wan_core.plugins import Plugins
    from wan_core.workflow import Workflow


@attrs.frozen
class Asked:
    """How ``wan-core run`` was asked for a run.

    Attributes:
        workflow: the file.
        without: plugins that are left out.
    """

    workflow: str
    wanted: Wanted
    without: tuple[str, ...] = ()

    def arguments(self) -> tuple[str, ...]:
        """The same as arguments that mean the same in every folder; empty when there can be none."""
        path = Path(self.workflow).absolute()
        if path.parts[1:2] == ("dev",) or not path.is_file():
            return ()
        wanted = self.wanted
        said: list[str] = [str(path)]
        for override in wanted.overrides:
            said += ["-s", override]
        if wanted.output is not None:
            said += ["-o", str(Path(wanted.output).expanduser().absolute())]
        if wanted.device != "auto":
            said += ["--device", wanted.device]
        said += ["--overwrite"] * wanted.overwrite + ["--untrusted"] * wanted.untrusted
        for name in self.without:
            said += ["--without", name]
        return tuple(said)


def asked_before(card: Card, more: Wanted = Wanted(), without: Sequence[str] = ()) -> Asked:  # noqa: B008
    """How an unfinished run was asked for.

    Args:
        more: what the command line says now; it is added, and counts where both say something.
        without: likewise.

    Raises:
        WorkflowError: that is not known, or the workflow is gone.
    """
    if not card.arguments:
        raise WorkflowError(
            f"nothing is known of how {show(card.workflow)} was run: its workflow was no file, or something "
            "else than wan-core run has run it",
            remedy="give the same workflow to wan-core run --resume, or to Session.run(resume=True)",
        )
    said = _read(card.arguments)
    if said is None:
        raise WorkflowError(
            f"what is kept of how {show(card.workflow)} was run is damaged",
            remedy="name its workflow to wan-core run --resume",
        )
    if not Path(said["workflow"]).exists():
        raise WorkflowError(
            f'the workflow "{said["workflow"]}" of the unfinished run is not there any more',
            remedy="put it back where it was",
        )
    device = more.device if more.device != "auto" else said["device"]
    wanted = Wanted(
        overrides=(*said["overrides"], *more.overrides),
        device=device,
        output=said["output"] if more.output is None else more.output,
        overwrite=said["overwrite"] or more.overwrite,
        untrusted=said["untrusted"] or more.untrusted,
    )
    return Asked(said["workflow"], wanted, (*said["without"], *without))


def _read(arguments: Sequence[str]) -> Mapping[str, Any] | None:
    """The parameters of ``wan-core run`` that arguments give; None for those that a run can't have had."""
    from wan_core.cli.run import run

    # click answers some options at once, --help for one, and then ends the program
    plain = [one for one in run.params if not one.is_eager]
    silent = click.Command("run", params=plain, add_help_option=False)
    try:
        said = silent.make_context("wan-core run", list(arguments)).params
    except (click.ClickException, WanCoreError):
        return None
    return said if said.get("workflow") else None


def newest() -> Card:
    """The newest run that did not finish, of those that ``wan-core run`` has begun.

    Raises:
        WorkflowError: there is none.
    """
    for run in unfinished(cache_folder()):
        known = run.card.arguments and _read(run.card.arguments)
        if known and not run.card.outputs and is_free(run.path):
            return run.card
    raise WorkflowError(
        "there is no unfinished run", where="--resume", remedy="name a workflow to run"
    )


def plans_to_go_on(
    loaded: Sequence[Workflow], wanted: Wanted, plugins: Plugins
) -> tuple[Plan, ...]:
    """Plans as :func:`make_plans` makes them, where videos may be there already.

    Of a sweep those of the runs that are over; and a run may have been killed when its video had its name and
    nobody knew yet. They are not replaced for that: where one is in the way, the new one gets another name.
    """
    plans = make_plans(loaded, attrs.evolve(wanted, overwrite=True), plugins)
    return tuple(_with_own_overwrite(plans, loaded, wanted))


def _with_own_overwrite(
    plans: Sequence[Plan], loaded: Sequence[Workflow], wanted: Wanted
) -> Iterator[Plan]:
    for plan, workflow in zip(plans, loaded, strict=True):
        own = wanted.overwrite or (workflow.output.overwrite and not wanted.untrusted)
        output = attrs.evolve(plan.workflow.output, overwrite=own)
        yield attrs.evolve(plan, workflow=attrs.evolve(plan.workflow, output=output))
