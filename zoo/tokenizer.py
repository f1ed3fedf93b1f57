"""The tiny tokenizer: whole words of all toy worlds, then letters, then raw bytes; never <unk>.

A SentencePiece-like unigram model in the form of the ``tokenizers`` library, with UMT5's special
tokens (pad 0, end 1, start 2, unknown 3). Text is lower-cased; ``</s>`` is put at the end.
"""

from __future__ import annotations

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.models import Unigram

from zoo.world.phrasebook import LETTERS, PUNCTUATION, SUFFIXES, compounds, vocabulary

PAD, END, START, UNKNOWN = "<pad>", "</s>", "<s>", "<unk>"
SPECIAL = (PAD, END, START, UNKNOWN)
#: marks of speech and of sound descriptions; they keep their case
MARKS = ("<S>", "<E>", "<AUDCAP>", "<ENDAUDCAP>")
SPACE = "\u2581"

_WORD, _SUFFIX, _LETTER, _NEVER = -8.0, -10.0, -12.0, -100.0


def pieces() -> list[tuple[str, float]]:
    """The vocabulary in the order of its ids, each piece with its log-probability."""
    entries = [(token, _NEVER) for token in (*SPECIAL, *MARKS)]
    entries += [(f"<0x{byte:02X}>", _NEVER) for byte in range(256)]
    entries += [(SPACE + word, _WORD) for word in (*vocabulary(), *compounds())]
    entries += [(suffix, _SUFFIX) for suffix in SUFFIXES if len(suffix) > 1]
    entries += [(letter, _LETTER) for letter in (SPACE, *LETTERS, *PUNCTUATION)]
    known: dict[str, float] = {}
    for piece, score in entries:
        known.setdefault(piece, score)
    return list(known.items())


def build() -> Tokenizer:
    """The tokenizer. ``tokenizer.save(path)`` writes its one file."""
    tokenizer = Tokenizer(Unigram(pieces(), unk_id=SPECIAL.index(UNKNOWN), byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement=SPACE, prepend_scheme="always")]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in MARKS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[(END, SPECIAL.index(END))]
    )
    return tokenizer
