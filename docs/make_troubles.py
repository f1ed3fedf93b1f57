"""Makes ``docs/guide/my-file-does-not-load.md`` from the tests' table; with ``--check`` it only compares."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "guide" / "my-file-does-not-load.md"
TABLE = DOCS.parent / "tests" / "bad_input"
sys.path.insert(0, str(TABLE))

from table import Group, Trouble, groups  # noqa: E402 (the tests are no package)

MOST_SHOWN = 8
HOME = "/home/you/videos"
START = """\
# My file does not load

wan-core refuses what can't work before it loads a model, in one sentence: *where* it is, *what* is wrong,
and after a semicolon *what to do*. Three commands find out more, and none of them loads a model:

* `wan-core inspect FILE` says what a file really is, whatever it is called, and which slots it fits.
* `wan-core plan WORKFLOW` checks a workflow with all its files, and shows every setting and the memory it
  needs.
* [`wan-core doctor`](doctor.md) looks at this installation, its device, its disk and its folders.

Below are the sentences by what they are about; search this page for a few words of yours. `w.toml` stands
for your workflow, `v.mp4` for your video, and … for what differs. If you meet a traceback, or a sentence
that does not help, that is a fault of wan-core: please report it with the file, or with its first kilobyte.

(Made from the table of the tests, `tests/bad_input`, by `docs/make_troubles.py`: every sentence is as the
program says it.)"""


def page() -> str:
    """The whole page."""
    found = groups()
    contents = "\n".join(f"* [{one.title}](#{anchor(one.title)})" for one in found)
    return "\n\n".join([START, contents, *map(section, found)]) + "\n"


def section(group: Group) -> str:
    return "\n\n".join([f"## {group.title}", *filter(None, map(entry, group.troubles))])


def entry(trouble: Trouble) -> str:
    """One heading: the sentences that are met, what they mean, what to do."""
    said = [shown(case.says) for case in trouble.cases if case.everyday]
    lines = "\n".join(list(dict.fromkeys(said))[:MOST_SHOWN])
    return (
        f"### {trouble.title}\n\n{trouble.means}\n\n**What to do:** {trouble.do}\n\n"
        f"```text\n{lines}\n```"
    )


def shown(sentence: str) -> str:
    """A sentence as somebody would see it."""
    return sentence.replace("{folder}", HOME).replace("{any}", "…")


def anchor(title: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if parser.parse_args().check:
        print(f"out of date: {PAGE.name}; run python docs/make_troubles.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
