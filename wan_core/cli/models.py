"""``wan-core models``: the families, their presets and the files they need."""

from __future__ import annotations

import click

from wan_core.cli.options import debug_option, discover, to_json, without_option
from wan_core.cli.text import columns
from wan_core.contract.descriptions import Component, Family, Preset


@click.command()
@click.argument("name", required=False)
@without_option
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
def models(name: str | None, without: tuple[str, ...], json: bool) -> None:
    """List the model families; with NAME, show one in full."""
    found = discover(without)
    if name is not None:
        family = found.family(name)
        click.echo(to_json(family) if json else "\n".join(_in_full(family)))
        return
    families = list(found.families.values())
    if json:
        click.echo(to_json({"families": families}))
        return
    for family in families:
        click.echo("\n".join(_in_brief(family)))
        click.echo()
    click.echo("wan-core models NAME shows a preset in full and how a workflow names the files.")


def _in_brief(family: Family) -> list[str]:
    preset = family.preset
    return [
        f"{family.name}: {family.title}",
        f"  {family.task}; {preset.width}x{preset.height}, {preset.frames} frames at "
        f"{preset.fps:g} per second, {preset.steps} steps",
        *_files(family),
    ]


def _in_full(family: Family) -> list[str]:
    needed = [slot for slot, part in family.components.items() if _from_user(part)]
    return [
        f"{family.name}: {family.title}",
        "",
        *columns([("task", family.task), ("stages", ", ".join(family.stages))], indent=2),
        "",
        "Preset",
        *columns(_preset(family.preset), indent=2),
        "",
        "Files",
        *_files(family),
        "",
        "In a workflow",
        "  [model]",
        f'  family = "{family.name}"',
        *(f"  {slot} = {_example(family.components[slot])}" for slot in needed),
    ]


def _preset(preset: Preset) -> list[tuple[str, str]]:
    rows = [
        ("width", f"{preset.width} (a multiple of {preset.size_multiple})"),
        ("height", f"{preset.height} (a multiple of {preset.size_multiple})"),
        ("sizes", ", ".join(f"{w}x{h}" for w, h in preset.sizes)),
        ("frames", f"{preset.frames} ({preset.frame_step} n + 1)"),
        ("fps", f"{preset.fps:g}"),
        ("steps", f"{preset.steps}"),
        ("shift", f"{preset.shift:g}"),
        ("guidance", _guidance(preset.guidance)),
        ("solver", preset.solver),
        ("boundary", "" if preset.boundary is None else f"{preset.boundary:g}"),
        ("negative_prompt", preset.negative_prompt),
    ]
    return [(key, value) for key, value in rows if value]


def _guidance(guidance: float | tuple[float, float]) -> str:
    if isinstance(guidance, tuple):
        return f"{guidance[0]:g} at high noise, {guidance[1]:g} at low noise"
    return f"{guidance:g}"


def _files(family: Family) -> list[str]:
    rows = []
    for slot, part in family.components.items():
        if part.bundled:
            rows.append((slot, "comes with the package"))
        for file in part.published:
            rows.append((slot, f"{file.repository}: {file.path}"))
        if not (part.bundled or part.published):
            rows.append((slot, "makes its own weights" if not part.needs_file else "your own file"))
    return columns(rows, indent=2)


def _from_user(part: Component) -> bool:
    return part.needs_file and part.bundled is None


def _example(part: Component) -> str:
    name = part.published[0].path.rpartition("/")[2] if part.published else ""
    if not name or "*" in name:
        return f'"FILE"  # {name}'.rstrip(" #")
    return f'"{name}"'
