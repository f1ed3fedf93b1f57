"""``wan-core run``: plans and runs a workflow, shows what happens, and sums up."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from wan_core.cli.failures import tell
from wan_core.cli.options import debug_option, discover, without_option, workflow_options
from wan_core.cli.text import columns, duration, short_path
from wan_core.cli.views import choose_view
from wan_core.contract.errors import WorkflowError
from wan_core.contract.options import show, unprintable

if TYPE_CHECKING:
    from wan_core.engine import RunResult
    from wan_core.planning import Plan
    from wan_core.plugins import Plugins


@click.command()
@workflow_options
@without_option
@click.option("--json", is_flag=True, help="Print the events of the run, one JSON object a line.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@debug_option
def run(
    workflow: str,
    overrides: tuple[str, ...],
    device: str,
    output: str | None,
    without: tuple[str, ...],
    json: bool,
    quiet: bool,
) -> None:
    """Run a workflow and write its video.

    \b
    wan-core run examples/hello.toml
    wan-core run hello.toml -s stages.0.seed=7 -o seven.mp4
    """
    with choose_view(json=json, quiet=quiet) as view, _terminated_like_interrupted():
        plugins = discover(without)
        plan = make_plan(workflow, overrides, output, device, plugins)
        # only now is torch imported: what can't work has been said already
        from wan_core.engine import Session

        with Session(plugins=plugins, device=device) as session:
            result = session.run(plan, listen=view)
    if not (json or quiet):
        tell("\n".join(["", *summary(result)]), sys.stdout)


def make_plan(
    workflow: str,
    overrides: tuple[str, ...],
    output: str | None,
    device: str,
    plugins: Plugins,
) -> Plan:
    """Read, overrule and plan a workflow; ``output`` counts from the current folder.

    What is wrong with ``output`` and ``device`` is said of ``-o`` and ``--device``.
    """
    from wan_core.planning import make_plan as plan_it
    from wan_core.workflow import load_workflow

    loaded = load_workflow(workflow, overrides, plugins=plugins)
    if output is not None:
        target = attrs.evolve(loaded.output, path=_target(output))
        source = loaded.source.overruled(("output", "path"), "-o")
        loaded = attrs.evolve(loaded, output=target, source=source)
    if device != "auto":
        for name in loaded.models:
            source = loaded.source.overruled(("models", name, "device"), "--device")
            loaded = attrs.evolve(loaded, source=source)
    return plan_it(loaded, plugins, device=device)


def _target(output: str) -> Path:
    """The path after ``-o``; ``~`` is the home folder, also where the shell has left it alone."""
    problem = "must not be empty" if not output else unprintable(output)
    if set(output) & set("\n\t"):
        problem = "has a line end or a tab in it"
    if problem:
        raise WorkflowError(f"the path of the video {problem}", where="-o")
    try:
        return Path(output).expanduser().absolute()
    except RuntimeError:
        problem = f"{show(output)} names a home folder that does not exist"
        raise WorkflowError(problem, where="-o") from None


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
    if result.peak_vram is not None:
        memory += f", {gigabytes(result.peak_vram)} VRAM"
    rows.append(("peak memory", memory))
    rows += [("written", short_path(path)) for path in result.outputs]
    return columns(rows)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    # batch systems and container runtimes say SIGTERM, a lost connection says SIGHUP: leave as tidily
    # as after Ctrl-C; but nohup has SIGHUP ignored, and means it
    before = {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
    for one in before:
        signal.signal(one, signal.default_int_handler)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
