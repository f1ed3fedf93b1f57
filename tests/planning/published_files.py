"""Header-only files of every published part, and plans made with them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from header_files import write_safetensors, write_shards
from PIL import Image

import wan_core.models
from wan_core.contract.descriptions import Family
from wan_core.models.encoders import find_tokenizer
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.planning import Plan, make_plan
from wan_core.plugins import Plugins
from wan_core.weights import open_weights
from wan_core.workflow import parse_workflow

MANIFESTS = Path(__file__).parents[1] / "golden" / "manifests"
Shapes = dict[str, list[int]]

TRANSFORMER_OF = {
    "wan2.1-t2v-1.3b": "wan2.1-t2v-1.3b",
    "wan2.1-t2v-14b": "wan2.1-t2v-14b",
    "wan2.1-i2v-14b-480p": "wan2.1-i2v-14b",
    "wan2.1-i2v-14b-720p": "wan2.1-i2v-14b",
    "wan2.1-flf2v-14b": "wan2.1-flf2v-14b",
    "wan2.1-vace-1.3b": "wan2.1-vace-1.3b",
    "wan2.1-vace-14b": "wan2.1-vace-14b",
    "wan2.2-t2v-a14b": "wan2.2-t2v-a14b",
    "wan2.2-i2v-a14b": "wan2.2-i2v-a14b",
    "wan2.2-ti2v-5b": "wan2.2-ti2v-5b",
}
"""Family -> manifest of its transformer."""

WRITERS: dict[str, Callable[[Path, Shapes], Path]] = {
    "official": lambda path, shapes: write_safetensors(path, shapes),
    "prefixed": lambda path, shapes: write_safetensors(
        path, {f"model.diffusion_model.{name}": shape for name, shape in shapes.items()}
    ),
    "shards": lambda path, shapes: write_shards(path.with_suffix(""), shapes, 3),
    "diffusers": lambda path, shapes: write_safetensors(
        path, {DIFFUSERS.from_official(name) or name: shape for name, shape in shapes.items()}
    ),
}


@cache
def manifest(name: str) -> Shapes:
    """Names and shapes of a published file."""
    table: Shapes = json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes()))
    return table


def file_of(folder: Path, name: str, written: str = "official") -> Path:
    """A file with all tensors of a manifest and no numbers; made once."""
    path = folder / f"{name}-{written}.safetensors"
    index = path.with_suffix("") / "model.safetensors.index.json"
    found = next((one for one in (path, index) if one.exists()), None)
    return found or WRITERS[written](path, manifest(name))


def parts_of(
    family: Family, folder: Path, transformer: str, written: str = "official", **others: str
) -> dict[str, object]:
    """Files for all slots of a family, as a workflow names them.

    Args:
        transformer: manifest of the transformer, or of both experts.
        others: manifests of other slots, where they are not the makers' own.
    """
    own = file_of(folder, transformer, written)
    experts = len(family.slots("transformer")) > 1
    vae = "wan2.2-vae" if family.components["vae"].config["z_dim"] == 48 else "wan2.1-vae"
    names = {"text_encoder": "umt5-xxl-encoder", "vae": vae, **others}
    if "image_encoder" in family.components:
        names = {"image_encoder": "clip-vit-h-14-full-official-checkpoint", **names}
    return {
        "transformer": {"high": own, "low": own} if experts else own,
        **{slot: file_of(folder, name) for slot, name in names.items()},
    }


def plan_with(
    family: Family,
    folder: Path,
    written: str = "official",
    stage: str = "",
    model: str = "",
    device: str = "cpu",
    **others: str,
) -> Plan:
    """A plan for one stage of a published family, made from files that hold no numbers.

    Args:
        written: how the transformer's file names its tensors.
        stage: further lines of the stage.
        model: further lines of the model.
        device: where it runs.
        others: manifests of other slots, where they are not the makers' own.
    """
    files = parts_of(family, folder, TRANSFORMER_OF[family.name], written, **others)
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.exists():
        tiny = Path(wan_core.models.__file__).parent / "tiny" / "text_encoder.safetensors"
        tokenizer.write_bytes(find_tokenizer(open_weights(tiny)).data)
    lines = [f"{slot} = {_toml(path)}" for slot, path in (*files.items(), ("tokenizer", tokenizer))]
    text = "\n".join(
        [
            "format = 1",
            "[model]",
            f'family = "{family.name}"',
            *lines,
            model,
            '[[stages]]\nuse = "generate"\nprompt = "x"',
            stage,
            f'[output]\npath = "{folder}/out-{{seed}}.mp4"',
        ]
    )
    plugins = Plugins.discover()
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=plugins)
    return make_plan(workflow, plugins, device=device)


def needed(family: Family, folder: Path) -> str:
    """Lines of a stage with the pictures that a family can't do without."""
    picture = folder / "picture.png"
    if not picture.exists():
        Image.new("RGB", (832, 480), (90, 120, 30)).save(picture)
    names = family.pictures.needs if family.pictures else ()
    return "\n".join(f'{name} = "{picture}"' for name in names)


def _toml(path: object) -> str:
    if isinstance(path, dict):
        return "{ " + ", ".join(f'{key} = "{one}"' for key, one in path.items()) + " }"
    return f'"{path}"'
