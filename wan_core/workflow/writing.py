"""``to_toml`` writes a workflow with every default visible; ``fingerprint`` names its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from wan_core.workflow.lines import BARE_KEY
from wan_core.workflow.posts import TAKES
from wan_core.workflow.references import references
from wan_core.workflow.spec import FeatureSpec, ModelSpec, StageSpec, Workflow

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\t": "\\t"}


def to_toml(workflow: Workflow) -> str:
    """The workflow as a file, with every default visible.

    Reading it again in the same folder gives an equal workflow. Files inside the workflow's folder
    are named from there, so that the text holds on another machine. An option that is not given is
    a comment that says what happens instead.
    """
    folder = workflow.source.folder
    blocks = [[f"format = {workflow.format}"]]
    for name, model in workflow.models.items():
        blocks.append([f"[models.{_key(name)}]", *_model(model, folder)])
    for stage in workflow.stages:
        blocks.append(["[[stages]]", *_stage(stage, folder)])
        for feature in stage.apply:
            blocks.append(["[[stages.apply]]", *_feature(feature, folder)])
    blocks.append(["[memory]", *_fields(workflow.memory, folder)])
    blocks.append(["[output]", *_fields(workflow.output, folder)])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def fingerprint(part: Workflow | ModelSpec | StageSpec | FeatureSpec) -> str:
    """A name for the content: equal parts have equal fingerprints (64 hexadecimal digits).

    Where a workflow came from does not count; paths count as they resolve.
    """
    canonical = json.dumps(_canonical(part), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """``value`` in JSON's types, equal values alike."""
    if attrs.has(type(value)):
        fields = (field for field in attrs.fields(type(value)) if field.eq)
        return {field.name: _canonical(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {key: _canonical(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_canonical(one) for one in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _model(model: ModelSpec, folder: Path) -> Iterator[str]:
    yield _pair("family", model.family, folder)
    for slot, file in model.files.items():
        yield _pair(slot, file, folder)
    yield from _fields(model, folder, skip=("family", "files"))


def _stage(stage: StageSpec, folder: Path) -> Iterator[str]:
    yield _pair("use", stage.use, folder)
    yield _pair("name", stage.name, folder)
    if stage.model is not None:
        yield _pair("model", stage.model, folder)
    yield from _fields(stage.options, folder)
    if stage.loras:
        yield _pair("loras", stage.loras, folder)
    if any(references(stage.options)):
        yield _pair("handover", stage.handover, folder)
    if stage.post:
        yield "post = ["
        yield from (f"    {_inline(_post(one, folder))}," for one in stage.post)
        yield "]"


def _post(stage: StageSpec, folder: Path) -> Iterator[str]:
    """A stage of ``post``, without the video that its place says it takes."""
    taken = f"{TAKES} = "
    lines = _stage(stage, folder)
    yield from (line for line in lines if not line.startswith(("#", taken)))
    if stage.apply:
        features = ", ".join(_inline(_feature(one, folder)) for one in stage.apply)
        yield f"apply = [{features}]"


def _inline(lines: Iterable[str]) -> str:
    """Lines ``key = value`` as a table in one place; comments have none there."""
    return "{ " + ", ".join(line for line in lines if not line.startswith("#")) + " }"


def _feature(feature: FeatureSpec, folder: Path) -> Iterator[str]:
    yield _pair("use", feature.use, folder)
    yield from _fields(feature.options, folder)


def _fields(options: Any, folder: Path, skip: Sequence[str] = ()) -> Iterator[str]:
    """A line for each option; what is not given stands in a comment."""
    for field in attrs.fields(type(options)):
        if field.name in skip or not field.init:
            continue
        key = field.alias or field.name
        value = getattr(options, field.name)
        if write := field.metadata.get("write"):
            value = write(value)
        if value is None:
            yield f"# {_key(key)} = ({field.metadata.get('unset') or 'not given'})"
        else:
            here = "./" if field.metadata.get("files") else ""
            yield _pair(key, value, folder, here)


def _pair(key: str, value: Any, folder: Path, here: str = "") -> str:
    return f"{_key(key)} = {_value(value, folder, here)}"


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else f'"{_escaped(key)}"'


def _value(value: Any, folder: Path, here: str = "") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Path):
        return _text(_path(value, folder, here))
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_value(one, folder, here) for one in value) + "]"
    if attrs.has(type(value)):
        value = {f.alias or f.name: getattr(value, f.name) for f in attrs.fields(type(value))}
    pairs = [_pair(key, one, folder) for key, one in value.items() if one is not None]
    return "{ " + ", ".join(pairs) + " }" if pairs else "{}"


def _path(path: Path, folder: Path, here: str) -> str:
    """A path from the folder, if it lies inside; ``./`` in front where it could mean more."""
    if not path.is_relative_to(folder):
        return path.as_posix()
    relative = path.relative_to(folder).as_posix()
    return f"./{relative}" if here or relative.startswith("~") else relative


def _text(text: str) -> str:
    """Text in quotes; in triple quotes, and readable, when it has several lines."""
    if "\n" in text:
        return '"""\n' + "\n".join(map(_escaped, text.split("\n"))) + '"""'
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(one) or _controlled(one) for one in text)


def _controlled(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 32 or code == 127 else character
