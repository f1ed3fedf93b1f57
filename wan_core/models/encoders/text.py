"""The text encoder: prompts to text rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from wan_core.contract.errors import WeightsError
from wan_core.memory.units import Unit
from wan_core.models.encoders.cleaning import Cleaning, clean
from wan_core.models.encoders.tokenizer import Tokenizer, find_tokenizer
from wan_core.models.encoders.umt5 import UMT5Encoder, load_umt5
from wan_core.weights.files import open_weights
from wan_core.weights.loading import Keep

__all__ = ["TextEncoder", "load_text_encoder"]


class TextEncoder:
    """Prompts to text rows: cleaning, tokenizer and UMT5.

    Attributes:
        umt5: the network.
        tokenizer: text to ids.
        text_len: longest prompt in ids, ``</s>`` included; what is longer is cut.
        cleaning: see :func:`~wan_core.models.encoders.clean`.
    """

    def __init__(
        self,
        umt5: UMT5Encoder,
        tokenizer: Tokenizer,
        text_len: int = 512,
        cleaning: Cleaning = "whitespace",
    ) -> None:
        if tokenizer.size > umt5.config.vocabulary:
            raise WeightsError(
                f"the tokenizer has {tokenizer.size} ids, the text encoder knows"
                f" {umt5.config.vocabulary}: they do not belong together"
            )
        self.umt5 = umt5
        self.tokenizer = tokenizer
        self.text_len = text_len
        self.cleaning = cleaning

    def units(self) -> list[Unit]:
        """The layers, in order."""
        return self.umt5.units()

    def rest(self) -> dict[str, Tensor]:
        """Parameters outside the layers, by name."""
        return self.umt5.rest()

    def tables(self) -> Collection[str]:
        """The embedding table, which may lie in host memory."""
        return self.umt5.tables()

    @property
    def text_dim(self) -> int:
        """Width of a text row."""
        return self.umt5.config.width

    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """One ``[rows, text_dim]`` per prompt: a row for each id, the one of ``</s>`` last.

        The rows of a prompt do not depend on the other prompts. The transformer fills them up with
        zero rows to ``text_len`` and does not mask those.
        """
        texts = [clean(prompt, self.cleaning) for prompt in prompts]
        return self.umt5.encode([self.tokenizer.encode(text, self.text_len) for text in texts])


def load_text_encoder(
    path: Path | str,
    tokenizer: Path | str | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    text_len: int = 512,
    cleaning: Cleaning = "whitespace",
    keep: Keep | None = None,
) -> TextEncoder:
    """Load a UMT5 checkpoint and its tokenizer.

    Args:
        path: anything that :func:`~wan_core.weights.open_weights` opens.
        tokenizer: a tokenizer file or folder; None looks inside ``path`` and beside it.
        dtype: precision of weights and computation; None keeps the stored one.
        keep: see :func:`~wan_core.weights.load_into`.

    Raises:
        WeightsError: a file is missing, damaged or something else.
    """
    source = open_weights(path)
    # the tokenizer first: it is small, and a wrong one should not cost the reading of 11 GB
    ready = find_tokenizer(source, tokenizer).load()
    umt5 = load_umt5(source, device=device, dtype=dtype, keep=keep)
    return TextEncoder(umt5, ready, text_len, cleaning)
