"""``wan-core models``: the families, their presets, the files they need and which of them are here."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import attrs
import click

from wan_core.cli.failures import tell
from wan_core.cli.options import debug_option, discover, leading_to, to_json, without_option
from wan_core.cli.text import columns
from wan_core.contract.descriptions import Component, Family, Pictures, Preset, PublishedFile
from wan_core.contract.options import show
from wan_core.contract.text import TWO_FILES
from wan_core.memory import gigabytes
from wan_core.planning.library import Library, configured


def _pull() -> click.Command:
    from wan_core.cli.pull.command import pull

    return pull


@click.command(cls=leading_to("pull", _pull))
@click.argument("name", required=False)
@without_option
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
def models(name: str | None, without: tuple[str, ...], json: bool) -> None:
    """List the model families and which of their files are here; with NAME, show one in full.

    wan-core models pull NAME fetches the published files that are not (wan-core models pull --help).
    """
    found = discover(without)
    library = configured()
    if name is not None:
        family = found.family(name)
        text = to_json(_as_json(family, library)) if json else "\n".join(_in_full(family, library))
        click.echo(text)
        _warn(library)
        return
    families = list(found.families.values())
    if json:
        click.echo(to_json({"families": [_as_json(family, library) for family in families]}))
        _warn(library)
        return
    for family in families:
        click.echo("\n".join(_in_brief(family, library)))
        click.echo()
    click.echo("wan-core models NAME shows a preset in full and how a workflow names the files.")
    click.echo("wan-core models pull NAME fetches the files that are not here.")
    _warn(library)


def _warn(library: Library) -> None:
    """Say what is wrong with the folders of models; no error, a disk may not be mounted today."""
    for folder in library.missing:
        tell(f"warning: there is no folder {show(folder)}, which is named for models", sys.stderr)
    for trouble in library.troubles:
        tell(f"warning: {trouble}", sys.stderr)


def _as_json(family: Family, library: Library) -> dict[str, Any]:
    """The description, and where each published file is (null: not here)."""
    fields = {field.name: getattr(family, field.name) for field in attrs.fields(Family)}
    parts = family.components.values()
    files = [file for part in parts for file in (*part.published, *part.alternatives)]
    return {**fields, "here": {file.name: library.holds(file) for file in files}}


def _in_brief(family: Family, library: Library) -> list[str]:
    preset = family.preset
    return [
        f"{family.name}: {family.title}",
        f"  {family.task}; {preset.width}x{preset.height}, {preset.frames} frames at "
        f"{preset.fps:g} per second, {preset.steps} steps",
        *_files(family, library),
    ]


def _in_full(family: Family, library: Library) -> list[str]:
    needed = [slot for slot, part in family.components.items() if _from_user(part)]
    more = [slot for slot, part in family.components.items() if part.optional]
    return [
        f"{family.name}: {family.title}",
        "",
        *columns(_about(family), indent=2),
        "",
        "Preset",
        *columns(_preset(family.preset), indent=2),
        "",
        "Files",
        *_files(family, library),
        "",
        "In a workflow",
        "  [model]",
        f'  family = "{family.name}"',
        *(f"  {line}" for line in _lines(family, needed)),
        *(f"  # {line}  (optional)" for line in _lines(family, more)),
    ]


def _about(family: Family) -> list[tuple[str, str]]:
    rows = [("task", family.task), ("stages", ", ".join(family.stages))]
    rows.append(("features", ", ".join(family.features)))
    if pictures := family.pictures:
        rows.append(("takes", ", ".join(_taken(name, pictures) for name in pictures.takes)))
        rows.append(("needs", ", ".join(_needed(name, pictures) for name in pictures.needs)))
    return [(key, value) for key, value in rows if value]


def _taken(name: str, pictures: Pictures) -> str:
    """An option for pictures with what is to be said of it: ``"last_image (not trained)"``."""
    if name in pictures.untrained:
        return f"{name} (not trained)"
    frames = name == "continues" and pictures.overlap > 1
    return f"{name} ({pictures.overlap} frames)" if frames else name


def _needed(name: str, pictures: Pictures) -> str:
    # a continued video does for a first picture
    return f"{name} or continues" if name == "image" and "continues" in pictures.takes else name


def _lines(family: Family, slots: Sequence[str]) -> Iterator[str]:
    for slot in slots:
        name, _, expert = slot.partition(".")
        if not expert:
            yield f"{slot} = {_example(family.components[slot])}"
        elif expert == "high":
            yield f"{name} = {TWO_FILES}"


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


def _files(family: Family, library: Library) -> list[str]:
    rows = []
    for name, part in family.components.items():
        slot = f"{name} (optional)" if part.optional else name
        if part.bundled:
            package = part.bundled.rpartition(":")[0]
            rows.append((slot, "here", f"comes with the package {package}".rstrip()))
            continue
        parts = [file for file in part.published if not file.slot]
        if len(parts) > 1:
            rows.append((slot, *_state_of_shards(parts, library)))
        rows += [
            (file.slot or slot, *_state(file, library))
            for file in part.published
            if file.slot or len(parts) == 1
        ]
        rows += [(f"{slot} (or)", *_state(file, library)) for file in part.alternatives]
        if not part.published:
            own = "your own file" if part.needs_file else "makes its own weights"
            rows.append((slot, "", own))
    for one in family.loras:
        package, _, path = one.rpartition(":")
        rows.append(("lora", "here", f"{path} comes with the package {package or 'wan_core'}"))
    if not any(state for _, state, _ in rows):
        return columns([(slot, what) for slot, _, what in rows], indent=2)
    return columns(rows, indent=2)


def _state(file: PublishedFile, library: Library) -> tuple[str, str]:
    """Whether a file is here, and where; or where it is published."""
    if here := library.holds(file):
        return "here", str(here)
    return _not_here(file.bytes), f"{file.repository}: {file.path}"


def _state_of_shards(files: Sequence[PublishedFile], library: Library) -> tuple[str, str]:
    """The same of a checkpoint in several files, which is here when all of it is."""
    index, *shards = files
    if here := library.component(files):
        return "here", f"{here} and {len(shards)} shards"
    known = all(file.bytes for file in shards)
    size = sum(file.bytes for file in shards) if known else 0
    return _not_here(size), f"{index.repository}: {index.path} and {len(shards)} shards"


def _not_here(size: int) -> str:
    return f"not here, {gigabytes(size)}" if size else "not here"


def _from_user(part: Component) -> bool:
    return part.needs_file and part.bundled is None and not part.optional


def _example(part: Component) -> str:
    own = [file for file in part.published if not file.slot]
    if len(own) > 1:  # whose index has the same name in every repository
        return f'"{own[0].repository.split("/")[1]}/{own[0].path}"'
    name = PurePosixPath(part.published[0].path).name if part.published else ""
    if not name or part.published[0].is_pattern:
        return f'"FILE"  # {name}'.rstrip(" #")
    return f'"{name}"'
