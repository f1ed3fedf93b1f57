"""Sentences about scenes: the exact grammar, and other ways of saying the same.

``sentence`` is the grammar that users are told about; it is by far the most frequent in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.world.words import ATTRIBUTES

GRAMMAR = "a {size} {colour} {shape} {motion} on a {background} background"

#: other phrasings of the same scene; {motion} is a whole verb phrase, {moving} its -ing form
PARAPHRASES = (
    "a {size} {colour} {shape} {motion} in front of a {background} background",
    "on a {background} background, a {size} {colour} {shape} {motion}",
    "a {colour} {shape} of {size} size {motion} on a {background} background",
    "the {size} {colour} {shape} {motion} on the {background} background",
    "a video of a {size} {colour} {shape} {moving} on a {background} background",
    "a {size} {colour} {shape} is {moving}, the background is {background}",
    "{size} {colour} {shape}, {moving}, {background} background",
    "there is a {size} {colour} {shape} on a {background} background. it {motion}",
)

MOVING = {
    "moves right": ("moving right", "moving to the right", "going right"),
    "moves left": ("moving left", "moving to the left", "going left"),
    "moves up": ("moving up", "moving upwards", "going up", "rising"),
    "moves down": ("moving down", "moving downwards", "going down", "falling"),
    "stays still": ("staying still", "standing still", "not moving", "resting"),
    "circles around": ("circling around", "going around in a circle", "moving in a circle"),
    "zooms in": ("zooming in", "growing", "getting bigger"),
    "zooms out": ("zooming out", "shrinking", "getting smaller"),
}
MOVES = {
    "moves right": ("moves to the right", "goes right", "slides to the right"),
    "moves left": ("moves to the left", "goes left", "slides to the left"),
    "moves up": ("moves upwards", "goes up", "rises"),
    "moves down": ("moves downwards", "goes down", "falls"),
    "stays still": ("does not move", "stands still", "rests"),
    "circles around": ("moves in a circle", "goes around in a circle", "circles"),
    "zooms in": ("grows", "gets bigger", "becomes larger"),
    "zooms out": ("shrinks", "gets smaller", "becomes smaller"),
}
SYNONYMS = {
    "small": ("little", "tiny"),
    "large": ("big", "huge"),
    "circle": ("disc", "ball"),
    "square": ("box",),
    "gray": ("grey",),
}


def words_of(attributes: Sequence[int] | Tensor) -> dict[str, str]:
    """The five words of one combination of indices."""
    return {
        name: words[int(i)] for (name, words), i in zip(ATTRIBUTES.items(), attributes, strict=True)
    }


def sentence(attributes: Sequence[int] | Tensor) -> str:
    """The grammar's sentence for one combination of indices, e.g. ``[1, 0, 0, 0, 0]``."""
    return GRAMMAR.format(**words_of(attributes))


def indices_of(text: str) -> list[int]:
    """The inverse of ``sentence``.

    Raises:
        ValueError: ``text`` is no sentence of the grammar.
    """
    for motion in ATTRIBUTES["motion"]:
        head, found, tail = text.partition(f" {motion} on a ")
        if found and tail.endswith(" background") and len(head.split()) == 4:
            _, size, colour, shape = head.split()
            words = (size, colour, shape, motion, tail.removesuffix(" background"))
            return [
                known.index(word) for known, word in zip(ATTRIBUTES.values(), words, strict=True)
            ]
    raise ValueError(f"{text!r} is no sentence of the toy grammar")


def paraphrase(attributes: Sequence[int] | Tensor, generator: torch.Generator) -> str:
    """Some other sentence with the same meaning."""
    words = words_of(attributes)
    motion = words["motion"]

    def pick(options: Sequence[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    template = pick(PARAPHRASES)
    if float(torch.rand((), generator=generator)) < 0.5:
        words["motion"] = pick(MOVES[motion])
    words["moving"] = pick(MOVING[motion])
    for name, word in words.items():
        if word in SYNONYMS and float(torch.rand((), generator=generator)) < 0.3:
            words[name] = pick(SYNONYMS[word])
    return template.format(**words)
