"""From a file (or a seed) to the components of the built-in families."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from wan_core.contract.errors import WeightsError
from wan_core.contract.quantization import Quantization
from wan_core.contract.requests import LoadRequest
from wan_core.models.encoders import ImageEncoder, TextEncoder, load_clip
from wan_core.models.encoders import load_text_encoder as open_text_encoder
from wan_core.models.vae import VaeConfig, VaeDescriptor, WanVAE, vae_descriptor
from wan_core.models.vae.dialects import DIALECTS as VAE_DIALECTS
from wan_core.models.vae.taehv import Taehv
from wan_core.models.vae.taehv_files import TAEHV_DIALECTS, LastRows, latents_of, taehv_config
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.models.wan.dialects import DIALECTS as WAN_DIALECTS
from wan_core.models.wan.files import block_matrices, lora_targets, transformer_config
from wan_core.weights import TensorSource, in_official_names, load_into, open_weights
from wan_core.weights.lora import merged
from wan_core.weights.numbers import unpacked
from wan_core.weights.quantised.linear import multiply_in_fp8
from wan_core.weights.quantised.packed import Packed, pack

_M = TypeVar("_M", bound=nn.Module)


def load_transformer(request: LoadRequest) -> WanDenoiser:
    """A Wan transformer in any of its dialects; its sizes are read off the tensors. LoRA files are merged."""
    stored = _source(request)
    official = unpacked(in_official_names(stored, (*WAN_DIALECTS, *request.dialects)))
    expert = request.slot.partition(".")[2]
    source = merged(official, lora_targets(stored, request.dialects), request.loras, expert)
    config = transformer_config(source, request.component.config)
    transformer = _on_meta(lambda: WanTransformer(config))
    asked = request.quantization
    matrices = block_matrices(config, asked) if asked else {}
    # what is quantised already stays as it is, and so do the other matrices of such a file
    packs = not any(one.startswith("blocks.") for one in official.layouts)
    load_into(
        transformer,
        source,
        dtype=request.dtype,
        device=request.device,
        keep_float32=WanTransformer.KEEP_FLOAT32,
        pack=_packing(asked) if asked and packs else None,
        packed=matrices if packs else (),
    )
    if asked and asked.products == "fp8":
        exact = {name for name, layout in official.layouts.items() if layout.exact}
        multiply_in_fp8(transformer, matrices.keys() - exact, request.device)
    return WanDenoiser(transformer.eval())


def _packing(asked: Quantization) -> Callable[[Tensor], Packed]:
    return partial(pack, scheme=asked.dtype, by_channel=asked.scale == "channel")


def load_vae(request: LoadRequest) -> WanVAE:
    """A Wan VAE of any width; see :func:`wan_core.models.vae.vae_descriptor`."""
    source = _source(request)
    descriptor = vae_descriptor(source)
    vae = _on_meta(lambda: WanVAE.of(descriptor))
    load_into(vae, source, VAE_DIALECTS, dtype=request.dtype, device=request.device)
    return vae.eval()


def load_taehv(request: LoadRequest) -> Taehv:
    """A tiny preview VAE; see :mod:`wan_core.models.vae.taehv_files`."""
    source = _source(request)
    config = taehv_config(source)
    taehv = _on_meta(lambda: Taehv(config, latents_of(source, config)))
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
    )


def load_image_encoder(request: LoadRequest) -> ImageEncoder:
    """CLIP's vision tower in any of its dialects; ``preparation`` in the component's config names the way."""
    config = request.component.config
    clip = load_clip(
        _source(request),
        device=request.device,
        dtype=request.dtype,
        known={key: config[key] for key in ("num_heads", "num_layers") if key in config},
        dialects=request.dialects,
    )
    return ImageEncoder(clip, config.get("preparation", "official"))


# -- components that make their own weights, for tests of plumbing --------------------------------------

RANDOM_CONFIG = WanConfig(
    dim=32, ffn_dim=64, num_heads=2, num_layers=2, freq_dim=16, text_dim=16, text_len=16
)
RANDOM_VAE = VaeDescriptor("random", VaeConfig(dim=4), (0.0,) * 16, (1.0,) * 16)


def random_transformer(request: LoadRequest) -> WanDenoiser:
    """A transformer of the smallest shapes with fixed random weights."""
    transformer = _random(WanTransformer(RANDOM_CONFIG), request)
    return WanDenoiser(transformer)


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


def _source(request: LoadRequest) -> TensorSource:
    if request.file is None:
        raise WeightsError(f"the {request.slot} needs a file", where=request.slot)
    return open_weights(request.file)


def _on_meta(build: Callable[[], _M]) -> _M:
    with torch.device("meta"):
        return build()
