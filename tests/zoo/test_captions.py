"""Captions, the held-out rule, and the tokenizer that knows every word of them."""

from __future__ import annotations

import re

import pytest
import torch

from zoo.tokenizer import build
from zoo.world import KINDS
from zoo.world.captions import indices_of, paraphrase, sentence
from zoo.world.heldout import (
    assert_trainable,
    combinations,
    evaluation_combinations,
    is_heldout,
)
from zoo.world.kinds import plain
from zoo.world.phrasebook import phrases
from zoo.world.words import ATTRIBUTES

GRAMMAR = re.compile(
    r"a (small|large) (red|green|blue|yellow|purple|orange|cyan|white) (circle|square|triangle) "
    r"(moves right|moves left|moves up|moves down|stays still|circles around|zooms in|zooms out) "
    r"on a (black|gray|navy|brown|teal) background"
)


def test_every_combination_has_its_own_sentence_of_the_grammar() -> None:
    every = torch.cat([combinations(heldout=True), combinations(heldout=False)])
    sentences = {sentence(row) for row in every}
    assert len(sentences) == len(every) == 2 * 8 * 3 * 8 * 5
    assert all(GRAMMAR.fullmatch(text) for text in sentences)


def test_a_sentence_can_be_read_back() -> None:
    for row in combinations(heldout=True)[::7].tolist():
        assert indices_of(sentence(row)) == row
    with pytest.raises(ValueError, match="no sentence"):
        indices_of("a red circle moves right")


def test_a_tenth_is_held_out_and_every_pair_of_words_is_trained_on() -> None:
    held, trained = combinations(heldout=True), combinations(heldout=False)
    assert len(held) * 10 == len(held) + len(trained)
    sizes = [len(words) for words in ATTRIBUTES.values()]
    for one in range(5):
        for two in range(one + 1, 5):
            pairs = {tuple(pair) for pair in trained[:, [one, two]].tolist()}
            assert len(pairs) == sizes[one] * sizes[two]


def test_the_rule_is_fixed() -> None:
    rows = torch.tensor([[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 5, 0, 0, 0], [0, 3, 1, 1, 0]])
    assert is_heldout(rows).tolist() == [True, False, True, True]


def test_the_sampler_refuses_held_out_combinations() -> None:
    scenes = plain.sample(2000, torch.Generator().manual_seed(0))
    assert not bool(is_heldout(scenes["attributes"]).any())
    with pytest.raises(AssertionError, match="held-out"):
        assert_trainable(torch.tensor([[0, 0, 0, 0, 0]]))


def test_prompts_for_evaluation_are_held_out_and_use_all_words() -> None:
    rows = evaluation_combinations(64)
    assert bool(is_heldout(rows).all()) and len(rows.unique(dim=0)) == 64
    for column, words in enumerate(ATTRIBUTES.values()):
        counts = rows[:, column].bincount(minlength=len(words))
        assert int(counts.max() - counts.min()) <= 3
    assert torch.equal(rows, evaluation_combinations(64))


def test_the_exact_sentence_is_what_plain_scenes_are_called() -> None:
    generator = torch.Generator().manual_seed(0)
    scenes = plain.sample(50, generator)
    assert all(GRAMMAR.fullmatch(text) for text in KINDS["plain"].captions(scenes, generator))


def test_no_toy_word_is_spelled_and_nothing_is_unknown() -> None:
    tokenizer, generator = build(), torch.Generator().manual_seed(0)
    texts = [p.text for p in phrases(800, generator)]
    texts += [paraphrase(row, generator) for row in combinations(heldout=True)]
    for kind in KINDS.values():
        texts += kind.captions(kind.sample(10, generator), generator)
    for text in texts:
        tokens = tokenizer.encode(text).tokens
        assert tokens[-1] == "</s>" and len(tokens) <= 64
        assert not any(len(token) == 1 and token.isalnum() for token in tokens), text


def test_foreign_text_falls_back_to_letters_and_bytes() -> None:
    tokenizer = build()
    unknown = tokenizer.token_to_id("<unk>")
    for text in ("a zebra quilt 42", "色调艳丽，过曝", "☃ é <s> <0x41>", "A LARGE Red circle"):
        encoded = tokenizer.encode(text, add_special_tokens=False)
        assert unknown not in encoded.ids
    assert tokenizer.decode(tokenizer.encode("色调, café ☃").ids) == "色调, café ☃"
    assert tokenizer.encode("A  LARGE Red").ids == tokenizer.encode("a large red").ids
    assert tokenizer.encode("").ids == [1]
    assert [tokenizer.token_to_id(t) for t in ("<pad>", "</s>", "<s>", "<unk>")] == [0, 1, 2, 3]
