"""Recognises VAEs, tiny decoders, and the vocoder that ends the way of sound."""

from __future__ import annotations

from wan_core.weights.kinds.base import Identity
from wan_core.weights.kinds.names import Names

__all__ = ["bigvgan", "flashvsr_projection", "mmaudio_vae", "other_vae", "tiny_vae", "wan_vae"]

_INTO = ("decoder.conv1.weight", "decoder.conv_in.weight")
_HEAD = ("decoder.head.2.weight", "decoder.conv_out.weight")


def wan_vae(names: Names) -> Identity | None:
    # picture VAEs of other models have the same names with 4 axes, those of sound with 3
    if not any(names.rank(name) == 5 for name in _INTO) or not names.size(0, *_HEAD):
        return None
    # the 2.2 VAE works on 2 x 2 pixel patches
    variant = {3: "2.1", 12: "2.2"}.get(names.size(0, *_HEAD), "other")
    width, z_dim = names.size(0, *_INTO), names.size(1, *_INTO)
    model = {
        ("2.1", 384, 16): "the VAE of Wan 2.1, and of the 14 B models of Wan 2.2",
        ("2.1", 96, 16): "LightX2V's lightvae, a pruned VAE of Wan 2.1",
        ("2.2", 1024, 48): "the VAE of Wan 2.2 TI2V 5B",
    }.get((variant, width, z_dim), "")
    dialect = "official" if names.has(_INTO[0]) else "diffusers"
    return Identity("wan-vae", variant, {"z_dim": z_dim}, model, dialect)


def tiny_vae(names: Names) -> Identity | None:
    """TAEHV, and FlashVSR's decoder, which is one that also sees the low-resolution frames."""
    # a block sees its input beside that of the frame before; tiny VAEs for pictures have no memory
    memory = "decoder.5.conv.0.weight"
    sees_past = names.size(1, memory) == 2 * names.size(0, memory) > 0
    if names.rank("decoder.1.weight") != 4 or not sees_past:
        return None
    channels = names.size(1, "decoder.1.weight")
    if channels == 16 + 768:
        model = "FlashVSR's TCDecoder"
        return Identity("flashvsr-decoder", "", {"z_dim": 16}, model, "official")
    variant = {16: "2.1", 48: "2.2"}.get(channels, "other")
    # the one for HunyuanVideo has the sizes of that for Wan 2.1
    model = {
        "2.1": "TAEHV for Wan 2.1 (taew2_1, lighttae; the one for HunyuanVideo has the same tensors)",
        "2.2": "TAEHV for Wan 2.2 TI2V 5B (taew2_2, lighttae)",
    }.get(variant, "")
    return Identity("taehv", variant, {"z_dim": channels}, model, "official")


def flashvsr_projection(names: Names) -> Identity | None:
    inner = names.under("LQ_proj_in.") if names.any("LQ_proj_in.") else names
    sizes = (inner.size(1, "conv1.weight"), inner.rank("conv1.weight"))
    if sizes != (768, 5) or not inner.has("linear_layers.0.weight", "norm1.gamma"):
        return None
    details = {
        "dim": inner.size(0, "linear_layers.0.weight"),
        "layers": inner.count(r"linear_layers\.(\d+)\."),
    }
    model = "FlashVSR's LQ projection (versions 1 and 1.1 have the same tensors)"
    dialect = "official" if inner is names else "wrapper"
    return Identity("flashvsr-projection", "", details, model, dialect)


def mmaudio_vae(names: Names) -> Identity | None:
    into = "decoder.conv_in.weight"
    if names.rank(into) != 3 or not names.has("encoder.conv_out.weight", "decoder.learnable_gain"):
        return None
    bands = names.size(0, "decoder.conv_out.weight")
    model = {80: "MMAudio's VAE for 16 kHz", 128: "MMAudio's VAE for 44.1 kHz"}.get(bands, "")
    details = {"z_dim": names.size(1, into), "bands": bands}
    return Identity("mmaudio-vae", "", details, model, "official")


def bigvgan(names: Names) -> Identity | None:
    forms = {
        "weight norm, old names": "conv_pre.weight_v",
        "weight norm, new names": "conv_pre.parametrizations.weight.original1",
        "weight norm folded": "conv_pre.weight",
    }
    dialect = next((form for form, name in forms.items() if names.has(name)), "")
    if not dialect or not names.has("resblocks.0.activations.0.act.alpha"):
        return None
    details = {
        "dim": names.size(0, forms[dialect]),
        "bands": names.size(1, forms[dialect]),
        "upsamplings": names.count(r"ups\.(\d+)\."),
    }
    model = "BigVGAN for 16 kHz" if details["bands"] == 80 else ""
    return Identity("bigvgan", "", details, model, dialect)


def other_vae(names: Names) -> Identity | None:
    """VAEs of other models."""
    if not names.has("encoder.conv_in.weight") and names.rank("decoder.conv_in.conv.weight") == 5:
        return Identity("video-vae", "", {"z_dim": names.size(1, "decoder.conv_in.conv.weight")})
    if names.rank("decoder.conv_in.weight") != 4:
        return None
    dialect = "diffusers" if names.any("decoder.up_blocks.") else "official"
    details = {"z_dim": names.size(1, "decoder.conv_in.weight")}
    return Identity("picture-vae", "", details, "", dialect)
