"""Makes ``docs/reference/*.md`` from the code; with ``--check`` it only compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import WanCoreError
from wan_core.contract.lazy import resolve
from wan_core.contract.loras import LoraUse
from wan_core.contract.quantization import Quantization
from wan_core.plugins import Plugins, installed_entry_points
from wan_core.workflow import MemorySpec, ModelSpec, OutputSpec

FOLDER = Path(__file__).parent / "reference"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def default_of(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "must be given"
    if field.default is None:
        return str(field.metadata.get("unset") or "not set")
    if isinstance(field.default, Path):
        return f"`{field.default}`"
    if field.default == ():
        return "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def options_of(options: type) -> str:
    rows = [
        (f"`{f.name}`", f.metadata["help"], f.metadata.get("allowed", ""), default_of(f))
        for f in attrs.fields(options)
        if f.metadata.get("help")
    ]
    return table(("key", "what it is", "allowed", "default"), rows)


def workflow(plugins: Plugins) -> str:
    stages = [
        f'### `use = "{stage.name}"`\n\n{stage.summary.capitalize()}. Makes: '
        f"{', '.join(stage.outputs)}.\n\n{options_of(resolve(stage.options))}"
        for stage in plugins.stages.values()
    ]
    features = [
        f'### `use = "{feature.name}"`\n\n{feature.summary[:1].upper()}{feature.summary[1:]}. For: '
        f"{', '.join(feature.families) or 'all families'}.\n\n{options_of(resolve(feature.options))}"
        for feature in plugins.features.values()
    ]
    return "\n\n".join(
        [
            "# Workflow files\n\nMade from the code by `docs/make_reference.py`. Every file begins with "
            "`format = 1`. Paths start from the workflow's folder. `wan-core plan FILE` prints a "
            "workflow with every default.",
            "## `[model]`, or `[models.NAME]` for several\n\nBeside these keys: one for each slot of the "
            'family, such as `transformer = "FILE"`, `vae`, `text_encoder`, and `tokenizer`.\n\n'
            + options_of(ModelSpec)
            + "\n\nEach table of `loras` has these keys "
            '(`loras = [{ file = "x.safetensors", strength = 0.8 }]`):\n\n'
            + options_of(LoraUse)
            + "\n\nThe table `quantization` has these:\n\n"
            + options_of(Quantization),
            "## `[[stages]]`\n\nKeys of every stage: `use` (which stage), `name` (its own name; later "
            "stages say `NAME.video`), `model` (which model it drives, when there are several), and "
            "`[[stages.apply]]` tables with the features it asks for, in order; `loras`, like those of a "
            'model, for this stage alone; `handover`, what it takes of an earlier stage\'s video: `"latents"` '
            'where nothing between needs pixels (the default), or `"pixels"` '
            "([guide](../guide/chains.md)).",
            *stages,
            "## `[[stages.apply]]`\n\nFeatures; plugins bring more.",
            *features,
            "## `[memory]`\n\n" + options_of(MemorySpec),
            "## `[output]`\n\n" + options_of(OutputSpec),
        ]
    )


def catalogue(plugins: Plugins) -> str:
    solvers = [
        (
            f"`{s.name}`",
            s.summary,
            "yes" if s.stochastic else "",
            ", ".join(map(str, s.fixed_steps)),
        )
        for s in plugins.solvers.values()
    ]
    families = []
    for family in plugins.families.values():
        p = family.preset
        families.append(
            (
                f"`{family.name}`",
                family.title,
                f"{p.width}x{p.height}x{p.frames}",
                f"{p.fps:g}",
                f"{p.solver}, {p.steps} steps, shift {p.shift:g}, guidance {p.guidance}",
            )
        )
    return "\n\n".join(
        [
            "# Families and solvers\n\nMade from the code by `docs/make_reference.py`; without plugins.",
            "## Families\n\n" + table(("name", "what it is", "size", "fps", "sampling"), families),
            "## Solvers\n\nA bare name means Wan's own implementation where there is one, else the ComfyUI "
            "wrapper's; `kijai/…` and `diffusers/…` are those implementations' schedules "
            "([why](../decisions/002-solver-names.md)).\n\n"
            + table(("name", "what it is", "draws noise", "fixed steps"), solvers),
        ]
    )


def pages() -> dict[str, str]:
    plugins = Plugins([next(iter(installed_entry_points()))])
    return {"workflow.md": workflow(plugins), "catalogue.md": catalogue(plugins)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text + "\n":
            stale.append(name)
            if not check:
                FOLDER.mkdir(exist_ok=True)
                path.write_text(text + "\n", encoding="utf-8")
    if check and stale:
        print(
            f"out of date: {', '.join(stale)}; run python docs/make_reference.py", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WanCoreError as error:
        sys.exit(str(error))
