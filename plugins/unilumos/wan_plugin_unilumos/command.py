"""``wan-core unilumos bench``: the light of a relit video, and what it kept of what it was made from."""

from __future__ import annotations

import json as formats
from pathlib import Path

import attrs
import click

from wan_plugin_unilumos.bench import Measures, measure

FILE = click.Path(path_type=Path)


@click.group(
    name="wan-core unilumos",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def commands(context: click.Context) -> None:
    """Measure the light of relit videos."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@commands.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("result", type=FILE)
@click.option("--foreground", type=FILE, help="What was lit anew: is the subject's structure kept?")
@click.option("--mask", type=FILE, help="Picture or video, white where the subject is.")
@click.option("--background", type=FILE, help="Compared with outside of the mask.")
@click.option("--json", is_flag=True, help="Print one JSON object.")
def bench(
    result: Path, foreground: Path | None, mask: Path | None, background: Path | None, json: bool
) -> None:
    """Measure the light of RESULT, a video or a picture, how steady it is, and what it kept.

    Light is measured as LumosBench does it, without the scores that need a large model.
    """
    found = measure(result, foreground, mask, background)
    if json:
        click.echo(formats.dumps(attrs.asdict(found), indent=2))
    else:
        click.echo("\n".join(lines(found)))


def lines(found: Measures) -> list[str]:
    """The measures for people."""
    light = found.light
    rows = [
        ("frames", str(found.frames)),
        (
            "mean colour",
            " ".join(f"{value:.3f}" for value in light.rgb) + "  (middle frame, sRGB 0…1)",
        ),
        ("illuminance", f"{light.illuminance:.3f}  (Y, 0…1)"),
        ("chromaticity", f"{light.xy[0]:.4f} {light.xy[1]:.4f}" if light.xy else "none"),
        (
            "temperature",
            (f"{light.kelvin:.0f} K" if light.kelvin else "none")
            + (f"  ({light.note})" if light.note else ""),
        ),
        ("flicker", f"{found.flicker:.5f}"),
    ]
    if found.flicker_of_foreground is not None:
        rows.append(("  of foreground", f"{found.flicker_of_foreground:.5f}"))
    if found.structure is not None:
        rows.append(("structure", f"{found.structure:.3f}  (1 = as the foreground)"))
    if found.background is not None:
        rows.append(("background", f"{found.background:.4f}  (0 = as the background)"))
    width = max(len(name) for name, _ in rows) + 2
    return [*(f"{name:{width}}{value}" for name, value in rows), *found.notes]


def run(arguments: list[str]) -> int:
    """The command with its arguments; errors are told by ``wan-core``."""
    with commands.make_context("wan-core unilumos", arguments) as context:
        code = commands.invoke(context)
    return int(code or 0)
