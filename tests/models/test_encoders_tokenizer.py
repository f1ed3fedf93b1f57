"""Tokenizers: ids with one ``</s>``, cut at the text length, the same from both file formats."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
import torch
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from wan_core.contract.errors import ResourceError, WeightsError
from wan_core.models.encoders import TokenizerFile, find_tokenizer, open_tokenizer
from wan_core.weights import StateDict

TEXT = ["a red circle moves right on a black background", "a large blue square stays still"]
PAD, END = 0, 1


@pytest.fixture(scope="module")
def spiece() -> bytes:
    """A small SentencePiece unigram model with the special ids of UMT5 and byte fallback."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 20),
        model_writer=model,
        vocab_size=400,
        model_type="unigram",
        pad_id=PAD,
        eos_id=END,
        bos_id=2,
        unk_id=3,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def fast(spiece: bytes) -> str:
    """The same model as a ``tokenizer.json``, made as transformers does; asks for padding."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=spiece)
    count = processor.get_piece_size()
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(count)]
    tokenizer = Fast(models.Unigram(pieces, unk_id=3, byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    tokenizer.enable_padding(length=512, pad_id=PAD, pad_token="<pad>")
    tokenizer.enable_truncation(5)
    return tokenizer.to_str()


@pytest.fixture(params=["spiece.model", "tokenizer.json"])
def file(request: pytest.FixtureRequest, spiece: bytes, fast: str) -> TokenizerFile:
    return TokenizerFile(
        request.param, spiece if request.param == "spiece.model" else fast.encode()
    )


def test_ids_end_with_one_end_token(file: TokenizerFile) -> None:
    tokenizer = file.load()
    assert (tokenizer.pad_id, tokenizer.end_id) == (PAD, END)
    ids = tokenizer.encode("a red circle")
    assert ids[-1] == END
    assert ids.count(END) == 1
    assert 2 not in ids
    assert max(ids) < tokenizer.size


@pytest.mark.parametrize(
    ("count", "length"), [(0, 1), (1, 2), (510, 511), (511, 512), (512, 512), (600, 512)]
)
def test_text_is_cut_to_make_room_for_the_end_token(
    file: TokenizerFile, count: int, length: int
) -> None:
    tokenizer = file.load()
    word = " ".join(["still"] * count)
    whole = tokenizer.pieces(word)
    assert len(whole) == count  # "still" is one piece of this model
    ids = tokenizer.encode(word)
    assert len(ids) == length
    assert ids == [*whole[:511], END]
    assert tokenizer.encode(word, text_len=2) == [*whole[:1], END]


def test_both_formats_give_the_same_ids(spiece: bytes, fast: str) -> None:
    slow, quick = TokenizerFile("a", spiece).load(), TokenizerFile("b", fast.encode()).load()
    for text in (*TEXT, "", "a purple triangle, zooming in!", "红色的圆 🙂", "ﬁne"):
        assert slow.encode(text) == quick.encode(text)


def test_where_a_tokenizer_is_looked_for(tmp_path: Path, spiece: bytes, fast: str) -> None:
    weights = tmp_path / "text_encoder" / "model.safetensors"
    weights.parent.mkdir()
    source = StateDict({"a": torch.zeros(1)}, weights.name, (weights,))
    with pytest.raises(WeightsError, match=r"model\.safetensors: no tokenizer was found"):
        find_tokenizer(source)
    for place in ("tokenizer", "text_encoder/google/umt5-xxl", "text_encoder"):
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spiece.model").write_bytes(spiece)
        assert Path(find_tokenizer(source).label).resolve() == folder / "spiece.model"
    (tmp_path / "text_encoder" / "tokenizer.json").write_text(fast)
    assert find_tokenizer(source).label.endswith("tokenizer.json")
    embedded = torch.frombuffer(bytearray(spiece), dtype=torch.uint8)
    inside = StateDict({"model.spiece_model": embedded, "model.a": embedded}, "x", (weights,))
    assert find_tokenizer(inside).data == spiece
    named = find_tokenizer(inside, tmp_path / "tokenizer")
    assert named.data == spiece
    assert named.label == str(tmp_path / "tokenizer" / "spiece.model")


def test_fingerprints_follow_the_content(spiece: bytes, fast: str) -> None:
    assert TokenizerFile("a", spiece).fingerprint == TokenizerFile("b", spiece).fingerprint
    assert TokenizerFile("a", spiece).fingerprint != TokenizerFile("a", fast.encode()).fingerprint


@pytest.mark.parametrize("data", [b"", b"nonsense", b"{}", b'{"model": 3}', b"\xff{"])
def test_what_is_no_tokenizer(data: bytes) -> None:
    with pytest.raises(WeightsError, match="no tokenizer of UMT5"):
        TokenizerFile("x.json", data).load()


def test_a_tokenizer_without_an_end_token() -> None:
    data = tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0)).to_str()
    with pytest.raises(WeightsError, match="no </s>"):
        TokenizerFile("x.json", data.encode()).load()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no tokenizer"):
        open_tokenizer(tmp_path)


def test_without_sentencepiece(monkeypatch: pytest.MonkeyPatch, spiece: bytes) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ResourceError, match="pip install sentencepiece"):
        TokenizerFile("spiece.model", spiece).load()
