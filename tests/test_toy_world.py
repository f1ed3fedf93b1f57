"""The bundled model draws what it is told, for words that it never saw together in training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from wan_core import Session
from wan_core.contract.events import Event, Note
from wan_core.models import tiny
from wan_core.models.encoders import load_text_encoder
from wan_core.models.tiny.vocabulary import WORDS_FILE, warn
from wan_core.weights import open_weights
from zoo.judge import judge
from zoo.product import bundled_vae, video_of
from zoo.train_vae import unseen_psnr
from zoo.world.captions import indices_of, sentence, words_of
from zoo.world.heldout import combinations, is_heldout

FOLDER = Path(tiny.__file__).parent

HELD_OUT = (
    ("a large orange square moves up on a black background", 1002),
    ("a small white circle zooms out on a gray background", 1003),
    ("a large green triangle stays still on a navy background", 1001),
    ("a large blue circle circles around on a teal background", 1005),
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    cache = tmp_path_factory.mktemp("cache")
    with Session(device="cpu", cache=cache) as session:
        yield session


@pytest.mark.parametrize(("prompt", "seed"), HELD_OUT)
def test_a_sentence_never_trained_on_is_drawn(
    session: Session, tmp_path: Path, prompt: str, seed: int
) -> None:
    assert bool(is_heldout(torch.tensor([indices_of(prompt)])))
    events: list[Event] = []
    clip = video_of(session, prompt, seed, tmp_path, listen=events.append)
    assert clip.shape == (3, 33, 96, 96)
    verdict = judge(clip)
    assert verdict.words == words_of(indices_of(prompt))
    assert not [event for event in events if isinstance(event, Note)]
    if "moves" in prompt:
        assert max(map(abs, verdict.travel)) >= 0.3
    if "black" in prompt:
        assert verdict.black_level < 30 / 255


def test_words_that_were_never_taught_are_named(session: Session, tmp_path: Path) -> None:
    events: list[Event] = []
    prompt = "a large zebra moves right on a plaid background"
    video_of(session, prompt, 0, tmp_path, listen=events.append, frames=5, steps=2)
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.level == "warning"
    assert '"zebra", "plaid"' in note.text
    assert "large" not in note.text
    assert "wan-core models" in note.text


def test_no_sentence_of_the_grammar_is_warned_about() -> None:
    every = torch.cat([combinations(heldout=True), combinations(heldout=False)])
    assert not [sentence(row) for row in every if warn(sentence(row))]


def test_the_known_words_are_those_of_the_training() -> None:
    metadata = open_weights(FOLDER / "t2v.safetensors").metadata
    assert WORDS_FILE.read_text().split() == json.loads(metadata["words"])


def test_the_empty_prompt_has_one_row() -> None:
    encoder = load_text_encoder(FOLDER / "text_encoder.safetensors", None, text_len=64)
    empty, told = encoder.encode(["", "a red circle"])
    assert empty.shape == (1, 128)
    assert told.shape == (4, 128)
    assert bool(torch.isfinite(torch.cat([empty, told])).all())


@torch.no_grad()
def test_the_vae_gives_unseen_clips_back() -> None:
    values = unseen_psnr(bundled_vae(), "plain", 0, 3, torch.device("cpu"), (33, 96, 96))
    assert sum(values) / len(values) >= 34
