"""Everything the tiny text encoder learns to say, for the toy world of today and the ones to come.

A phrase is a template with slots; each slot has its options. The text encoder is trained to tell
from a sentence which option fills which slot, so sentences with one meaning come out alike. The
tokenizer knows every word that can appear here, the words of ``EXTRA``, letters, and raw bytes.
"""

from __future__ import annotations

import re
import string

import attrs
import torch

from zoo.world import captions as toy
from zoo.world.heldout import combinations
from zoo.world.words import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLOURS,
    EYES,
    HAIR,
    LIGHTS,
    MOTIONS,
    MOUTHS,
    SHAPES,
    SIZES,
    TEXTURES,
)

SLOTS: dict[str, tuple[str, ...]] = {
    "size": SIZES,
    "colour": COLOURS,
    "shape": SHAPES,
    "motion": MOTIONS,
    "background": BACKGROUNDS,
    "colour2": COLOURS,
    "shape2": SHAPES,
    "motion2": MOTIONS,
    "background2": BACKGROUNDS,
    "light": (*LIGHTS, "front", "back", "above", "below", "side"),
    "lightcolour": ("warm", "cool", "white", "red", "green", "blue", "yellow", "orange", "purple"),
    "strength": ("dim", "soft", "bright", "strong", "hard", "glaring"),
    "lightmove": (
        "the light moves from left to right",
        "the light moves from right to left",
        "the light moves from top to bottom",
        "the light moves around",
        "the light gets brighter",
        "the light gets darker",
        "the light flickers",
        "the light stays still",
    ),
    "direction_of_light": (
        "Front Light",
        "Side Light",
        "Back Light",
        "Top Light",
        "Bottom Light",
        "Split Light",
        "Ambient Light Without Clear Direction",
    ),
    "light_source": ("Natural Light", "Artificial Light", "Rendering Light"),
    "light_intensity": ("Glare", "Moderate", "Dim"),
    "temperature": ("Cool Tone", "Neutral", "Warm Tone"),
    "light_changes": (
        "Static Light",
        "Dynamic Light(Intensity Changing Light)",
        "Dynamic Light(Moving Light Source)",
    ),
    "phenomena": (
        "Transmission (Glass)",
        "Refraction/Reflection (Water Surface, Mirror)",
        "Scattering (Fog Effect)",
        "None",
    ),
    "texture": (*TEXTURES, "noisy", "bumpy", "smooth", "shiny", "flat", "shaded", "rough"),
    "path": (
        "a straight line",
        "a curved path",
        "an s-shaped path",
        "a zigzag path",
        "a spiral path",
        "a square path",
        "a circular path",
        "the drawn path",
        "the trajectory",
        "the track",
    ),
    "speed": ("slowly", "quickly", "steadily", "smoothly", "very slowly", "very quickly"),
    "from": ("left", "right", "top", "bottom", "center", "top left", "top right"),
    "to": ("left", "right", "top", "bottom", "center", "bottom left", "bottom right"),
    "hair": (*HAIR, "no"),
    "eyes": EYES,
    "skin": ("pale", "light", "tan", "dark"),
    "who": ("face", "man", "woman", "boy", "girl", "robot", "child", "person"),
    "mouth": (*MOUTHS, "speaks", "laughs", "opens the mouth", "closes the mouth", "nods", "blinks"),
    "mood": ("happy", "sad", "calm", "angry", "surprised"),
    "syllable": ("ba ba ba", "ma ma ma", "la la la", "oo oo oo", "ee ee ee", "hello", "yes", "no"),
    "sound": (
        "a low tone",
        "a high tone",
        "a rising tone",
        "a falling tone",
        "a steady hum",
        "a beep",
        "three beeps",
        "a click",
        "a bounce",
        "a whoosh",
        "white noise",
        "a melody",
        "a voice",
        "silence",
        "soft music",
        "drums",
        "a bell",
    ),
    "quality": (
        "blurry",
        "sharp",
        "low resolution",
        "high resolution",
        "low quality",
        "high quality",
        "pixelated",
        "detailed",
        "noisy",
        "grainy",
        "clean",
    ),
    "count": ("one", "two", "three", "four", "five"),
    "then": ("then it", "and then", "after that it", "while it", "before it"),
    "colourchange": COLOURS,
}

#: (how often, template); {paraphrase} is a free rewording of a toy scene
TEMPLATES: tuple[tuple[float, str], ...] = (
    (10, toy.GRAMMAR),
    (6, "{paraphrase}"),
    (2, toy.GRAMMAR + ", lit from the {light}"),
    (1, toy.GRAMMAR + " with {strength} light"),
    (1, toy.GRAMMAR + ", {strength} {lightcolour} light from the {light}"),
    (1, "the scene is lit by {strength} {lightcolour} light from the {light}, {lightmove}"),
    (1, "a {texture} {colour} surface lit from the {light}, {lightmove}"),
    (1, "a {texture} {colour} surface lit from the {light}"),
    (
        2,
        "a {colour} {shape} on a {background} background. Direction of Light: {direction_of_light},"
        " Light Source Type: {light_source}, Light Intensity: {light_intensity}, Color Temperature:"
        " {temperature}, Light Changes in Time: {light_changes}, Optical Phenomena: {phenomena}.",
    ),
    (1, "a {size} {colour} {shape} {motion} on a {texture} {background} background"),
    (1, "a {size} {texture} {colour} {shape} {motion} on a {background} background"),
    (
        1,
        "a {size} {colour} {shape} {motion} on a {background} to {background2} gradient background",
    ),
    (2, "a {size} {colour} {shape} {motion} {speed} on a {background} background"),
    (2, "a {size} {colour} {shape} follows {path} on a {background} background"),
    (1, "a {size} {colour} {shape} moves along {path} from the {from} to the {to} {speed}"),
    (
        1,
        "a {colour} {shape} and a {colour2} {shape2} follow curved paths on a {background} background",
    ),
    (
        1,
        "a {colour} {shape} {motion} and a {colour2} {shape2} {motion2} on a {background} background",
    ),
    (1, "{count} {size} {colour} {shape}s on a {background} background"),
    (1, "a {size} {colour} {shape} {motion}, {then} {motion2} on a {background} background"),
    (1, "a {size} {colour} {shape} becomes {colourchange} on a {background} background"),
    (1, "it {motion}, the background is {background}"),
    (3, "a cartoon {who} with {hair} hair and {eyes} eyes {mouth} on a {background} background"),
    (1, "a {mood} cartoon {who} with {skin} skin, {hair} hair and {eyes} eyes {mouth}"),
    (1, "a cartoon {who} says <S>{syllable}<E> on a {background} background"),
    (1, "the {who} says {syllable} with {strength} voice"),
    (1, "a {colour} {shape} {motion} with the sound of {sound}"),
    (1, "a cartoon {who} {mouth}. <AUDCAP>{sound}<ENDAUDCAP>"),
    (1, "a {size} {colour} {shape} {motion} on a {background} background. Audio: {sound}"),
    (1, "we hear {sound}"),
    (1, "a {quality} video of a {size} {colour} {shape} {motion} on a {background} background"),
    (1, "a {quality} video of a cartoon {who} with {hair} hair and {eyes} eyes"),
    (0.5, "{quality}, {texture}, {colour}"),
    (0.3, "a {colour} {shape}"),
    (0.3, "a {size} {colour} {shape}"),
    (0.3, "{background} background"),
    (0.3, ""),
)

#: words that no template needs but that people will type
_EXTRA_TEXT = """
an and or not no without is are was be been it its they there this that these those in of at to by
for from with into onto over under behind before after between near next around along across
through inside outside up down left right top bottom middle center corner edge side front back
above below first second third last start end begins starts stops stopped keeps continues turns
turning rotates rotating spins spinning bounces bouncing jumps jumping falls flies flying floats
floating rolls rolling swings shakes pulses fades appears disappears changes shows moves moving
move slides sliding goes going comes runs walks dances drifts drifting fast slow quick faster
slower still static moving object objects shape shapes thing things ball balls box boxes disc star
heart rectangle line dot dots ring cube sphere cone cylinder diamond oval ellipse cross arrow wave
cloud sun moon tree house car cat dog bird fish flower water fire sky sea grass sand snow rain
night day sunset sunrise neon candle lamp window room floor wall studio forest beach city street
mountain scene picture image video clip movie film animation cartoon drawing frame frames camera
shot view zoom pan close wide simple abstract geometric flat colored colorful colourful color
colour dark light bright pale deep vivid pink magenta lime gold golden silver beige maroon olive
turquoise violet indigo grey black white gray navy brown teal tiny little big huge giant medium
long short tall thin thick round pointed same different other another all every each many few some
any more most less very really slightly quite almost only just style quality best worst high low
good bad beautiful ugly distorted deformed disfigured blurred blurry details subtitles watermark
text overexposed underexposed artifacts compression residue jpeg messy extra fingers hands faces
limbs legs people walking backwards still style works paintings incomplete misshapen fused poorly
drawn crowded mouth lips nose ears glasses hat beard smile smiling talking singing speaking silent
open closed man woman boy girl person people speech voice voices sound sounds audio music song
word words hello goodbye yes yeah hi bye one two three four five six seven eight nine ten zero ah
oh uh eh mm ba ma la da ga pa ta oo ee aa red green blue yellow purple orange cyan segment second
seconds motion speed slowly quickly again once twice while then when as if so but
"""
EXTRA = tuple(re.findall(r"[a-z]+", _EXTRA_TEXT))

SUFFIXES = ("s", "es", "ed", "d", "ing", "er", "est", "ly", "y", "'s", "n't")


@attrs.frozen
class Phrase:
    """A sentence and which options its slots hold.

    Attributes:
        text: the sentence.
        labels: slot name -> index into ``SLOTS[name]``; slots not mentioned are missing.
    """

    text: str
    labels: dict[str, int]


def say(template: str, generator: torch.Generator) -> Phrase:
    """Fill one template at random. Toy scenes are never held-out combinations.

    (The text encoder could see them without harm; keeping them away makes the claim simple.)
    """

    def draw(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    names = re.findall(r"{(\w+)}", template)
    toy_names = set(ATTRIBUTES)
    labels: dict[str, int] = {}
    if template == "{paraphrase}" or toy_names <= set(names):
        row = _trainable()[draw(len(_trainable()))].tolist()
        labels = dict(zip(ATTRIBUTES, row, strict=True))
        if template == "{paraphrase}":
            return Phrase(toy.paraphrase(row, generator), labels)
    for name in names:
        labels.setdefault(name, draw(len(SLOTS[name])))
    words = {name: SLOTS[name][labels[name]] for name in names}
    return Phrase(template.format(**words), labels)


def phrases(count: int, generator: torch.Generator) -> list[Phrase]:
    """``count`` sentences, templates as often as ``TEMPLATES`` says."""
    weights = torch.tensor([weight for weight, _ in TEMPLATES], dtype=torch.float64)
    rows = torch.multinomial(weights, count, replacement=True, generator=generator)
    return [say(TEMPLATES[row][1], generator) for row in rows.tolist()]


def _trainable() -> torch.Tensor:
    global _TRAINABLE
    if _TRAINABLE is None:
        _TRAINABLE = combinations(heldout=False)
    return _TRAINABLE


_TRAINABLE: torch.Tensor | None = None


def vocabulary() -> list[str]:
    """Every whole word (lower case, no punctuation) the tokenizer knows, sorted."""
    found = {word for text in _texts() for word in words_in(re.sub(r"<\w+>", " ", text))}
    return sorted(found | {f"{shape}s" for shape in SHAPES} | set(EXTRA))


def compounds() -> list[str]:
    """What stands between two spaces and holds a mark inside, e.g. "light:" or "(glass)", sorted.

    As pieces of their own they keep the long lighting prompts short.
    """
    tokens = {token.lower() for text in _texts() for token in text.split()}
    return sorted(
        t
        for t in (token.rstrip(",.") for token in tokens)
        if re.search(r"[a-z]", t) and re.search(r"[(/:-]", t) and not re.search(r"[<>]", t)
    )


def _texts() -> list[str]:
    """All templates (slots left out) and all options."""
    texts = [template for _, template in TEMPLATES]
    texts += [option for options in SLOTS.values() for option in options]
    texts += toy.PARAPHRASES
    for table in (toy.MOVING, toy.MOVES, toy.SYNONYMS):
        texts += [option for options in table.values() for option in options]
    return [re.sub(r"{\w+}", " ", text) for text in texts]


def words_in(text: str) -> list[str]:
    """The words of a sentence, lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())


LETTERS = string.ascii_lowercase + string.digits
PUNCTUATION = ".,;:!?'\"()-_/<>[]&+*=%#@"
