"""Runs reference cases through the product's own classes and says how they compare."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.lazy import resolve
from wan_core.plugins import Plugins
from wan_core.testing.golden.case import Case, Check, NotBuilt

Handler = Callable[[Case], None]
OWN_HANDLERS = tuple(
    f"wan_core.testing.golden.kinds.{topic}:HANDLERS"
    for topic in (
        "samplers",
        "transformer",
        "lora",
        "quantisation",
        "conditioning",
        "vae",
        "encoders",
    )
)


class Verdict(Enum):
    """How a case ended."""

    PASSED = "ok"
    FAILED = "FAILED"
    NOT_BUILT = "not built"
    UNKNOWN = "unknown kind"


@attrs.frozen
class Outcome:
    """A case and how it ended; ``worst`` is the check closest to (or furthest over) its bound."""

    path: Path
    kind: str
    verdict: Verdict
    worst: Check | None = None
    note: str = ""


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def handlers(
    plugins: Plugins | None = None, report: Callable[[str], None] = _to_stderr
) -> dict[str, Handler]:
    """Kind -> handler, of the core and of every plugin in use.

    A kind belongs to whoever brings it first, the core before all plugins.

    Args:
        report: gets a line for every plugin that is broken, every table of handlers that does not
            import, and every kind that a second table claims.
    """
    merged: dict[str, Handler] = {}
    owners: dict[str, str] = {}

    def add(source: str, table: Mapping[str, Handler]) -> None:
        for kind, handler in table.items():
            if owners.setdefault(kind, source) == source:
                merged[kind] = handler
            else:
                report(f"{source} is not used for kind {kind}, which {owners[kind]} computes")

    for source in OWN_HANDLERS:
        add(source, resolve(source))
    plugins = plugins or Plugins.discover()
    for problem in plugins.problems:
        report(problem)
    for source in plugins.golden_handlers:
        try:
            add(source, dict(resolve(source)))
        except Exception as error:
            report(f"{source} does not import: {type(error).__name__}: {error}")
    return merged


def find_cases(folders: Iterable[Path]) -> list[Path]:
    """Every JSON file below the folders (or the file itself) that says it is a case, or is damaged."""
    found: set[Path] = set()
    for folder in folders:
        files = [folder] if folder.is_file() else folder.rglob("*.json")
        found.update(path for path in files if _is_case(path))
    return sorted(found)


def run_case(path: Path, known: Mapping[str, Handler]) -> Outcome:
    """Run one case.

    A kind without a handler is unknown where others of its topic (what stands before the dot) have one, and not
    built where no package in use has anything of that topic.

    Args:
        known: kind -> handler.
    """
    try:
        case = Case(path)
    except (ValueError, OSError) as error:
        return Outcome(path, "", Verdict.FAILED, note=f"{type(error).__name__}: {error}")
    handler = known.get(case.kind)
    if handler is None:
        topic = _topic(case.kind)
        if topic in map(_topic, known):
            return Outcome(path, case.kind, Verdict.UNKNOWN)
        note = f"no package in use computes kinds of {topic!r}"
        return Outcome(path, case.kind, Verdict.NOT_BUILT, note=note)
    try:
        handler(case)
    except NotBuilt as reason:
        if all(check.ok for check in case.checks):
            return Outcome(path, case.kind, Verdict.NOT_BUILT, note=str(reason))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        note = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return Outcome(path, case.kind, Verdict.FAILED, note=note)
    return _judge(case)


def _topic(kind: str) -> str:
    return kind.partition(".")[0]


def _judge(case: Case) -> Outcome:
    if not case.checks:
        return Outcome(case.path, case.kind, Verdict.FAILED, note="nothing was compared")
    worst = max(case.checks, key=_closeness)
    failed = [check for check in case.checks if not check.ok]
    uncompared = case.uncompared()
    notes = []
    if failed:
        notes.append(f"{len(failed)} of {len(case.checks)} checks: {failed[0].name}")
        notes.append(failed[0].note)
    if uncompared:
        notes.append(f"not compared: {', '.join(uncompared[:3])} ({len(uncompared)} in all)")
    verdict = Verdict.FAILED if failed or uncompared else Verdict.PASSED
    return Outcome(case.path, case.kind, verdict, worst, "; ".join(filter(None, notes)))


def _closeness(check: Check) -> float:
    """How much of its bound a check uses; NaN errors are the worst there is."""
    if not check.ok:
        return float("inf")
    return check.error / check.bound if check.bound > 0 else 0.0


def _is_case(path: Path) -> bool:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return True  # it may be one: running it says what is wrong with it
    return isinstance(data, dict) and "kind" in data and "tolerance_rel" in data
