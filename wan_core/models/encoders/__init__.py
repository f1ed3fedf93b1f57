"""Encoders: prompts to text rows (UMT5, its tokenizer, cleaning and cache), pictures to image tokens (CLIP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.models.encoders.cache import EmbeddingCache as EmbeddingCache
    from wan_core.models.encoders.cache import embedding_key as embedding_key
    from wan_core.models.encoders.cleaning import clean as clean
    from wan_core.models.encoders.clip import ClipVision as ClipVision
    from wan_core.models.encoders.clip import load_clip as load_clip
    from wan_core.models.encoders.clip_files import CLIP_DIALECTS as CLIP_DIALECTS
    from wan_core.models.encoders.clip_files import ClipConfig as ClipConfig
    from wan_core.models.encoders.dialects import UMT5_DIALECTS as UMT5_DIALECTS
    from wan_core.models.encoders.image import ImageEncoder as ImageEncoder
    from wan_core.models.encoders.preparation import PREPARATIONS as PREPARATIONS
    from wan_core.models.encoders.preparation import Preparation as Preparation
    from wan_core.models.encoders.preparation import prepare as prepare
    from wan_core.models.encoders.text import TextEncoder as TextEncoder
    from wan_core.models.encoders.text import load_text_encoder as load_text_encoder
    from wan_core.models.encoders.tokenizer import Tokenizer as Tokenizer
    from wan_core.models.encoders.tokenizer import TokenizerFile as TokenizerFile
    from wan_core.models.encoders.tokenizer import find_tokenizer as find_tokenizer
    from wan_core.models.encoders.tokenizer import open_tokenizer as open_tokenizer
    from wan_core.models.encoders.umt5 import UMT5Config as UMT5Config
    from wan_core.models.encoders.umt5 import UMT5Encoder as UMT5Encoder
    from wan_core.models.encoders.umt5 import load_umt5 as load_umt5

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "CLIP_DIALECTS": "clip_files",
        "ClipConfig": "clip_files",
        "ClipVision": "clip",
        "EmbeddingCache": "cache",
        "ImageEncoder": "image",
        "PREPARATIONS": "preparation",
        "Preparation": "preparation",
        "TextEncoder": "text",
        "Tokenizer": "tokenizer",
        "TokenizerFile": "tokenizer",
        "UMT5Config": "umt5",
        "UMT5Encoder": "umt5",
        "UMT5_DIALECTS": "dialects",
        "clean": "cleaning",
        "embedding_key": "cache",
        "find_tokenizer": "tokenizer",
        "load_clip": "clip",
        "load_text_encoder": "text",
        "load_umt5": "umt5",
        "open_tokenizer": "tokenizer",
        "prepare": "preparation",
    },
)
