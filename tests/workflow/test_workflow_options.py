from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan_core.contract.amounts import budget, format_budget, format_bytes, size_in_bytes
from wan_core.contract.errors import WorkflowError
from wan_core.contract.options import (
    SEED_LIMIT,
    OptionError,
    choice,
    flag,
    integer,
    number,
    numbers,
    path,
    registered,
    seed,
    show,
    source,
    text,
)


@attrs.frozen
class Options:
    steps: int = integer(1, 1000, default=20, help="sampling steps")
    shift: float = number(-1, 2.5, default=1)
    sigmas: tuple[float, ...] | None = numbers(0, 1, default=None)
    tiled: bool = flag(default=False)
    prompt: str = text(8, min_length=1, default="red")
    mode: str = choice("soft", "hard", default="soft")
    file: Path | None = path(default=None, unset="the bundled one")
    video: str | None = source(default=None)
    clip: str | Path | None = source(files=True, default=None)
    solver: str | None = registered("solver", default=None)
    vram: int | None = size_in_bytes(default=None)
    bound: int | float | None = budget(default=None)
    seed: int = seed(default=0)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"steps": 1}, 1),
        ({"steps": 1000}, 1000),
        ({"shift": 2}, 2.0),
        ({"shift": -1.0}, -1.0),
        ({"sigmas": 1}, (1.0,)),
        ({"sigmas": [1, 0.5]}, (1.0, 0.5)),
        ({"prompt": "a\n\tb"}, "a\n\tb"),
        ({"prompt": "蓝色 é"}, "蓝色 é"),
        ({"file": "a/b"}, Path("a/b")),
        ({"file": None}, None),
        ({"clip": Path("x")}, Path("x")),
        ({"vram": "auto"}, None),
        ({"bound": "auto"}, None),
        ({"bound": "12GiB"}, 12 * 2**30),
        ({"bound": 0.8}, 0.8),
        ({"bound": "80%"}, 0.8),
        ({"bound": "12.5 %"}, 0.125),
        ({"bound": 1.0}, 1.0),
        ({"seed": SEED_LIMIT}, 2**63 - 1),
    ],
)
def test_allowed(given: dict[str, Any], kept: Any) -> None:
    (name,) = given
    value = getattr(Options(**given), name)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": 0}, "steps must be from 1 to 1000, not 0."),
        (
            {"bound": "0%"},
            'bound must be a share above 0 and at most 1, not "0%"; write it like 0.8 or "80%".',
        ),
        (
            {"bound": -0.5},
            'bound must be a share above 0 and at most 1, not -0.5; write it like 0.8 or "80%".',
        ),
        (
            {"bound": True},
            'bound must be an amount of memory, not true; write it like "12GiB", "80%" or "auto".',
        ),
        ({"steps": True}, "steps must be a whole number, not true."),
        ({"steps": 2.0}, "steps must be a whole number, not 2.0."),
        ({"steps": None}, "steps must be a whole number, not nothing."),
        ({"steps": 10**400}, "steps must be from 1 to 1000, not a huge number."),
        ({"shift": float("nan")}, "shift must be from -1 to 2.5, not nan."),
        ({"shift": 10**400}, "shift must be from -1 to 2.5, not a huge number."),
        ({"shift": 3}, "shift must be from -1 to 2.5, not 3."),
        ({"shift": "1"}, 'shift must be a number, not "1".'),
        ({"shift": False}, "shift must be a number, not false."),
        ({"sigmas": []}, "sigmas must be a number or a list of 1 to 1000 numbers, not an empty list."),
        ({"sigmas": [2]}, "sigmas must be from 0 to 1, not 2."),
        ({"tiled": 1}, "tiled must be true or false, not 1."),
        ({"prompt": ""}, "prompt must not be empty."),
        ({"prompt": "123456789"}, "prompt has 9 characters, the most it may have is 8."),
        ({"prompt": "a\0"}, "prompt has a control character (U+0000) in it."),
        ({"prompt": "a\x9b"}, "prompt has a control character (U+009B) in it."),
        ({"prompt": "a\r\n"}, "prompt has a control character (U+000D) in it."),
        ({"prompt": "\udc80"}, "prompt has bytes in it that are no text."),
        ({"prompt": b"red"}, "prompt must be text, not a bytes."),
        ({"mode": "sotf"}, 'mode must be "soft" or "hard", not "sotf"; did you mean "soft".'),
        ({"mode": 3}, 'mode must be "soft" or "hard", not 3.'),
        ({"file": ""}, "file must be a path, not empty text."),
        ({"file": 3}, "file must be a path, not 3."),
        ({"file": "a\0b"}, "file has a control character (U+0000) in it."),
        (
            {"video": ""},
            'video must be the output of an earlier stage, such as "generate.video", not "".',
        ),
        (
            {"video": Path("x")},
            'video must be the output of an earlier stage, such as "generate.video", not "x".',
        ),
        ({"solver": ""}, 'solver must be the name of a solver, not "".'),
        ({"vram": "12 apples"}, VRAM := 'vram must be an amount of memory, not "12 apples"; write it'
         ' like "12GiB", "800MB" or "auto".'),
        ({"vram": "12G"}, VRAM.replace("12 apples", "12G")),
        ({"vram": "-1GiB"}, VRAM.replace("12 apples", "-1GiB")),
        ({"vram": 12}, 'vram must be from 1MiB to 1PiB, not 12; a unit goes with it, as in "12GiB".'),
        ({"vram": "1kB"}, 'vram must be from 1MiB to 1PiB, not "1kB".'),
        ({"seed": 2**63}, f"seed must be from 0 to {2**63 - 1}, not {2**63}."),
    ],
)  # fmt: skip
def test_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options(**given)
    assert str(caught.value) == sentence
    assert caught.value.option == next(iter(given))
    assert isinstance(caught.value, WorkflowError)


def test_evolve_checks_too() -> None:
    with pytest.raises(OptionError, match="steps must be from 1 to 1000"):
        attrs.evolve(Options(), steps=-3)


def test_the_error_survives_a_process_boundary() -> None:
    error = OptionError("steps", "must be from 1 to 1000, not 0", remedy="add some")
    error.where = "w.toml, line 1"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_metadata_explains() -> None:
    fields = attrs.fields_dict(Options)
    assert fields["steps"].metadata["help"] == "sampling steps"
    assert fields["steps"].metadata["allowed"] == "a whole number from 1 to 1000"
    assert fields["file"].metadata["unset"] == "the bundled one"
    assert fields["mode"].metadata["allowed"] == '"soft" or "hard"'
    assert fields["video"].metadata["source"] is True
    assert all(field.metadata["allowed"] for field in fields.values())


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("12GiB", 12 * 2**30),
        ("12 gib", 12 * 2**30),
        ("800MB", 800_000_000),
        ("1.5GiB", 3 * 2**29),
        ("0.1GB", 100_000_000),
        ("2097152B", 2**21),
        (2**30, 2**30),
        ("1PiB", 2**50),
    ],
)
def test_sizes(written: str | int, size: int) -> None:
    assert Options(vram=written).vram == size  # type: ignore[arg-type]


@given(st.integers(2**20, 2**50) | st.floats(0, 1, exclude_min=True) | st.none())
def test_bounds_are_written_exactly(bound: float | None) -> None:
    assert Options(bound=format_budget(bound)).bound == bound  # type: ignore[arg-type]


@given(st.integers(2**20, 2**50))
def test_sizes_are_written_exactly(size: int) -> None:
    assert Options(vram=format_bytes(size)).vram == size  # type: ignore[arg-type]


def test_sizes_are_written_shortly() -> None:
    assert format_bytes(12 * 2**30) == "12GiB"
    assert format_bytes(800_000_000) == "800MB"
    assert format_bytes(2**30 + 1) == 2**30 + 1
    assert format_bytes(None) == "auto"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('say "a\\b"\n', '"say \\"a\\\\b\\"\\n"'),
        ("x" * 60, '"' + "x" * 47 + '…"'),
        ("\x1b[31m\udc80", '"\\x1b[31m\\udc80"'),
        ([1, 2], "a list of 2"),
        ({}, "a table"),
        (1e300, "1e+300"),
        (Path("x" * 60), '"' + "x" * 60 + '"'),
        (object(), "an object"),
    ],
)
def test_show(value: object, shown: str) -> None:
    assert show(value) == shown
