"""What a video says of how it was made, so that it can be made again from itself.

The record is one JSON object in the file's ``comment`` tag. With ``provenance = "hashes"`` it proves what a
video was made from, to whoever has it, and tells no text to anybody else.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import MediaError
from wan_core.contract.options import show
from wan_core.media.sequence import sequence_at
from wan_core.planning.plan import Plan
from wan_core.plugins import Plugins
from wan_core.workflow import Workflow, to_toml
from wan_core.workflow.paths import options_by_key, paths_in, with_paths

FORMAT = 1
LIBRARIES = ("wan-core", "torch", "av")
LONGEST = 2**18
HOMES = ("home", "Users")
"""Folders that hold those of people."""

_SNAPSHOT = re.compile(r"models--(?P<org>[^/]+?)--(?P<name>[^/]+)/snapshots/[^/]+/(?P<rest>.+)$")

Texts = Mapping[str, str]


@attrs.frozen
class Provenance:
    """The record.

    Attributes:
        name: of the workflow's file.
        workflow: the resolved workflow as TOML; None when only hashes were kept.
        workflow_sha256: of that text.
        seeds: stage -> seed.
        weights: ``"main.transformer"``, ``"main.loras.0"``, ``"stages.NAME.loras.0"``, and for those of its
            family ``"main.family.loras.0"`` -> fingerprint of the file.
        inputs: key of an option -> SHA-256 of the file that it names (of numbered pictures, of all their sums).
        versions: package -> version.
        machine: device, dtype and threads: what bits depend on.
    """

    name: str
    workflow: str | None
    workflow_sha256: str
    seeds: Mapping[str, int]
    weights: Texts
    inputs: Texts
    versions: Texts
    machine: Texts

    def to_text(self) -> str:
        """As it is kept in a file."""
        made_by = f"wan-core {self.versions.get('wan-core', '')}".strip()
        fields = {k: v for k, v in attrs.asdict(self).items() if v is not None}
        return json.dumps({"made_by": made_by, "format": FORMAT, **fields}, ensure_ascii=False)


def record(plan: Plan, plugins: Plugins, machine: Texts) -> Provenance | None:
    """The record of a run; None where the workflow wants none.

    Args:
        machine: what the engine knows of the machine.
    """
    kind = plan.workflow.output.provenance
    if kind == "none":
        return None
    seeds = {s.name: getattr(s.needs.options, "seed", None) for s in plan.stages}
    text = to_toml(portable_workflow(plan.workflow))
    return Provenance(
        name=plan.workflow.source.name,
        workflow=text if kind == "full" else None,
        workflow_sha256=hashlib.sha256(text.encode()).hexdigest(),
        seeds={name: seed for name, seed in seeds.items() if isinstance(seed, int)},
        weights=fingerprints(plan),
        inputs=input_sums(plan.workflow),
        versions=versions(plugins),
        machine=machine,
    )


def fingerprints(plan: Plan) -> dict[str, str]:
    """``"main.transformer"`` -> fingerprint, of all files of a plan, tokenizers included."""
    found: dict[str, str] = {}
    for model in plan.models.values():
        found |= {f"{model.name}.{slot}": one.fingerprint for slot, one in model.files.items()}
        found |= {key: one.fingerprint for key, one in model.every_lora.items()}
        if model.tokenizer:
            found[f"{model.name}.tokenizer"] = model.tokenizer.fingerprint
    return found


def input_sums(workflow: Workflow) -> dict[str, str]:
    """Key of an option -> SHA-256 of the file, or of the numbered pictures, that it names."""
    named = paths_in(options_by_key(workflow))
    return {key: found for key, path in named if (found := _sum_of(path))}


def _sum_of(path: Path) -> str:
    """SHA-256 of a file, or of those of numbered pictures one after another; empty where there is neither."""
    if path.is_file():
        return _sha256(path)
    if not (path.is_dir() or "%" in path.name):
        return ""
    try:
        sums = [_sha256(picture) for picture in sequence_at(path).paths if picture.is_file()]
    except (OSError, MediaError):
        return ""
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def places(plan: Plan, sums: Texts) -> dict[str, Path]:
    """Fingerprint -> path, of all files of a plan: what :mod:`wan_core.planning.whereabouts` keeps.

    Args:
        sums: of the inputs, as :func:`input_sums` gives them.
    """
    weights = {
        file.fingerprint: file.path
        for model in plan.models.values()
        for file in model.files.values()
    }
    loras = {
        lora.fingerprint: lora.use.file
        for model in plan.models.values()
        for lora in model.every_lora.values()
    }
    tokenizers = {
        model.tokenizer.fingerprint: path
        for model in plan.models.values()
        if model.tokenizer and (path := model.companions.get("tokenizer"))
    }
    inputs = dict(paths_in(options_by_key(plan.workflow)))
    return {**weights, **loras, **tokenizers, **{sums[key]: inputs[key] for key in sums}}


def versions(plugins: Plugins) -> dict[str, str]:
    """Versions of what the bits of a video may depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "0+source"
    brought = {one.distribution: one.version for one in plugins.installed if one.enabled}
    return {**brought, **found}


def portable_workflow(workflow: Workflow) -> Workflow:
    """The same workflow without places of this machine: they mean nothing elsewhere, and are private.

    Files beside the workflow keep their relative names, others become the end of their paths, by which they
    are found in the model folders of whoever repeats the run.
    """
    folder = workflow.source.folder

    def near(path: Path) -> Path:
        inside = path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts
        return path if inside else folder / portable_name(path)

    stages = tuple(with_paths(stage, near) for stage in workflow.stages)
    models = {name: with_paths(model, near) for name, model in workflow.models.items()}
    output = attrs.evolve(workflow.output, path=folder / workflow.output.path.name)
    return attrs.evolve(workflow, stages=stages, models=models, output=output)


def portable_name(path: Path) -> Path:
    """``/data/models/Wan2.1/vae.pth`` -> ``Wan2.1/vae.pth``; in a Hugging Face cache ``ORG/NAME/…``.

    A home folder gives no name: ``/home/ann/vae.pth`` -> ``vae.pth``.
    """
    if found := _SNAPSHOT.search(path.as_posix()):
        return Path(found["org"], found["name"], found["rest"])
    path = Path(os.path.normpath(path))
    return Path(path.parent.name, path.name) if not _is_home(path.parent) else Path(path.name)


def _is_home(folder: Path) -> bool:
    """Whether a folder is somebody's: its name is that of a person."""
    return folder.parent.name in HOMES or folder.name == Path(os.path.expanduser("~")).name  # noqa: PTH111


def read_record(comment: str | None, *, where: str) -> Provenance:
    """The record in a file's ``comment`` tag. It may be anybody's text, and is believed in nothing.

    Raises:
        MediaError: there is none, or it is damaged.
    """
    if not comment or len(comment) > LONGEST or '"made_by": "wan-core' not in comment[:64]:
        raise MediaError(
            "this file does not say how it was made",
            where=where,
            remedy='only videos of wan-core do, unless they were made with provenance = "none"',
        )
    try:
        fields: Any = json.loads(comment)
        if not isinstance(fields, dict):
            raise TypeError("no table")
        if type(fields["format"]) is int and fields["format"] > FORMAT:
            raise MediaError(
                f"its record of how it was made is of format {show(fields['format'])}, this wan-core knows "
                f"format {FORMAT}",
                where=where,
                remedy="update wan-core",
            )
        if fields["format"] != FORMAT:
            raise ValueError("no known format")
        return Provenance(
            name=_text(fields["name"]),
            workflow=None if fields.get("workflow") is None else _text(fields["workflow"]),
            workflow_sha256=_text(fields["workflow_sha256"]),
            seeds={_text(k): int(v) for k, v in fields["seeds"].items()},
            **{
                key: {_text(k): _text(v) for k, v in fields[key].items()}
                for key in ("weights", "inputs", "versions", "machine")
            },
        )
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise MediaError(
            "its record of how it was made is damaged",
            where=where,
            remedy="run the workflow that it was made with",
        ) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _sha256(path: Path) -> str:
    now = path.stat()
    return _sha256_as_of(path, now.st_ino, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256_as_of(path: Path, *_: int) -> str:
    """The sum of a file that has not changed; the runs of a sweep name the same files again and again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
