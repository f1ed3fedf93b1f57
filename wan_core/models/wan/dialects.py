"""How files name the tensors of a Wan transformer: the official names, and those of diffusers.

Sources: Wan-Video/Wan2.1 ``wan/modules/model.py``; huggingface/diffusers
``scripts/convert_wan_to_diffusers.py``. Repackaged files (ComfyUI) use the official names behind a
prefix, which is stripped before a dialect is looked for.
"""

from __future__ import annotations

from collections.abc import Set

from wan_core.weights.dialects import Dialect, renaming

COMPONENT = "wan-transformer"

_ATTENTION = {
    "q.{*}": "to_q.{*}",
    "k.{*}": "to_k.{*}",
    "v.{*}": "to_v.{*}",
    "o.{*}": "to_out.0.{*}",
    "norm_q.{*}": "norm_q.{*}",
    "norm_k.{*}": "norm_k.{*}",
}
_IMAGE_SOURCE = {
    "k_img.{*}": "add_k_proj.{*}",
    "v_img.{*}": "add_v_proj.{*}",
    "norm_k_img.{*}": "norm_added_k.{*}",
}
_BLOCK = {
    "modulation": "scale_shift_table",
    "norm3.{*}": "norm2.{*}",
    **{f"self_attn.{ours}": f"attn1.{theirs}" for ours, theirs in _ATTENTION.items()},
    **{
        f"cross_attn.{ours}": f"attn2.{theirs}"
        for ours, theirs in (_ATTENTION | _IMAGE_SOURCE).items()
    },
    "ffn.0.{*}": "ffn.net.0.proj.{*}",
    "ffn.2.{*}": "ffn.net.2.{*}",
}
_VACE_BLOCK = _BLOCK | {"before_proj.{*}": "proj_in.{*}", "after_proj.{*}": "proj_out.{*}"}
_TOP = {
    "patch_embedding.{*}": "patch_embedding.{*}",
    "vace_patch_embedding.{*}": "vace_patch_embedding.{*}",
    "text_embedding.0.{*}": "condition_embedder.text_embedder.linear_1.{*}",
    "text_embedding.2.{*}": "condition_embedder.text_embedder.linear_2.{*}",
    "time_embedding.0.{*}": "condition_embedder.time_embedder.linear_1.{*}",
    "time_embedding.2.{*}": "condition_embedder.time_embedder.linear_2.{*}",
    "time_projection.1.{*}": "condition_embedder.time_proj.{*}",
    "img_emb.proj.0.{*}": "condition_embedder.image_embedder.norm1.{*}",
    "img_emb.proj.1.{*}": "condition_embedder.image_embedder.ff.net.0.proj.{*}",
    "img_emb.proj.3.{*}": "condition_embedder.image_embedder.ff.net.2.{*}",
    "img_emb.proj.4.{*}": "condition_embedder.image_embedder.norm2.{*}",
    "img_emb.emb_pos": "condition_embedder.image_embedder.pos_embed",
    "head.modulation": "scale_shift_table",
    "head.head.{*}": "proj_out.{*}",
}
_PAIRS = [
    *_TOP.items(),
    *((f"blocks.{{b}}.{ours}", f"blocks.{{b}}.{theirs}") for ours, theirs in _BLOCK.items()),
    *(
        (f"vace_blocks.{{b}}.{ours}", f"vace_blocks.{{b}}.{theirs}")
        for ours, theirs in _VACE_BLOCK.items()
    ),
]

_official_to_official, _ = renaming((ours, ours) for ours, _ in _PAIRS)
_to_official, _from_official = renaming(_PAIRS)


def _is_official(names: Set[str]) -> bool:
    return "blocks.0.self_attn.q.weight" in names and "head.modulation" in names


def _is_diffusers(names: Set[str]) -> bool:
    return "blocks.0.attn1.to_q.weight" in names and "condition_embedder.time_proj.weight" in names


OFFICIAL = Dialect(
    "official", COMPONENT, _is_official, _official_to_official, _official_to_official
)
DIFFUSERS = Dialect(
    "diffusers",
    COMPONENT,
    _is_diffusers,
    _to_official,
    _from_official,
    ignores=("blocks.*.attn2.norm_added_q.*",),  # never used by any implementation
)
DIALECTS = (OFFICIAL, DIFFUSERS)
