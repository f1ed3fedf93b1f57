"""``python -m wan_core.testing.golden FOLDER… [--strict] [--plugin MODULE]``: compare with reference cases.

Prints case, worst error, tolerance and verdict. Exit code 0: every kind that is built passes; 1: a case
failed, or nothing ran; 2: a case of an unknown kind. With ``--strict``, "not built" counts as failed.
``--plugin`` adds the kinds of a plugin that is not installed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from wan_core.plugins import Plugins
from wan_core.testing.golden.runner import Outcome, Verdict, find_cases, handlers, run_case


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m wan_core.testing.golden", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--strict", action="store_true", help='"not built" counts as failed')
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="use a plugin that is not installed, by the name of its module; may be given again",
    )
    options = parser.parse_args(arguments)
    if missing := [str(folder) for folder in options.folders if not folder.exists()]:
        print(f"there is no folder {', '.join(missing)}", file=sys.stderr)
        return 1

    plugins = Plugins.discover(modules=options.plugin)
    if any(one.problem for one in plugins.installed if one.name in options.plugin):
        print(*plugins.problems, sep="\n", file=sys.stderr)
        return 1
    known = handlers(plugins)
    counts: Counter[Verdict] = Counter()
    for path in find_cases(options.folders):
        outcome = run_case(path, known)
        counts[outcome.verdict] += 1
        print(_line(outcome), flush=True)
    print(", ".join(f"{n} {verdict.value}" for verdict, n in counts.items()) or "no cases found")
    return _exit_code(counts, strict=options.strict)


def _line(outcome: Outcome) -> str:
    worst = outcome.worst
    figures = f"{worst.error:9.2e} of {worst.bound:7.0e}" if worst else " " * 20
    name = f"{outcome.path.parent.name}/{outcome.path.stem}"
    note = f"  {outcome.note}" if outcome.note else ""
    return f"{name:48} {figures}  {outcome.verdict.value}{note}"


def _exit_code(counts: Counter[Verdict], *, strict: bool) -> int:
    if counts[Verdict.UNKNOWN]:
        return 2
    if counts[Verdict.FAILED] or (strict and counts[Verdict.NOT_BUILT]):
        return 1
    return 0 if counts[Verdict.PASSED] else 1


if __name__ == "__main__":
    sys.exit(main())
