"""``wan-core run``: plans and runs a workflow, shows what happens, and sums up."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from wan_core.cli.failures import explain, tell
from wan_core.cli.options import (
    Strict,
    debug_option,
    discover,
    preview_option,
    without_option,
)
from wan_core.cli.terminals import pictures_on
from wan_core.cli.text import columns, duration, short_path
from wan_core.cli.views import choose_view
from wan_core.cli.wanted import Wanted, make_plans, wanted_options
from wan_core.contract.errors import WorkflowError
from wan_core.contract.events import Listener

if TYPE_CHECKING:
    from wan_core.cli.terminals import Draw
    from wan_core.engine import RunResult, SweepResult
    from wan_core.planning import Plan

PATIENCE = 3.0
"""Seconds that cleaning up after Ctrl-C has, before another one breaks into it."""


@click.command(cls=Strict)
@click.argument("workflow", required=False)
@click.option("--resume", is_flag=True, help="Go on with the run that was cut short; same bits.")
@wanted_options
@without_option
@click.option("--json", is_flag=True, help="Print the events of the run, one JSON object a line.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@preview_option
@debug_option
def run(
    workflow: str | None,
    resume: bool,
    wanted: Wanted,
    without: tuple[str, ...],
    json: bool,
    quiet: bool,
    preview: str,
) -> int:
    """Run a workflow and write its video; with lists of seeds or prompts, one for each.

    \b
    wan-core run examples/hello.toml
    wan-core run hello.toml -s stages.0.seed=7 -o seven.mp4
    wan-core run hello.toml -s stages.0.seed=1,2,3 -o "{name}-{seed}.mp4"
    wan-core run hello.toml --resume

    Without a WORKFLOW, --resume goes on with the last run that was cut short.
    """
    if workflow is None and not resume:
        raise click.UsageError("missing argument 'WORKFLOW'", click.get_current_context())
    draw = None if json or quiet else drawing(preview)
    with choose_view(json=json, quiet=quiet, draw=draw) as view, terminated_like_interrupted():
        if preview == "terminal" and draw is None:
            raise WorkflowError(
                "there is no terminal here that can show pictures",
                where="--preview=terminal",
                remedy="use --preview=file",
            )
        from wan_core.cli.unfinished import Asked, asked_before, newest, plans_to_go_on
        from wan_core.workflow import load_workflows

        if workflow is None:
            asked = asked_before(newest(), wanted, without)
        else:
            asked = Asked(workflow, wanted, without)
        plugins = discover(asked.without)
        loaded = load_workflows(asked.workflow, asked.wanted.overrides, plugins=plugins)
        given = (loaded, asked.wanted, plugins)
        plans = plans_to_go_on(*given) if resume else make_plans(*given)
        # only now is torch imported: what can't work has been said already
        from wan_core.engine import Session

        previews = preview != "off"
        listen: Listener = view
        if previews and draw is None:
            from wan_core.cli.preview_file import PreviewFiles

            listen = PreviewFiles([plan.output for plan in plans], view)
        with Session(
            plugins=plugins, device=asked.wanted.device, arguments=asked.arguments()
        ) as session:
            if len(plans) > 1:
                sweep = session.sweep(plans, listen=listen, previews=previews, resume=resume)
                lines, code = sweep_summary(sweep, plans), failure_code(sweep)
            else:
                result = session.run(plans[0], listen=listen, previews=previews, resume=resume)
                lines, code = summary(result), 0
    if not (json or quiet):
        tell("\n".join(["", *lines]), sys.stdout)
    return code


def drawing(preview: str) -> Draw | None:
    """What draws previews on this terminal; None where they are not wanted there, or it can't show them."""
    if preview not in ("auto", "terminal"):
        return None
    return pictures_on(sys.stderr, any_colours=preview == "terminal")


def summary(result: RunResult) -> list[str]:
    """Time by stage and task, peak memory, and what was written."""
    from wan_core.memory import gigabytes

    tasks = {key: s for key, s in result.seconds.items() if " / " in key}
    stages: dict[str, float] = {}
    for key, seconds in tasks.items():
        stage = key.partition(" / ")[0]
        stages[stage] = result.seconds.get(stage, stages.get(stage, 0.0) + seconds)
    rows = []
    for stage, seconds in stages.items():
        rows.append((stage, duration(seconds)))
        for key, part in tasks.items():
            if key.startswith(f"{stage} / "):
                rows.append((f"  {key.partition(' / ')[2]}", duration(part)))
    if "total" in result.seconds:
        rows.append(("total", duration(result.seconds["total"])))
    memory = f"{gigabytes(result.peak_ram)} RAM"
    predicted = gigabytes(result.predicted_peak) if result.predicted_peak else ""
    if result.peak_vram is not None:
        memory += f", {gigabytes(result.peak_vram)} VRAM in tensors"
        if predicted:
            memory += f" (predicted {predicted} with what CUDA takes)"
    elif predicted:
        memory += f" (predicted {predicted} and what Python and its libraries take)"
    rows.append(("peak memory", memory))
    if result.moved:
        hidden = "" if result.hidden is None else f", {result.hidden:.0%} of it hidden"
        rows.append(("swapped in", f"{gigabytes(result.moved)}{hidden}"))
    rows += [("recovered", str(one)) for one in result.recoveries]
    rows += [("written", short_path(path)) for path in result.outputs]
    return columns(rows)


def sweep_summary(sweep: SweepResult, plans: Sequence[Plan]) -> list[str]:
    """A line for each run, for what each has recovered from, and for the contact sheet."""
    rows = []
    for plan, outcome in zip(plans, sweep.outcomes, strict=True):
        label = plan.workflow.source.label
        if isinstance(outcome, Exception):
            rows.append((label, "failed", explain(outcome)[0]))
        else:
            seconds = duration(outcome.seconds["total"])
            rows.append((label, seconds, ", ".join(map(short_path, outcome.outputs))))
            rows += [("", "recovered", str(one)) for one in outcome.recoveries]
    if sweep.sheet:
        rows.append(("contact sheet", "", short_path(sweep.sheet)))
    return columns(rows)


def failure_code(sweep: SweepResult) -> int:
    """The exit code of the first run that failed; 0 when none did."""
    return next((explain(one)[1] for one in sweep.failures), 0)


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    # batch systems and container runtimes say SIGTERM, a lost connection says SIGHUP: leave as tidily
    # as after Ctrl-C; but nohup has SIGHUP ignored, and means it, and so has a shell Ctrl-C for jobs
    # in its background
    heeded = [signal.SIGINT] if sys.platform == "win32" else [signal.SIGINT, signal.SIGHUP]
    before = {one: signal.getsignal(one) for one in heeded}
    before = {one: handler for one, handler in before.items() if handler != signal.SIG_IGN}
    before[signal.SIGTERM] = signal.getsignal(signal.SIGTERM)
    stopped = -PATIENCE

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        now = time.monotonic()
        # who is impatient presses it twice, and the second one must not leave half a file behind
        if now - stopped >= PATIENCE:
            stopped = now
            raise KeyboardInterrupt

    for one in before:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
