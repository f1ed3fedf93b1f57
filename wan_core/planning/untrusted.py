"""``--untrusted``: what a stranger's workflow may read and write.

It reads only what lies in the model folders (links resolved) and writes one file, into one folder. What it
names is checked before anything is opened; the weights themselves are held to the same folders where they are
looked up (:class:`~wan_core.planning.library.Library`, ``confined``).
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from wan_core.contract.errors import WorkflowError
from wan_core.contract.options import show
from wan_core.media.formats import unit_of
from wan_core.media.patterns import suggested
from wan_core.planning.library import Library
from wan_core.workflow import Workflow
from wan_core.workflow.paths import options_by_key, paths_in


def confine(
    workflow: Workflow, library: Library, folder: Path, *, own_output: bool = False
) -> Workflow:
    """The workflow with its output inside ``folder``, or an error that names what it must not touch.

    An existing file is not replaced, whatever the workflow says.

    Args:
        own_output: the user says where the video goes, so that the workflow's word does not count.

    Raises:
        WorkflowError: a path leads out of the folders.
    """
    for key, path in paths_in(options_by_key(workflow)):
        if not library.contains(path):
            raise WorkflowError(
                f"{show(path)} lies outside the model folders, and --untrusted allows no other",
                where=workflow.source.where(key),
                remedy="move it there if you trust it, or run without --untrusted",
            )
    path = workflow.output.path if own_output else _inside(workflow, folder)
    output = attrs.evolve(workflow.output, path=path, overwrite=False)
    return attrs.evolve(workflow, output=output)


def check_confined(workflow: Workflow, path: Path, folder: Path) -> None:
    """Refuse a video that would lie outside ``folder``, or be all of it, links resolved.

    Args:
        path: what is written, the fields of its name filled in: any of them may be the name of a link.

    Raises:
        WorkflowError: it would.
    """
    real, allowed = (Path(os.path.realpath(one)) for one in (unit_of(path), folder))
    if not real.is_relative_to(allowed):
        raise _outside(workflow, path, folder)
    if real == allowed:
        raise WorkflowError(
            f"the pictures would take the place of all that is in {show(folder)}",
            where=workflow.source.where("output.path"),
            remedy=f'give them a folder of their own, such as "{suggested(path)}"',
        )


def _inside(workflow: Workflow, folder: Path) -> Path:
    asked = workflow.output.path
    base = workflow.source.folder
    if not asked.is_relative_to(base) or ".." in asked.relative_to(base).parts:
        raise _outside(workflow, asked, folder)
    path = folder / asked.relative_to(base)
    check_confined(workflow, path, folder)
    return path


def _outside(workflow: Workflow, path: Path, folder: Path) -> WorkflowError:
    return WorkflowError(
        f"{show(path)} lies outside {show(folder)}, and --untrusted writes nowhere else",
        where=workflow.source.where("output.path"),
        remedy="say where the video shall go with -o",
    )
