"""What is said of a checkpoint, and the sentences that name each kind."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wan_core.weights.precision import Precision

__all__ = ["TITLES", "Identity", "LoraTraits"]

TITLES: Mapping[str, str] = {
    "wan-transformer": "a Wan transformer",
    "wan-module": "an extension of a Wan transformer",
    "humo-transformer": "a HuMo transformer",
    "ovi-transformer": "an Ovi transformer",
    "longcat-transformer": "a LongCat-Video transformer",
    "flashvsr-projection": "FlashVSR's projection of low-resolution frames",
    "flashvsr-decoder": "FlashVSR's tiny decoder",
    "wan-vae": "a Wan VAE",
    "taehv": "a tiny preview VAE (TAEHV)",
    "mmaudio-vae": "a VAE for sound (MMAudio)",
    "bigvgan": "a BigVGAN vocoder",
    "video-vae": "a video VAE of another model (not Wan's)",
    "picture-vae": "a picture VAE (not a video VAE)",
    "umt5-encoder": "a UMT5 text encoder",
    "t5-encoder": "a T5 text encoder (not UMT5)",
    "t5-encoder xxl": "a T5-XXL text encoder (not UMT5)",
    "clip-vision": "a CLIP vision tower",
    "clip-text": "a CLIP text encoder",
    "clip-text L": "a CLIP-L text encoder",
    "clip-text G": "a CLIP-G text encoder",
    "clip-text H": "a CLIP-H text encoder",
    "siglip-vision": "a SigLIP vision tower",
    "whisper-encoder": "a Whisper encoder",
    "wav2vec2-encoder": "a wav2vec2 encoder",
    "language-model": "a language model",
    "bert-encoder": "a BERT-like text encoder",
    "sd1-checkpoint": "a Stable Diffusion 1 checkpoint",
    "sd2-checkpoint": "a Stable Diffusion 2 checkpoint",
    "sdxl-checkpoint": "a Stable Diffusion XL checkpoint",
    "sd-unet": "a Stable Diffusion U-Net",
    "sdxl-unet": "a Stable Diffusion XL U-Net",
    "sd3-transformer": "a Stable Diffusion 3 transformer",
    "flux-transformer": "a Flux transformer",
    "chroma-transformer": "a Chroma transformer",
    "hunyuan-video-transformer": "a HunyuanVideo transformer",
    "qwen-image-transformer": "a Qwen-Image transformer",
    "ltx-transformer": "an LTX Video transformer",
    "cogvideox-transformer": "a CogVideoX transformer",
    "mochi-transformer": "a Mochi transformer",
    "cosmos-transformer": "a Cosmos transformer",
    "lumina-transformer": "a Lumina or Z-Image transformer",
    "pixart-transformer": "a PixArt transformer",
    "hidream-transformer": "a HiDream transformer",
    "controlnet": "a ControlNet",
    "upscaler": "a picture upscaler",
    "lora": "a LoRA",
    "unknown": "of no known kind",
}
"""Component (and variant, where it has a title of its own) -> how a sentence calls it."""


@attrs.frozen
class LoraTraits:
    """What a LoRA file is made of.

    Attributes:
        form: how the pairs are called: ``"lora_down/lora_up"``, ``"lora_A/lora_B"``, ``"LoKr"`` …
        ranks: rank -> number of modules with it, most common first.
        modules: modules that it changes.
        keys: tensors in the file.
        width: of the transformer it was made for; 0 when it doesn't show.
        target: title of the model it was made for; ``""`` when it doesn't show.
        extras: what it holds beside pairs, in words.
        inputs: input channels of the patch embedding that it changes; 0 when it changes none.
    """

    form: str
    ranks: Mapping[int, int]
    modules: int
    keys: int
    width: int
    target: str
    extras: tuple[str, ...] = ()
    inputs: int = 0

    @property
    def rank(self) -> int:
        """The most common rank; 0 for a file without pairs."""
        return next(iter(self.ranks), 0)


@attrs.frozen
class Identity:
    """What a checkpoint is, as its header shows.

    Attributes:
        component: ``"wan-transformer"``, ``"wan-vae"``, ``"umt5-encoder"``, ``"clip-vision"``, ``"lora"``,
            another key of :data:`TITLES`, or ``"unknown"``.
        variant: of a transformer ``"t2v"``, ``"i2v"``, ``"flf2v"``, ``"vace"``, ``"ti2v"`` or
            ``"relight"``; of a VAE ``"2.1"`` or ``"2.2"``; ``""`` where there is only one, ``"other"`` for
            parts or sizes beyond these. Models with the same tensors cannot be told apart (ATI looks like
            image-to-video).
        details: sizes that shape the module, named as configurations name them: ``dim``,
            ``ffn_dim``, ``num_layers``, ``in_dim``, ``out_dim``, ``text_dim`` of a transformer,
            ``z_dim`` of a VAE, ``dim``, ``layers``, ``vocabulary`` of a text encoder, ``dim`` and
            ``layers`` of a vision tower, ``rank``, ``dim``, ``modules`` of a LoRA.
        model: the published model for people; names all that have these tensors. ``""`` for none.
        dialect: whose names the file uses: ``"official"``, ``"diffusers"``, ``"transformers"`` …
        lora: of a LoRA, what it is made of.
        precision: how its numbers are stored.
        prefix: what stands before every name in the file.
    """

    component: str
    variant: str = ""
    details: Mapping[str, int] = attrs.field(factory=dict)
    model: str = ""
    dialect: str = ""
    lora: LoraTraits | None = None
    precision: Precision = attrs.field(factory=Precision)
    prefix: str = attrs.field(default="", eq=False)

    @property
    def title(self) -> str:
        """For a sentence: ``"a Wan VAE"``, ``"a CLIP-L text encoder"``."""
        special = TITLES.get(f"{self.component} {self.variant}")
        return special or TITLES.get(self.component, self.component)

    def __str__(self) -> str:
        notes = [self.variant] * (self.variant not in ("", "other"))
        notes += [f"{name} {value}" for name, value in self.details.items()]
        return f"{self.title} ({', '.join(notes)})" if notes else self.title
