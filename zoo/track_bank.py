"""Clips of the world of tracks, encoded once, with where their objects are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from wan_core.models.vae import WanVAE
from zoo import given, tiny_clip, track_edit, train_video
from zoo.train_video import Captions, Size, encoder_of, text_rows
from zoo.training import Clock, say
from zoo.world import KINDS, render
from zoo.world.draw import Scenes, canvas
from zoo.world.heldout import assert_trainable
from zoo.world.kinds import plain, tracked
from zoo.world.kinds.kind import Kind

#: one batch of so many is of plain scenes, whose sentences say where the object goes
PLAIN_EVERY = 8
_FIRST = given.NAMES.index("first")


@attrs.frozen(eq=False)
class Batch:
    """What one step learns from.

    Attributes:
        latents: ``[batch, 16, f, h, w]``.
        channels: mask and latents of the first frame, not yet edited, ``[batch, 20, f, h, w]``.
        tokens: image tokens, ``[batch, tokens, width]``.
        rows: text rows, ``[batch, 64, 128]``.
        centres: of the objects, in pixels, ``[batch, frames, 2, 3]``.
        radii: of the objects, in pixels, ``[batch, 2]``.
    """

    latents: Tensor
    channels: Tensor
    tokens: Tensor
    rows: Tensor
    centres: Tensor
    radii: Tensor


@attrs.frozen(eq=False)
class Bank:
    """Encoded clips on the training device.

    Attributes:
        clips: latents and captions.
        given: latents of the clips with only their first frame, ``[clips, 16, f, h, w]`` float16.
        tokens: image tokens of the first frames, float16.
        centres, radii: see ``Batch``.
        mask: the mask channels, ``[1, 4, f, 1, 1]``.
    """

    clips: train_video.Bank
    given: Tensor
    tokens: Tensor
    centres: Tensor
    radii: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.radii)

    def batch(self, size: int, generator: torch.Generator | None = None) -> Batch:
        """Random clips, each with one of its captions or with none."""
        index, caption = self.clips.draw(size, generator)
        return Batch(
            self.clips.latents[index],
            given.channels(self.mask.expand(size, -1, -1, -1, -1), self.given[index].float()),
            self.tokens[index].float(),
            self.clips.rows[caption],
            self.centres[index],
            self.radii[index],
        )


def where(kind: Kind, scenes: Scenes, size: Size) -> tuple[Tensor, Tensor]:
    """Centres ``[batch, frames, 2, 3]`` and radii ``[batch, 2]`` of objects, in pixels."""
    frames, height, width = size
    side = min(height, width)
    if kind.name == "tracked":
        radii = torch.stack([scenes["first_radius"], scenes["second_radius"]], -1) * side
        return tracked.tracks_of(scenes, frames, height, width), radii
    x, y, radius = plain.track_of(scenes, canvas(frames, height, width, "cpu"))
    x, y, radius = (value.expand(-1, frames) for value in (x, y, radius))
    one = torch.stack([x * side, y * side, torch.ones_like(x)], -1)
    centres = torch.stack([one, torch.zeros_like(one)], 2)
    return centres, torch.stack([radius[:, 0], radius[:, 0]], -1) * side


class Encoder:
    """Clips as a bank keeps them, on their device."""

    def __init__(self, encode: Callable[[Tensor], Tensor], tower: Any) -> None:
        self.encode = encode
        self.tower = tower
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, clips: Tensor) -> None:
        """Encode ``[batch, 3, frames, height, width]``."""
        kinds = torch.full((len(clips),), _FIRST)
        tokens = tiny_clip.tokens_of(self.tower, tiny_clip.pixels_of(clips[:, :, 0]))
        alone = self.encode(given.only_given(clips, kinds))
        self._parts.append((self.encode(clips).half(), alone.half(), tokens.half()))

    def parts(self) -> tuple[Tensor, ...]:
        """Latents, latents of the first frame alone, image tokens."""
        return tuple(torch.cat(part) for part in zip(*self._parts, strict=True))


@torch.no_grad()
def fill(
    vae: WanVAE,
    tower: Any,
    folder: Path,
    count: int,
    seconds: float,
    size: Size,
    device: torch.device,
    *,
    compile_it: bool,
    batch: int = 128,
    heldout: bool = False,
) -> Bank:
    """Draw and encode clips until there are ``count`` or ``seconds`` are over.

    Args:
        heldout: draw combinations that are kept for evaluation, and only objects on paths.
    """
    clock = Clock(seconds / 60)
    generator = torch.Generator().manual_seed(82 if heldout else 83)
    sample = render(KINDS["plain"], KINDS["plain"].sample(batch, generator), device, size)
    encoder = Encoder(encoder_of(vae, device, compile_it, sample), tower)
    captions, places, number = Captions(), [], 0
    while number * batch < count and not clock.over:
        kind: Kind = tracked.TRACKED
        if heldout:
            scenes = tracked.scenes_of(batch, generator, heldout=True)
        else:
            kind = KINDS["plain"] if number % PLAIN_EVERY == PLAIN_EVERY - 1 else kind
            scenes = kind.sample(batch, generator)
            for name in ("attributes", "first_attributes", "second_attributes"):
                if name in scenes:
                    assert_trainable(scenes[name])
        encoder.add(render(kind, scenes, device, size))
        places.append(where(kind, scenes, size))
        captions.add(kind, scenes, generator)
        number += 1
    latents, alone, tokens = encoder.parts()
    bank = train_video.Bank(
        latents,
        torch.tensor(captions.told, device=device),
        torch.tensor(captions.reworded, device=device),
        text_rows(folder, captions.texts, device),
        captions.words,
    )
    say(f"bank: {len(latents)} clips, {len(bank.rows)} captions, {clock.elapsed:.0f} s")
    centres, radii = (torch.cat(part).to(device) for part in zip(*places, strict=True))
    mask = given.masks(size[0])[_FIRST][None].to(device)
    return Bank(bank, alone, tokens, centres, radii, mask)


def edited(batch: Batch, tracks: Tensor) -> Tensor:
    """The channels of a batch with processed tracks in them."""
    temperature = track_edit.scaled_temperature(*batch.channels.shape[-2:])
    return track_edit.edit(batch.channels, tracks, temperature)
