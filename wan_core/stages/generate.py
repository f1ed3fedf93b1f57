"""The stage ``generate``: a video from a prompt, from pictures, or from another video."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs
from torch import Tensor
from torch.nn import functional as F

from wan_core.contract.conditioning import Conditioning, Held, Timed
from wan_core.contract.lazy import resolve
from wan_core.contract.loading import Components
from wan_core.contract.protocols import ChunkSource
from wan_core.contract.requests import PictureRequest, StageContext, VideoSize
from wan_core.models.vae import WanVAE
from wan_core.sampling import SamplerSetup, SamplerState, noise_sources
from wan_core.stages.driver import VIDEO, Shape, begun, sampled
from wan_core.stages.frames import given_frames, mask_of_latents
from wan_core.stages.handing import LatentVideo, encode_video


def run(context: StageContext) -> Mapping[str, ChunkSource]:
    """Sample latents and hand out a source that decodes them chunk by chunk as it is read."""
    components, size = context.components, context.size
    assert components is not None and size is not None, "generate has a model and a size"
    latents = sampled(
        context,
        lambda shape: _told(context, components, size),
        partial(_start, context, components),
    )
    return {VIDEO: context.post_process(LatentVideo(components, latents, context.emit))}


def _start(
    context: StageContext,
    components: Components,
    setup: SamplerSetup,
    conditioning: Conditioning,
    shape: Shape,
) -> tuple[Conditioning, SamplerState, slice]:
    """Where sampling starts: from noise, or from a given video that is mixed with it.

    Args:
        shape: of the latents of the output, ``(channels, frames, height, width)``.

    Returns:
        The conditioning with what a mask holds, the state before the first step, and the latent frames that
        belong to the output.
    """
    options, size = context.options, context.size
    assert size is not None
    if options.video is None:
        return begun(context, setup, conditioning, shape)
    before, after = (slot.get(VIDEO, 0) for slot in (conditioning.prepend, conditioning.append))
    clean = F.pad(encode_video(context), (0, 0, 0, 0, before, after))
    if options.mask is not None:
        vae: WanVAE = components.get("vae")
        anew = mask_of_latents(context, size, vae.config.stride)
        components.release("vae")
        conditioning = _with_mask(conditioning, context, anew, clean)
    return begun(context, setup, conditioning, shape, clean)


def _told(context: StageContext, components: Components, size: VideoSize) -> Conditioning:
    """What the family tells its denoiser: the prompts, and the frames that are given."""
    conditioning = text_conditioning(context)
    given = given_frames(context, size)
    if not given:
        return conditioning
    assert context.family is not None and context.family.pictures is not None
    request = PictureRequest(
        VIDEO,
        given,
        context.family,
        size,
        components,
        context.device,
        context.dtype,
        context.task,
    )
    with context.attributed(context.family):
        told: Conditioning = resolve(context.family.pictures.condition)(request, conditioning)
    return told


def _with_mask(
    conditioning: Conditioning, context: StageContext, anew: Tensor, clean: Tensor
) -> Conditioning:
    """Hold what a mask does not make anew, at every step's level of noise."""
    # the noise that the run starts from, so that what is held is where a run of its own would have it
    noise = noise_sources(context.options.seed, [VIDEO])[VIDEO].draw(clean.shape)
    before = conditioning.prepend.get(VIDEO, 0)
    frames = slice(before, before + anew.shape[2])
    told = (clean[:, :, frames], 1 - anew, noise[:, :, frames])
    value, keep, noise = (tensor.to(context.device) for tensor in told)
    # what the family or a feature holds is written over it
    pinned = (Held(value, before, keep, noise), *conditioning.pin.get(VIDEO, ()))
    return attrs.evolve(conditioning, pin={**conditioning.pin, VIDEO: pinned})


def text_conditioning(context: StageContext, prompt: str | None = None) -> Conditioning:
    """The prompt for every branch, and the negative prompt for the branch ``"uncond"``.

    Args:
        prompt: what the stage's ``plan`` made of the option ``prompt``; None = the option as it is.
    """

    def rows(prompt: str) -> dict[str, Timed]:
        text = context.text[prompt].to(context.device, context.dtype)
        return {VIDEO: Timed(text.unsqueeze(0))}

    conditioning = Conditioning(text=rows(context.options.prompt if prompt is None else prompt))
    negative = context.options.negative_prompt
    if negative in context.text:
        conditioning = conditioning.with_branch("uncond", text=rows(negative))
    return conditioning
