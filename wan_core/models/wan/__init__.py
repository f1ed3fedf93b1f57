"""The Wan transformer, 2.1 and 2.2: text, image, first-last-frame and VACE conditioning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.models.wan.assembly import known_frames_mask as known_frames_mask
    from wan_core.models.wan.assembly import vace_context as vace_context
    from wan_core.models.wan.attention import attend as attend
    from wan_core.models.wan.attention import rotate as rotate
    from wan_core.models.wan.block import BlockCall as BlockCall
    from wan_core.models.wan.block import WanBlock as WanBlock
    from wan_core.models.wan.config import WanConfig as WanConfig
    from wan_core.models.wan.denoiser import WanDenoiser as WanDenoiser
    from wan_core.models.wan.dialects import DIALECTS as DIALECTS
    from wan_core.models.wan.embeddings import Head as Head
    from wan_core.models.wan.embeddings import PatchEmbedding as PatchEmbedding
    from wan_core.models.wan.embeddings import grid_of as grid_of
    from wan_core.models.wan.embeddings import sinusoid as sinusoid
    from wan_core.models.wan.embeddings import unpatchify as unpatchify
    from wan_core.models.wan.files import KEEP_FLOAT32 as KEEP_FLOAT32
    from wan_core.models.wan.layers import Float32LayerNorm as Float32LayerNorm
    from wan_core.models.wan.layers import Float32Linear as Float32Linear
    from wan_core.models.wan.layers import RMSNorm as RMSNorm
    from wan_core.models.wan.layers import gated_add as gated_add
    from wan_core.models.wan.layers import modulated_norm as modulated_norm
    from wan_core.models.wan.patches import AttentionPatches as AttentionPatches
    from wan_core.models.wan.rope import RopeCache as RopeCache
    from wan_core.models.wan.rope import rope_tables as rope_tables
    from wan_core.models.wan.sub_steps import CrossAttention as CrossAttention
    from wan_core.models.wan.sub_steps import FeedForward as FeedForward
    from wan_core.models.wan.sub_steps import SelfAttention as SelfAttention
    from wan_core.models.wan.sub_steps import Source as Source
    from wan_core.models.wan.transformer import WanTransformer as WanTransformer
    from wan_core.models.wan.vace import VaceBlock as VaceBlock

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "known_frames_mask": "assembly",
        "vace_context": "assembly",
        "DIALECTS": "dialects",
        "KEEP_FLOAT32": "files",
        "AttentionPatches": "patches",
        "BlockCall": "block",
        "CrossAttention": "sub_steps",
        "FeedForward": "sub_steps",
        "Float32LayerNorm": "layers",
        "Float32Linear": "layers",
        "Head": "embeddings",
        "PatchEmbedding": "embeddings",
        "RMSNorm": "layers",
        "RopeCache": "rope",
        "SelfAttention": "sub_steps",
        "Source": "sub_steps",
        "VaceBlock": "vace",
        "WanBlock": "block",
        "WanConfig": "config",
        "WanDenoiser": "denoiser",
        "WanTransformer": "transformer",
        "attend": "attention",
        "gated_add": "layers",
        "grid_of": "embeddings",
        "modulated_norm": "layers",
        "rope_tables": "rope",
        "rotate": "attention",
        "sinusoid": "embeddings",
        "unpatchify": "embeddings",
    },
)
