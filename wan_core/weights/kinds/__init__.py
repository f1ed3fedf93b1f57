"""Kinds of checkpoints: for each a function that recognises it by the names and shapes of its tensors."""

from __future__ import annotations

from wan_core.weights.kinds import encoders, strangers, vaes, wan
from wan_core.weights.kinds.base import Identity
from wan_core.weights.kinds.lora import lora
from wan_core.weights.kinds.names import Names

__all__ = ["recognise"]

# an exact kind comes before one with fewer marks
RECOGNISERS = (
    lora,
    strangers.checkpoint,
    wan.humo,
    wan.longcat,
    wan.ovi,
    wan.wan_transformer,
    wan.wan_module,
    vaes.mmaudio_vae,
    vaes.wan_vae,
    vaes.tiny_vae,
    vaes.flashvsr_projection,
    vaes.bigvgan,
    encoders.t5,
    encoders.clip_vision,
    encoders.clip_text,
    encoders.sound_encoder,
    strangers.stranger,
    encoders.language_model,
    vaes.other_vae,
)


def recognise(names: Names) -> Identity:
    """The first kind that fits, or one of component ``"unknown"``."""
    found = (recogniser(names) for recogniser in RECOGNISERS)
    return next((identity for identity in found if identity), Identity("unknown"))
