"""Weight files that are damaged after planning: named in one sentence, and nothing that was made is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_swapped_runs import LAYERS, PICTURE, PLUGINS, Placements, frames, swapped

from wan_core import Session
from wan_core.contract.errors import WanCoreError
from wan_core.engine.unfinished import unfinished
from wan_core.planning import Library, Plan, bundled, make_plan
from wan_core.workflow import parse_workflow

TEXT = """
format = 1
[model]
family = "{family}"
{slot} = "mine.safetensors"
{more}
[[stages]]
use = "generate"
prompt = "a red circle"
frames = 5
width = 32
height = 32
steps = 2
{given}
[output]
path = "out.mkv"
"""
FILES = {
    "transformer": "tiny/t2v.safetensors",
    "vae": "tiny/vae.safetensors",
    "text_encoder": "tiny/text_encoder.safetensors",
}


def planned(
    folder: Path, slot: str, placements: Placements | None = None, picture: bool = False
) -> Plan:
    shutil.copy(bundled(FILES[slot]), folder / "mine.safetensors")
    more = ""
    if slot == "text_encoder":
        shutil.copy(bundled("tiny/tokenizer.json"), folder)
        more = 'tokenizer = "tokenizer.json"'
    text = TEXT.format(
        family="tiny-i2v" if picture else "tiny-t2v",
        slot=slot,
        more=more,
        given=f'image = "{PICTURE}"' if picture else "",
    )
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    plan = make_plan(workflow, PLUGINS, device="cpu", library=Library(()))
    main = attrs.evolve(plan.models["main"], placements=placements or {})
    return attrs.evolve(plan, models={"main": main})


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=PLUGINS, cache=tmp_path / "cache") as session:
        yield session


def _without(path: Path) -> None:
    tensors = load_file(path)
    del tensors[sorted(tensors)[-3]]
    save_file(tensors, path)


def _other_shape(path: Path) -> None:
    tensors = load_file(path)
    tensors[next(name for name in sorted(tensors) if tensors[name].ndim > 1)] = torch.zeros(3, 5)
    save_file(tensors, path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (lambda path: path.unlink(), "there is no such weight file"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "the file is cut short"),
    "garbage": (lambda path: path.write_bytes(b"\x07" * 5000), "no safetensors file"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "the folder has no weights"),
    "pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "a device or a pipe"),
    "missing": (_without, "1 missing"),
    "shape": (_other_shape, "of the wrong shape"),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("slot", FILES)
def test_the_file_is_named(slot: str, how: str, session: Session, tmp_path: Path) -> None:
    plan = planned(tmp_path, slot)
    damage, said = DAMAGE[how]
    damage(tmp_path / "mine.safetensors")
    with pytest.raises(WanCoreError) as caught:
        session.run(plan)
    sentence = str(caught.value)
    assert "mine.safetensors: " in sentence
    assert said in sentence
    assert "\n" not in sentence
    assert not (tmp_path / "out.mkv").exists()


def _no_numbers(path: Path) -> None:
    tensors = load_file(path)
    save_file(
        {
            k: t * float("nan") if t.ndim > 1 and "shared" not in k else t
            for k, t in tensors.items()
        },
        path,
    )


@pytest.mark.parametrize(
    ("slot", "placed", "says"),
    [
        ("transformer", {}, r'the weight "[\w.]+" holds NaN.*transformer\'s file.*is damaged'),
        ("vae", {}, r'the weight "[\w.]+" holds NaN.*VAE\'s file is damaged.*kept in'),
        ("text_encoder", {}, r'mine\.safetensors: the weight "[\w.]+" holds NaN.*is damaged'),
        (
            "text_encoder",
            {"text_encoder": swapped(*LAYERS, "shared")},
            r'mine\.safetensors: the weight "[\w.]+" holds NaN.*is damaged',
        ),
    ],
)
def test_numbers_that_are_none(
    slot: str, placed: Placements, says: str, session: Session, tmp_path: Path
) -> None:
    """Found where they first show. With the file as it was the run goes on, and nothing spoilt was kept."""
    plan = planned(tmp_path, slot, placed)
    path = tmp_path / "mine.safetensors"
    sound = path.read_bytes()
    _no_numbers(path)
    with pytest.raises(WanCoreError, match=says):
        session.run(plan)
    path.write_bytes(sound)
    (tmp_path / "whole").mkdir()
    with Session(plugins=PLUGINS, cache=tmp_path / "other") as other:
        whole = frames(other.run(plan))
    (tmp_path / "out.mkv").unlink()
    with Session(plugins=PLUGINS, cache=session.cache) as fresh:
        again = fresh.run(plan, resume=bool(unfinished(session.cache)))
    assert np.array_equal(frames(again), whole)


def test_a_picture_that_became_none(session: Session, tmp_path: Path) -> None:
    plan = planned(tmp_path, "vae", picture=True)
    _no_numbers(tmp_path / "mine.safetensors")
    with pytest.raises(WanCoreError, match=r"given latents.*hold NaN.*VAE's file is damaged"):
        session.run(plan)


def test_rows_that_are_none_are_as_if_not_kept(session: Session, tmp_path: Path) -> None:
    from wan_core.models.encoders import EmbeddingCache

    cache = EmbeddingCache(tmp_path / "rows")
    cache.put("a", torch.ones(2, 3))
    cache.put("b", torch.full((2, 3), float("inf")))
    assert cache.get("a") is not None
    assert cache.get("b") is None
