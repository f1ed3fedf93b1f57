"""``wan-core ati``: its only command so far is ``preview``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wan_core.contract import WorkflowError
from wan_core.contract.options import OptionError, show

if TYPE_CHECKING:
    from wan_plugin_ati.preview import Scene

WORKFLOW = ".toml"


def run(arguments: list[str]) -> int:
    """Run ``wan-core ati`` with these arguments; its exit code.

    Raises:
        WanCoreError: whatever is wrong, as one sentence.
    """
    with ati.make_context("wan-core ati", arguments or ["--help"]) as context:
        ati.invoke(context)
    return 0


class _Group(click.Group):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if not args[0].startswith("-") and args[0] not in self.commands:
            known = ", ".join(self.commands)
            raise WorkflowError(
                f"there is no command {show(args[0])} of wan-core ati", remedy=f"known are: {known}"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def ati() -> None:
    """Trajectories: points of a picture follow tracks that you draw."""


@ati.command()
@click.argument("source")
@click.option(
    "--picture", help="The picture that the tracks were drawn on; without it SOURCE is a workflow."
)
@click.option(
    "-o",
    "--output",
    required=True,
    help="A .png with all ways, or .mp4, .gif … with moving points.",
)
@click.option(
    "-s", "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override the workflow."
)
@click.option("--stage", help="The stage of the workflow, where several ask for tracks.")
@click.option("--width", type=int, help="Width in pixels of what the tracks were drawn on.")
@click.option("--height", type=int, help="Height likewise.")
@click.option("--units", help="Of the points: pixels or fractions.")
@click.option("--times", help="Of the points' times: share, seconds or frames.")
@click.option("--padding", help="Of tracks without 121 samples: spread or zeros.")
@click.option("--frames", type=click.IntRange(1, 10_000), help="Frames of the clip.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def preview(
    source: str,
    picture: str | None,
    output: str,
    overrides: tuple[str, ...],
    stage: str | None,
    frames: int | None,
    overwrite: bool,
    **reading: Any,
) -> None:
    """Draw tracks over their picture; nothing is generated.

    SOURCE is a workflow that asks for ati, or a track file, then with --picture. What was read, and what
    is odd about it, is printed.
    """
    from wan_plugin_ati.preview import of_workflow, write

    if picture is None:
        if not source.lower().endswith(WORKFLOW):
            raise WorkflowError(
                f"{show(source)} is no workflow, and tracks alone have no picture",
                remedy="add --picture FILE",
            )
        given = [f"--{name}" for name, value in {**reading, "frames": frames}.items() if value]
        if given:
            raise WorkflowError(
                f"{given[0]} is for a track file, and {show(source)} is read as a workflow",
                remedy="write it there, or add --picture FILE",
            )
        scene = of_workflow(Path(source), overrides, stage)
    else:
        if overrides or stage:
            said = "--set" if overrides else "--stage"
            raise WorkflowError(f"{said} is for workflows", remedy="leave it or --picture out")
        scene = _of_files(source, picture, frames, reading)
    written = write(scene, Path(output), overwrite=overwrite)
    for title, line in scene.told():
        click.echo(f"{title + ':':<9}{line}")
    for note in scene.notes:
        click.echo(f"note:    {note}")
    click.echo(f"wrote {show(str(written))}")


def _of_files(source: str, picture: str, frames: int | None, reading: dict[str, Any]) -> Scene:
    from wan_plugin_ati.options import AtiOptions
    from wan_plugin_ati.preview import of_files

    given = {name: value for name, value in reading.items() if value is not None}
    try:
        options = AtiOptions(tracks=Path(source), **given)
    except OptionError as error:
        raise WorkflowError(f"--{error}".rstrip("."), remedy=error.remedy) from error
    return of_files(options, Path(picture), frames)
