"""What a name in a LoRA file means: the path of a module, and the part that the tensor plays there."""

from __future__ import annotations

import re

__all__ = ["split"]

_ADAPTER = r"(?:\.(?!bias\.)[\w-]+)?"
"""PEFT's name of the adapter, which some files keep: ``lora_A.default.weight``, ``lora_A.my-style.weight``."""

_ENDS = {
    "down": rf"\.lora_down\.weight|\.lora_A{_ADAPTER}\.weight|\.lora_A|[._]lora\.down\.weight"
    r"|\.lora_linear_layer\.down\.weight",
    "up": rf"\.lora_up\.weight|\.lora_B{_ADAPTER}\.weight|\.lora_B|[._]lora\.up\.weight"
    r"|\.lora_linear_layer\.up\.weight",
    "mid": r"\.lora_mid\.weight",
    "up_bias": rf"\.lora_B{_ADAPTER}\.bias|\.lora_up\.bias",
    "alpha": r"\.alpha",
    "factor": r"\.alpha_scale",
    "dora": r"\.dora_scale",
    "magnitude": r"\.lora_magnitude_vector(?:\.[\w-]+)?",
    "reshape": r"\.reshape_weight",
    "diff": r"\.diff|\.w_norm",
    "diff_b": r"\.diff_b|\.b_norm",
    "diff_m": r"\.diff_m",
    "set": r"\.set_weight",
    **{f"hada_{part}": rf"\.hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f"lokr_{part}": rf"\.lokr_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t2")},
    "lokr_w1": r"\.lokr_w1",
    "lokr_w2": r"\.lokr_w2",
}
_END = re.compile("(?:" + "|".join(f"(?P<{role}>{end})" for role, end in _ENDS.items()) + ")$")


def split(name: str) -> tuple[str, str] | None:
    """``"blocks.0.ffn.0.lora_A.weight"`` -> (``"blocks.0.ffn.0"``, ``"down"``); None for another tensor.

    The parts: ``down``, ``up``, ``mid`` and ``up_bias`` of a pair; ``alpha``, ``factor`` (alpha over rank),
    ``dora``, ``magnitude`` and ``reshape`` beside one; ``diff``, ``diff_b``, ``diff_m`` and ``set`` by
    themselves; ``hada_…`` and ``lokr_…`` as LyCORIS calls them.
    """
    found = _END.search(name)
    return (name[: found.start()], str(found.lastgroup)) if found else None
