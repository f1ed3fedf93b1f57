"""What an image-to-video model is given beside noise: some frames of the clip, and a mask that says which.

As in Wan 2.1: 4 mask channels, then the latents of a clip that holds the given frames and mid-grey elsewhere.
The image encoder sees one given picture; with nothing given there are no image tokens at all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wan_core.models.wan import known_frames_mask
from zoo.world import render
from zoo.world.continued import continued
from zoo.world.draw import Scenes
from zoo.world.kinds.kind import Kind

Indices = Callable[[int], tuple[int, ...]]


def _opening(count: int) -> Indices:
    return lambda frames: tuple(range(min(count, frames)))


#: what is given -> numbers of the given frames in a clip of so many frames
GIVEN: dict[str, Indices] = {
    "first": _opening(1),
    "ends": lambda frames: (0, frames - 1),
    "opening of 5": _opening(5),
    "opening of 9": _opening(9),
    "nothing": lambda frames: (),
}
NAMES = tuple(GIVEN)
NOTHING = NAMES.index("nothing")
#: those that continue another clip -> number of frames
OPENINGS = {NAMES.index(f"opening of {count}"): count for count in (5, 9)}
#: how many of them begin with what another clip ended with, not with the motion that is told
CONTINUED = 0.5
#: how often each is trained on
SHARES = {"first": 0.5, "ends": 0.25, "opening of 5": 0.1, "opening of 9": 0.1, "nothing": 0.05}


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Numbers of what is given to ``count`` clips, ``[count]`` int64 on the CPU."""
    shares = torch.tensor([SHARES[name] for name in NAMES])
    return torch.multinomial(shares, count, replacement=True, generator=generator)


def clips_of(
    kind: Kind,
    scenes: Scenes,
    kinds: Tensor,
    generator: torch.Generator,
    device: torch.device,
    size: tuple[int, int, int],
) -> Tensor:
    """Draw scenes of which ``kinds [batch]`` will be given; some plain ones continue another clip."""
    clips = render(kind, scenes, device, size)
    going_on = torch.rand(len(kinds), generator=generator) < CONTINUED
    for number, count in OPENINGS.items():
        chosen = (kinds == number) & going_on
        if kind.name == "plain" and count < size[0] and bool(chosen.any()):
            part = {name: value[chosen] for name, value in scenes.items()}
            clips[chosen.to(device)] = continued(part, count, generator, device, size)
    return clips


def masks(frames: int) -> Tensor:
    """The mask channels of everything in ``GIVEN``: ``[kinds, 4, latent frames, 1, 1]``."""
    return torch.stack([known_frames_mask(frames, GIVEN[name](frames), 1, 1) for name in NAMES])


def only_given(clips: Tensor, kinds: Tensor) -> Tensor:
    """Clips ``[batch, 3, frames, height, width]`` with mid-grey for all frames that are not given."""
    frames = clips.shape[2]
    keep = torch.zeros(len(NAMES), frames)
    for number, name in enumerate(NAMES):
        keep[number, list(GIVEN[name](frames))] = 1.0
    return clips * keep[kinds.cpu()].to(clips)[:, None, :, None, None]


def shown(clips: Tensor, kinds: Tensor) -> Tensor:
    """The picture that the image encoder sees of each clip, ``[batch, 3, height, width]``.

    That is the first frame, and of an opening its last one: from there the video goes on.
    """
    frames = clips.shape[2]
    last = [0 if name == "ends" else max((0, *GIVEN[name](frames))) for name in NAMES]
    place = torch.tensor(last, device=clips.device)[kinds.to(clips.device)]
    return clips[torch.arange(len(clips), device=clips.device), :, place]


def channels(mask: Tensor, latents: Tensor) -> Tensor:
    """The channels behind the noisy ones: mask, then the latents of the given frames.

    Args:
        mask: ``[batch, 4, f, 1, 1]``.
        latents: ``[batch, 16, f, h, w]``.

    Returns:
        ``[batch, 20, f, h, w]``.
    """
    return torch.cat([mask.to(latents).expand(-1, -1, -1, *latents.shape[-2:]), latents], dim=1)
