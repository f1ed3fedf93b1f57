"""``wan-core doctor``: looks at everything that a run needs, measures the machine, clears caches."""

from __future__ import annotations

import math
import sys

import attrs
import click

from wan_core.cli.caches import COMPILED, KEPT, TEXTS, clean
from wan_core.cli.checks.finding import CHECKS, Finding, examine
from wan_core.cli.failures import tell
from wan_core.cli.options import Strict, debug_option, to_json
from wan_core.cli.text import columns
from wan_core.contract.errors import ResourceError, WorkflowError

SECONDS = 60.0


@click.command(cls=Strict)
@click.option("--calibrate", is_flag=True, help="Measure this machine, for predicted times.")
@click.option(
    "--calibrate-seconds", type=click.FloatRange(0.1, 3600), default=SECONDS, show_default=True,
    metavar="N", help="How long to measure.",
)  # fmt: skip
@click.option(
    "--device", default="auto", show_default=True, metavar="DEVICE", help="What to measure."
)
@click.option("--compile", "compiling", is_flag=True, help="Try torch.compile (up to a minute).")
@click.option("--clean-caches", is_flag=True, help="Delete what can be made again.")
@click.option("--clean-kept", is_flag=True, help="Delete results kept of runs that did not finish.")
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
def doctor(
    calibrate: bool,
    calibrate_seconds: float,
    device: str,
    compiling: bool,
    clean_caches: bool,
    clean_kept: bool,
    json: bool,
) -> int:
    """Check everything that a run needs, and say what to do about what is not in order.

    The exit code is 5 when there is a problem. A note can be lived with.
    """
    if device != "auto" and not calibrate:
        raise WorkflowError(
            "only a calibration is of one device", where="--device", remedy="add --calibrate"
        )
    freed = _clean(clean_caches, clean_kept)
    measured = _calibrate(device, calibrate_seconds) if calibrate else {}
    checks = dict(CHECKS)
    if compiling:
        checks["compiling"] = "wan_core.cli.checks.compiling:trial"
    findings = list(examine(checks))
    if json:
        click.echo(to_json({"findings": findings, "freed": freed, "calibration": measured}))
    else:
        click.echo("\n".join([*_report(findings), *(f"freed: {line}" for line in freed)]))
    problems = any(one.verdict == "problem" for one in findings)
    return ResourceError.exit_code if problems else 0


def _report(findings: list[Finding]) -> list[str]:
    rows = []
    for one in findings:
        text = f"{one.text}; {one.remedy}" if one.remedy else one.text
        rows.append(("" if one.verdict == "ok" else one.verdict, one.check, text))
    found = [one.verdict for one in findings]
    problems, notes = found.count("problem"), found.count("note")
    counts = [
        f"{number} {word}{'s' if number != 1 else ''}"
        for number, word in ((problems, "problem"), (notes, "note"))
        if number
    ]
    return [*columns(rows), "", " and ".join(counts) or "everything is in order"]


def _clean(caches: bool, kept: bool) -> list[str]:
    """What was deleted, a line a sort."""
    from wan_core.memory import gigabytes

    freed = []
    for sort in [TEXTS, COMPILED] * caches + [KEPT] * kept:
        done = clean(sort)
        line = f"{done.count} {sort.title}, {gigabytes(done.nbytes) if done.nbytes else '0 MB'}"
        freed.append(f"{line}; not deleted: {done.stuck}" if done.stuck else line)
    return freed


def _calibrate(device: str, seconds: float) -> dict[str, object]:
    if math.isnan(seconds):  # which is in no range, and is found to be in each
        raise WorkflowError("nan is no length of time", where="--calibrate-seconds")
    from wan_core.planning import look
    from wan_core.planning.calibration import save_calibration

    try:
        from wan_core.engine.measuring import measure
    except (ImportError, OSError) as error:
        raise ResourceError(
            f"torch can't be imported ({error})", remedy="see wan-core doctor"
        ) from error
    machine = look(device, where="--device")
    tell(f"measuring {machine.title} for about {seconds:g} s", sys.stderr)
    found = measure(machine, seconds=seconds, tell=lambda what: tell(f"  {what}", sys.stderr))
    tell(f"written: {save_calibration(found)}", sys.stderr)
    return attrs.asdict(found)
