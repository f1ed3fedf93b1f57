"""How the families of Wan are told of given frames: as channels beside the latents, or as a clean first frame.

Sources: Wan-Video/Wan2.1 ``wan/image2video.py``, ``wan/first_last_frame2video.py``; Wan-Video/Wan2.2
``wan/image2video.py``, ``wan/textimage2video.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Held, Timed, sliced
from wan_core.contract.requests import GivenFrames, PictureRequest
from wan_core.models.vae import encode_pieces
from wan_core.models.wan.assembly import known_frames_mask


def as_channels(request: PictureRequest, conditioning: Conditioning) -> Conditioning:
    """Channels beside the latents: where frames are given, and the video of them on mid-grey, encoded.

    ``[1, 4 + z, latent frames, height, width]``. A family with an image encoder also gets the image tokens
    of the pictures that it is shown, one picture's after the other's.
    """
    size = request.size
    latents = _encoded(request, size.frames)
    known = [g.start + i for g in request.given for i in range(g.frames.shape[1])]
    mask = known_frames_mask(size.frames, known, *latents.shape[-2:], device=latents.device)
    channels = torch.cat([mask[None], latents], dim=1).to(request.device)
    conditioning = attrs.evolve(
        conditioning, concat={request.latents: (Timed(channels, sliced()),)}
    )
    if "image_encoder" not in request.family.components:
        return conditioning
    return attrs.evolve(conditioning, image_tokens={request.latents: Timed(_tokens(request))})


def as_clean_frames(request: PictureRequest, conditioning: Conditioning) -> Conditioning:
    """Latent frames that stay clean at timestep 0: those that the given first frames encode to."""
    (first,) = request.given
    latents = _encoded(request, first.frames.shape[1])
    return attrs.evolve(
        conditioning, pin={request.latents: (Held(latents.to(request.device)),)}, held_timestep=0.0
    )


def _encoded(request: PictureRequest, frames: int) -> Tensor:
    """The first ``frames`` frames of the video, grey where nothing is given, as float32 latents."""
    vae = request.components.get("vae")
    with request.task("encoding pictures", total=frames, unit="frame") as progress:
        latents = encode_pieces(vae, _on_grey(request.given, frames), progress)
    request.components.release("vae")
    return latents


def _on_grey(given: Sequence[GivenFrames], frames: int) -> Iterator[Tensor]:
    """``[1, 3, 1, height, width]`` for each frame, one at a time."""
    known = {g.start + i: g.frames[:, i : i + 1] for g in given for i in range(g.frames.shape[1])}
    grey = torch.zeros_like(next(iter(known.values())))
    for index in range(frames):
        yield known.get(index, grey)[None]


def _tokens(request: PictureRequest) -> Tensor:
    """``[1, pictures * tokens, width]``."""
    shown = request.family.pictures.shown if request.family.pictures else ()
    # frames that continue a video stand in the place of a first picture
    as_first = {"continues": "image"}
    pictures = [
        g.picture for name in shown for g in request.given if as_first.get(g.name, g.name) == name
    ]
    encoder = request.components.get("image_encoder")
    with request.task("encoding image tokens", total=len(pictures), unit="picture"):
        tokens: Tensor = encoder.encode(pictures)
    request.components.release("image_encoder")
    return tokens.flatten(0, 1)[None].to(request.device, request.dtype)
