"""``wan-core rerun``: makes a video again from what it says of itself, and compares the two."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from wan_core.cli.failures import tell
from wan_core.cli.options import Strict, debug_option, discover, without_option
from wan_core.cli.run import summary, terminated_like_interrupted
from wan_core.cli.views import View, choose_view
from wan_core.cli.wanted import Wanted, make_plans, wanted_options
from wan_core.contract.errors import MediaError, WeightsError, WorkflowError
from wan_core.contract.events import RerunCompared
from wan_core.contract.options import show
from wan_core.weights.places import exists

if TYPE_CHECKING:
    from wan_core.media import Comparison
    from wan_core.planning import Plan, Provenance
    from wan_core.plugins import Plugins
    from wan_core.workflow import Workflow

DIFFERENT = 8
"""Exit code of a rerun whose frames are not those of the video."""


@click.command(cls=Strict)
@click.argument("video")
@click.option(
    "--folder",
    metavar="FOLDER",
    help="Where the workflow's relative paths start; the video's own folder when left out.",
)
@click.option(
    "--other-files",
    is_flag=True,
    help="Go on although weights or inputs are not the ones that the video was made with.",
)
@wanted_options
@without_option
@click.option("--json", is_flag=True, help="Print the events of the run, one JSON object a line.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@debug_option  # fmt: skip
def rerun(
    video: str,
    folder: str | None,
    other_files: bool,
    wanted: Wanted,
    without: tuple[str, ...],
    json: bool,
    quiet: bool,
) -> int:
    """Make a video of wan-core again, beside it, and say whether the frames are the same.

    \\b
    wan-core rerun outputs/hello.mp4
    wan-core rerun stranger.mp4 --untrusted
    """
    from wan_core.media import probe
    from wan_core.planning import read_record

    original = Path(video)
    with choose_view(json=json, quiet=quiet) as view, terminated_like_interrupted():
        if not video:
            raise MediaError("no video is named, only empty text", remedy="name a video")
        if original.suffix == ".toml":
            raise MediaError(
                f"{show(original)} is a workflow, not a video",
                remedy=f"say wan-core run {show(original)}",
            )
        base = original.parent if folder is None else _folder(folder)
        record = read_record(probe(original).comment, where=str(original))
        plugins = discover(without)
        workflow = _workflow(original, record, base, wanted, plugins)
        comparable = not wanted.overrides
        plan = _plan(original, workflow, wanted, plugins)
        comparable &= plan.output.suffix.lower() == workflow.output.path.suffix.lower()
        if comparable and _unit(plan.output) == _unit(original):
            raise WorkflowError(
                "this is the video itself, which is needed to compare the new one with",
                where="-o",
                remedy="name another file",
            )
        changed = list(_changed_files(plan, record))
        if changed and not other_files:
            raise WeightsError(
                f"{_listed(changed)} that {show(original.name)} was made with",
                where=str(original),
                remedy="name the right files, or go on with --other-files",
            )
        from wan_core.engine import Session

        with Session(plugins=plugins, device=wanted.device) as session:
            result = session.run(plan, listen=view)
        lines = summary(result)
        if comparable:
            told, code = _compare(original, result.outputs[0], plan, record, view, plugins)
        else:
            told, code = ["not compared, as this run was told to make something else"], 0
    if not (json or quiet):
        tell("\n".join(["", *lines, "", *told]), sys.stdout)
    return code


def _folder(name: str) -> Path:
    """The folder after ``--folder``."""
    try:
        if name and Path(name).is_dir():
            return Path(name)
    except OSError:  # no name that a folder can have
        pass
    raise WorkflowError(
        f"there is no folder {show(name)}", where="--folder", remedy="check the path"
    )


def _workflow(
    original: Path, record: Provenance, folder: Path, wanted: Wanted, plugins: Plugins
) -> Workflow:
    from wan_core.workflow import parse_workflow

    if record.workflow is None:
        raise MediaError(
            "the video keeps only hashes of its workflow, so it can't be made again from itself",
            where=str(original),
            remedy="run the workflow that it was made with",
        )
    workflow = parse_workflow(
        record.workflow,
        name=record.name,
        folder=folder,
        overrides=wanted.overrides,
        plugins=plugins,
    )
    return _with_known_files(workflow, record)


def _plan(original: Path, workflow: Workflow, wanted: Wanted, plugins: Plugins) -> Plan:
    # a stranger's video is confined to where a workflow in its folder would write
    start = workflow.source.folder if wanted.untrusted else original.absolute().parent
    path = _as_template(start / _beside(original, workflow.output.path))
    output = attrs.evolve(workflow.output, path=path, overwrite=False)
    source = workflow.source.overruled(("output", "path"), f"rerun of {original.name}")
    return make_plans([attrs.evolve(workflow, output=output, source=source)], wanted, plugins)[0]


def _with_known_files(workflow: Workflow, record: Provenance) -> Workflow:
    """Files that are not where the video's folder leads, from where they were when it was made."""
    from wan_core.planning.whereabouts import whereabouts
    from wan_core.workflow.paths import options_by_key, paths_in, with_paths

    sums = {**record.weights, **record.inputs}
    files: dict[str, dict[str, Any]] = {
        name: {**model.files, "loras": [use.file for use in model.loras]}
        for name, model in workflow.models.items()
    }
    files["stages"] = {
        **files.get("stages", {}),  # a model may be called so
        **{one.name: {"loras": [use.file for use in one.loras]} for one in workflow.every_stage},
    }
    lost = [
        (key, path)
        for key, path in paths_in({**files, **options_by_key(workflow)})
        if not exists(path)
    ]
    known = {path: found for key, path in lost if (found := whereabouts(sums.get(key)))}
    return attrs.evolve(
        workflow,
        models={
            name: with_paths(model, lambda path: known.get(path, path))
            for name, model in workflow.models.items()
        },
        stages=tuple(
            with_paths(stage, lambda path: known.get(path, path)) for stage in workflow.stages
        ),
    )


def _beside(original: Path, written: Path) -> str:
    """``clip-rerun.mp4`` for ``clip.mp4``.

    Args:
        written: what the workflow called it. A copy in another container is compared with what the
            workflow made, for in its own format the frames would be others.
    """
    from wan_core.media import FORMATS
    from wan_core.media.formats import unit_of

    if unit_of(written) != written:
        folder = original if original.is_dir() else original.parent
        return f"{folder.name}-rerun/{written.name}"
    same = original.suffix.lower() == written.suffix.lower() or written.suffix not in FORMATS
    return f"{original.stem}-rerun{original.suffix if same else written.suffix}"


def _unit(path: Path) -> Path:
    """The file that is a video, or the folder of its pictures, without links."""
    from wan_core.media.formats import unit_of

    return Path(os.path.realpath(path if path.is_dir() else unit_of(path)))


def _as_template(path: Path) -> Path:
    """A path whose braces mean themselves."""
    return Path(str(path).replace("{", "{{").replace("}", "}}"))


def _changed_files(plan: Plan, record: Provenance) -> Iterator[str]:
    """Weights and inputs that are others than those of the record."""
    from wan_core.planning.provenance import fingerprints, input_sums

    pairs = ((record.weights, fingerprints(plan)), (record.inputs, input_sums(plan.workflow)))
    for before, after in pairs:
        yield from (key for key in after if before.get(key) != after[key])


def _listed(changed: list[str]) -> str:
    if len(changed) == 1:
        return f"{changed[0]} is not the file"
    return f"{', '.join(changed[:-1])} and {changed[-1]} are not the files"


def _compare(
    original: Path,
    made: Path,
    plan: Plan,
    record: Provenance,
    view: View,
    plugins: Plugins,
) -> tuple[list[str], int]:
    """What to say of the two videos, and the exit code."""
    from wan_core.media import compare_videos

    found = compare_videos(original, made)
    differences = [] if found.equal else _other_circumstances(plan, record, plugins)
    view(
        RerunCompared(
            found.equal, found.frames, found.first_difference, found.max_difference,
            tuple(differences),
        )
    )  # fmt: skip
    if found.equal:
        return [f"the frames are the same, bit for bit (all {found.frames})"], 0
    return [_difference(found), *differences], DIFFERENT


def _difference(found: Comparison) -> str:
    if found.mismatch:
        return f"the videos are not the same: {found.mismatch}"
    quality = "" if found.psnr is None else f", PSNR {found.psnr:.1f} dB"
    return (
        f"the videos differ from frame {found.first_difference} on, by at most "
        f"{found.max_difference} of 255{quality}"
    )


def _other_circumstances(plan: Plan, record: Provenance, plugins: Plugins) -> list[str]:
    """What is not as it was, of what bits depend on."""
    from wan_core.engine import circumstances
    from wan_core.planning.provenance import versions

    pairs = ((record.versions, versions(plugins)), (record.machine, circumstances(plan)))
    return [
        f"{key} was {show(before.get(key, 'not there'))}, is now {show(now[key])}"
        for before, now in pairs
        for key in now
        if before.get(key) != now[key]
    ]
