"""A wrong description is refused where it is built, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from wan_core.contract import (
    AttentionBackend,
    Component,
    Feature,
    Preset,
    PublishedFile,
    Solver,
    Stage,
)
from wan_core.contract.descriptions import Family
from wan_core.contract.errors import PluginError

PRESET: dict[str, Any] = {
    "width": 32, "height": 32, "frames": 5, "fps": 8, "steps": 2, "shift": 3.0, "guidance": 2.0,
}  # fmt: skip


def feature(**wrong: Any) -> Feature:
    return Feature(**{"name": "blur", "summary": "", "options": "a:b", **wrong})


def preset(**wrong: Any) -> Preset:
    return Preset(**{**PRESET, **wrong})


def published(**wrong: Any) -> PublishedFile:
    return PublishedFile(**{"repository": "Org/Name", "path": "a/b*.safetensors", **wrong})


def component(**wrong: Any) -> Component:
    return Component(**{"kind": "k", "load": "a:b", "optional": True, **wrong})


def family(**wrong: Any) -> Family:
    parts = {"vae": Component("vae", "a:b")}
    right = {"name": "f", "title": "", "task": "", "components": parts, "preset": preset()}
    return Family(**{**right, **wrong})


def test_what_a_feature_writes_may_depend_on_an_option() -> None:
    drawing = feature(writes=("concat",), writes_if={"post": "overlay"})
    assert drawing.slots(SimpleNamespace(overlay=True)) == ("concat", "post")
    assert drawing.slots(SimpleNamespace(overlay=False)) == ("concat",)


def test_right_ones_are_taken() -> None:
    family(preset=preset(guidance=(4.0, 3.5), boundary=0.9, sizes=((32, 32),), fps=23.976))
    published(revision="0" * 40, sha256="f" * 64, bytes=1, slot="tokenizer")
    feature(writes=("text", "attention", "post"), replaces=("text",), families=("f",))


@pytest.mark.parametrize(
    ("build", "wrong", "says"),
    [
        (feature, {"name": 5}, "Feature: name must be a name of visible characters, not 5."),
        (feature, {"name": ""}, "Feature: name must be"),
        (feature, {"name": "a\nb"}, "Feature: name must be"),
        (feature, {"summary": None}, 'Feature "blur": summary must be text, not nothing.'),
        (feature, {"options": int}, 'Feature "blur": options must be text'),
        (feature, {"families": "tiny"}, 'families must be a tuple of names, such as ("one",), not'),
        (feature, {"writes": "post"}, "writes must be a tuple of names"),
        (
            feature,
            {"writes": ("psot",)},
            'Feature "blur": writes names the slot "psot", which there is not; did you mean "post".',
        ),
        (feature, {"writes_if": ("post",)}, "writes_if must be a mapping from str to str"),
        (feature, {"writes_if": {"psot": "overlay"}}, 'writes_if names the slot "psot"'),
        (feature, {"replaces": ("branches",)}, 'replaces names the slot "branches"'),
        (
            family,
            {"components": {}},
            'Family "f": components must be a mapping from str to at least',
        ),
        (family, {"components": {"vae": "a:b"}}, "components must be"),
        (family, {"preset": None}, 'Family "f": preset must be a Preset, not nothing.'),
        (
            component,
            {"bundled": "tiny/x"},
            "neither comes with the package nor makes its own weights",
        ),
        (component, {"needs_file": False}, "an optional one has the file that a workflow names"),
        (component, {"optional": 1}, "optional must be"),
        (published, {"repository": "Name"}, 'repository must be a repository, such as "ORG/NAME"'),
        (published, {"repository": "Org/../x"}, "repository must be"),
        (published, {"repository": "Org/.."}, "repository must be"),
        (published, {"path": "../x"}, 'path must be a path inside the repository, not "../x".'),
        (published, {"path": "/x"}, "path must be"),
        (published, {"path": "a//b"}, "path must be"),
        (published, {"path": "a\\..\\b"}, "path must be"),
        (published, {"path": "c:x"}, "path must be"),
        (published, {"path": "a\x1b"}, "path must be"),
        (published, {"revision": "main"}, "revision must be 40 hexadecimal digits or empty"),
        (published, {"sha256": "A" * 64}, "sha256 must be 64 hexadecimal digits or empty"),
        (published, {"bytes": -1}, "bytes must be a number of bytes, not -1."),
        (preset, {"frame_step": 0}, "Preset: frame_step must be a whole number from 1, not 0."),
        (preset, {"fps": 0}, "Preset: fps must be a number above 0, not 0."),
        (preset, {"fps": float("nan")}, "Preset: fps must be"),
        (preset, {"width": True}, "Preset: width must be"),
        (preset, {"width": 40}, "width and height must be multiples of 16, not 40x32"),
        (preset, {"frames": 6}, "frames must be 4 * n + 1, not 6"),
        (preset, {"guidance": (1.0, 2.0, 3.0)}, "guidance must be a number or a pair"),
    ],
)
def test_a_wrong_field_is_named(build: Callable[..., Any], wrong: Any, says: str) -> None:
    with pytest.raises(PluginError) as caught:
        build(**wrong)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Stage("s", "", "a:b", "a:b", outputs="video"),  # type: ignore[arg-type]
        lambda: Solver("s", "", "a:b", fixed_steps=(0,)),
        lambda: Solver("s", "", "a:b", width_steps={64: 4}),  # type: ignore[dict-item]
        lambda: AttentionBackend("a", "", "a:b", support=None),  # type: ignore[arg-type]
    ],
)
def test_the_other_sorts_are_held_to_theirs(build: Callable[[], Any]) -> None:
    with pytest.raises(PluginError, match="must be"):
        build()
