"""From a file (or a seed) to the components of the built-in families."""

from __future__ import annotations

from typing import TypeVar

import attrs
import torch
from torch import Tensor, nn

from wan_core.contract.errors import WeightsError
from wan_core.contract.loading import LoadRequest
from wan_core.models.encoders import ImageEncoder, TextEncoder, load_clip
from wan_core.models.encoders import load_text_encoder as open_text_encoder
from wan_core.models.stacks import filled, on_meta, opened
from wan_core.models.vae import VaeConfig, VaeDescriptor, WanVAE, vae_descriptor
from wan_core.models.vae.dialects import DIALECTS as VAE_DIALECTS
from wan_core.models.vae.taehv import Taehv
from wan_core.models.vae.taehv_files import TAEHV_DIALECTS, LastRows, latents_of, taehv_config
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.models.wan.files import (
    block_matrices,
    lora_targets,
    stored_units,
    transformer_config,
)
from wan_core.weights import in_official_names, load_into

_M = TypeVar("_M", bound=nn.Module)


def load_transformer(request: LoadRequest) -> WanDenoiser:
    """A Wan transformer in any of its dialects; its sizes are read off the tensors. LoRA files are merged, or
    kept apart, as the request says."""
    stored, known, dialects = opened(request), request.component.config, request.dialects
    stack = stored_units(stored, known, dialects)
    config = transformer_config(stack.source, known)
    asked = request.quantization
    transformer = filled(
        request,
        # a LoRA file may have widened it
        lambda source: WanTransformer(transformer_config(source, known)),
        stack,
        lora_targets(stored, dialects).of_family(known),
        block_matrices(config, asked) if asked else (),
    )
    transformer.rows = request.placement.rows
    return WanDenoiser(transformer, border=known.get("border", "repeat"))


def load_vae(request: LoadRequest) -> WanVAE:
    """A Wan VAE of any width; see :func:`wan_core.models.vae.vae_descriptor`."""
    source = opened(request)
    descriptor = vae_descriptor(source)
    vae = on_meta(lambda: WanVAE.of(descriptor))
    load_into(vae, source, VAE_DIALECTS, dtype=request.dtype, device=request.device)
    return vae.eval()


def load_taehv(request: LoadRequest) -> Taehv:
    """A tiny preview VAE; see :mod:`wan_core.models.vae.taehv_files`."""
    source = opened(request)
    config = taehv_config(source)
    taehv = on_meta(lambda: Taehv(config, latents_of(source, config)))
    needed = LastRows(in_official_names(source, TAEHV_DIALECTS), config.grown)
    load_into(taehv, needed, dtype=request.dtype, device=request.device)
    return taehv.eval()


def load_text_encoder(request: LoadRequest) -> TextEncoder:
    """UMT5 with its tokenizer; the option ``tokenizer`` names the latter's file or folder."""
    if request.file is None:
        raise WeightsError("the text encoder needs a file", where=request.slot)
    return open_text_encoder(
        request.file,
        request.options.get("tokenizer"),
        device=request.device,
        dtype=request.dtype,
        text_len=request.component.config.get("text_len", 512),
        keep=request.keep,
    )


def load_image_encoder(request: LoadRequest) -> ImageEncoder:
    """CLIP's vision tower in any of its dialects; ``preparation`` in the component's config names the way."""
    config = request.component.config
    clip = load_clip(
        opened(request),
        device=request.device,
        dtype=request.dtype,
        known={key: config[key] for key in ("num_heads", "num_layers") if key in config},
        dialects=request.dialects,
        keep=request.keep,
    )
    return ImageEncoder(clip, config.get("preparation", "official"))


# -- components that make their own weights, for tests of plumbing --------------------------------------

RANDOM_CONFIG = WanConfig(
    dim=32, ffn_dim=64, num_heads=2, num_layers=2, freq_dim=16, text_dim=16, text_len=16
)
RANDOM_VAE = VaeDescriptor("random", VaeConfig(dim=4), (0.0,) * 16, (1.0,) * 16)


def random_transformer(request: LoadRequest) -> WanDenoiser:
    """A transformer with fixed random weights, as small as they get, or as the config says."""
    known = request.component.config
    names = [field.name for field in attrs.fields(WanConfig)]
    config = attrs.evolve(RANDOM_CONFIG, **{name: known[name] for name in names if name in known})
    transformer = _random(WanTransformer(config), request)
    return WanDenoiser(transformer, border=known.get("border", "repeat"))


def random_vae(request: LoadRequest) -> WanVAE:
    """A VAE of the smallest shapes with fixed random weights."""
    return _random(WanVAE.of(RANDOM_VAE), request)


class RandomTextEncoder:
    """Turns a prompt into rows by hashing its words: equal words give equal rows, nothing is learned."""

    def __init__(self, width: int, length: int) -> None:
        self.width = width
        self.length = length

    def encode(self, prompts: list[str]) -> list[Tensor]:
        """One ``[words + 1, width]`` per prompt; the last row stands for the end of the text."""
        return [self._rows(prompt.split()[: self.length - 1]) for prompt in prompts]

    def _rows(self, words: list[str]) -> Tensor:
        seeds = [int.from_bytes(word.encode()[:7], "big") for word in words] + [1]
        rows = [torch.randn(self.width, generator=_seeded(seed)) for seed in seeds]
        return torch.stack(rows)


def random_text_encoder(request: LoadRequest) -> RandomTextEncoder:
    """See :class:`RandomTextEncoder`."""
    return RandomTextEncoder(RANDOM_CONFIG.text_dim, RANDOM_CONFIG.text_len)


def _random(module: _M, request: LoadRequest) -> _M:
    generator = _seeded(0)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = max(1, parameter[0].numel()) ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.requires_grad_(False).eval().to(request.device, request.dtype)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
