"""A finding, and the run through all checks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

import attrs

from wan_core.contract.lazy import resolve
from wan_core.plugins import brief

Verdict = Literal["ok", "note", "problem"]
Check = Callable[[], Iterable["Finding"]]

CHECKS: Mapping[str, str] = {
    "Python": "wan_core.cli.checks.software:python",
    "packages": "wan_core.cli.checks.software:packages",
    "torch": "wan_core.cli.checks.software:torch_build",
    "devices": "wan_core.cli.checks.devices:devices",
    "precision": "wan_core.cli.checks.devices:precisions",
    "attention": "wan_core.cli.checks.devices:attention",
    "compiling": "wan_core.cli.checks.compiling:tools",
    "memory": "wan_core.cli.checks.machine:memory",
    "disk": "wan_core.cli.checks.machine:disk",
    "video": "wan_core.cli.checks.video:encoders",
    "configuration": "wan_core.cli.checks.setup:configuration",
    "plugins": "wan_core.cli.checks.setup:plugins",
    "caches": "wan_core.cli.checks.setup:caches",
    "predicted time": "wan_core.cli.checks.setup:calibration",
    "environment": "wan_core.cli.checks.environment:variables",
    "terminal": "wan_core.cli.checks.environment:terminal",
}
"""Title -> import string, in the order of the report."""


@attrs.frozen
class Finding:
    """What a check has found.

    Attributes:
        verdict: a note can be lived with; a problem makes runs fail or far slower than they need be.
        text: one sentence, without a full stop.
        remedy: what to do about it, as a phrase; "" for what is in order.
        check: title of the check, filled in by :func:`examine`.
    """

    verdict: Verdict
    text: str
    remedy: str = ""
    check: str = ""


def ok(text: str) -> Finding:
    """Something that is in order."""
    return Finding("ok", text)


def note(text: str, remedy: str) -> Finding:
    """Something to know."""
    return Finding("note", text, remedy)


def problem(text: str, remedy: str) -> Finding:
    """Something to mend."""
    return Finding("problem", text, remedy)


def examine(checks: Mapping[str, str | Check] = CHECKS) -> Iterator[Finding]:
    """Run the checks; one that fails is itself a finding."""
    for title, check in checks.items():
        try:
            function: Check = resolve(check) if isinstance(check, str) else check
            with warnings.catch_warnings():
                # torch warns of what the findings say
                warnings.simplefilter("ignore")
                found = list(function())
        except (Exception, SystemExit) as error:
            found = [note(f"this could not be checked ({brief(error)})", "please report it")]
        for one in found:
            yield attrs.evolve(one, check=title)
