"""The tokenizer of UMT5: text to ids, from ``tokenizer.json`` or from a SentencePiece model.

Ids of UMT5: ``<pad>`` 0, ``</s>`` 1; one ``</s>`` ends every prompt, nothing begins it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import ResourceError, WeightsError
from wan_core.weights.prefixes import strip_prefixes
from wan_core.weights.sources import TensorSource

__all__ = ["Tokenizer", "TokenizerFile", "find_tokenizer", "open_tokenizer"]

FILE_NAMES = ("tokenizer.json", "spiece.model")
EMBEDDED = "spiece_model"

LARGEST = 64 * 2**20
"""Bytes; the published ones have 5 to 17 MB."""

BESIDE = (".", "google/umt5-xxl", "umt5-xxl", "tokenizer", "../tokenizer")
"""Where published repositories keep the tokenizer, seen from the folder of the weights."""


@attrs.frozen
class Tokenizer:
    """Text to ids.

    Attributes:
        pieces: the ids of a text without any special ones around it.
        end_id: of ``</s>``.
        pad_id: of ``<pad>``.
        size: number of ids that may occur.
    """

    pieces: Callable[[str], list[int]]
    end_id: int
    pad_id: int
    size: int

    def encode(self, text: str, text_len: int = 512) -> list[int]:
        """Ids of ``text`` with ``</s>`` at the end, cut to ``text_len`` ids in all.

        An empty text is the one id ``</s>``.
        """
        return [*self.pieces(text)[: text_len - 1], self.end_id]


@attrs.frozen
class TokenizerFile:
    """A tokenizer that is known and can be told from others, but not loaded yet.

    Attributes:
        label: what error messages call it.
        data: content of a ``tokenizer.json`` or of a SentencePiece model.
        path: its file; None for one inside the text encoder's file.
    """

    label: str
    data: bytes = attrs.field(repr=False)
    path: Path | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.data).hexdigest()

    def load(self) -> Tokenizer:
        """Build the tokenizer.

        Raises:
            WeightsError: the content is neither of the two formats.
            ResourceError: the library that reads it is not installed.
        """
        is_json = self.data[:64].lstrip()[:1] == b"{"
        return _from_json(self) if is_json else _from_sentencepiece(self)


def open_tokenizer(path: Path | str) -> TokenizerFile:
    """A tokenizer file, or the one in a folder: ``tokenizer.json`` before ``spiece.model``.

    Raises:
        WeightsError: there is none.
    """
    path = Path(path)
    inside = [path / name for name in FILE_NAMES] if path.is_dir() else [path]
    for file in inside:
        if file.is_file():
            return TokenizerFile(str(file), _read(file), file)
    raise WeightsError("there is no tokenizer", where=str(path))


def find_tokenizer(source: TensorSource, named: Path | str | None = None) -> TokenizerFile:
    """The tokenizer that belongs to the text encoder ``source``.

    That is the one named, else the ``spiece_model`` inside the file, else the one in
    :data:`BESIDE`.

    Raises:
        WeightsError: there is none.
    """
    if named is not None:
        return open_tokenizer(named)
    stripped = strip_prefixes(source)
    if EMBEDDED in stripped.tensors:
        if stripped.tensors[EMBEDDED].nbytes > LARGEST:
            raise WeightsError("the tokenizer inside is too large for UMT5", where=source.label)
        data = stripped.get(EMBEDDED).numpy().tobytes()
        return TokenizerFile(f"{source.label}, {EMBEDDED}", data)
    folder = source.files[0].parent
    for place in BESIDE:
        if any((folder / place / name).is_file() for name in FILE_NAMES):
            return open_tokenizer(folder / place)
    raise WeightsError(
        "no tokenizer was found in the text encoder's file or beside it",
        where=source.label,
        remedy='put the folder "google/umt5-xxl" beside it or name one with tokenizer = "…"',
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror})", where=str(path)) from error
    if len(data) > LARGEST:
        raise WeightsError(
            f"this is no tokenizer of UMT5 (it is larger than {LARGEST // 2**20} MiB)",
            where=str(path),
        )
    return data


def _from_json(file: TokenizerFile) -> Tokenizer:
    tokenizers = _library("tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_str(file.data.decode())
    except UnicodeDecodeError as error:
        raise _unreadable(file, "it is no text") from error
    except Exception as error:
        raise _unreadable(file, error) from error
    # the file may ask for either; the text encoder decides both
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def pieces(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    end, pad = tokenizer.token_to_id("</s>"), tokenizer.token_to_id("<pad>")
    if end is None or pad is None:
        raise _unreadable(file, "it has no </s> or no <pad>")
    return Tokenizer(pieces, end, pad, tokenizer.get_vocab_size())


def _from_sentencepiece(file: TokenizerFile) -> Tokenizer:
    sentencepiece = _library("sentencepiece")
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(file.data)
    except Exception as error:
        # the library's own words name its source files
        raise _unreadable(file, "no SentencePiece model") from error

    def pieces(text: str) -> list[int]:
        ids: list[int] = processor.encode(text, out_type=int)
        return ids

    end, pad = processor.eos_id(), processor.pad_id()
    if end < 0 or pad < 0:
        raise _unreadable(file, "it has no </s> or no <pad>")
    return Tokenizer(pieces, end, pad, processor.get_piece_size())


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ResourceError(
            f"this tokenizer needs the package {name}, which is not installed",
            remedy=f'run "pip install {name}"',
        ) from error


def _unreadable(file: TokenizerFile, why: object) -> WeightsError:
    return WeightsError(f"this is no tokenizer of UMT5 ({why})", where=file.label)
