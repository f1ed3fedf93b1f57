"""Clips with some of their frames given, encoded once, for the training of the image-to-video model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import torch
from torch import Tensor

from wan_core.models.vae import WanVAE
from zoo import given, tiny_clip, train_video
from zoo.measures import slices
from zoo.train_video import Captions, Size, encoder_of, scene_batches, text_rows
from zoo.training import Clock, say
from zoo.world import KINDS, render
from zoo.world.captions import sentence
from zoo.world.heldout import combinations
from zoo.world.kinds.plain import scenes_of


@attrs.frozen(eq=False)
class Batch:
    """What one step learns from.

    Attributes:
        latents: ``[batch, 16, f, h, w]``.
        channels: mask and latents of what is given, ``[batch, 20, f, h, w]``.
        pixels: prepared pictures ``[batch, 3, size, size]``.
        seen: 1 where the picture is shown, else 0: ``[batch]``.
        rows: text rows ``[batch, 64, 128]``.
    """

    latents: Tensor
    channels: Tensor
    pixels: Tensor
    seen: Tensor
    rows: Tensor


@attrs.frozen(eq=False)
class Bank:
    """Encoded clips with what is given of each, on the training device.

    Attributes:
        clips: latents and captions.
        kinds: what is given, ``[clips]`` int64 numbers of ``zoo.given.NAMES``.
        given: latents of the clips with only that, ``[clips, 16, f, h, w]`` float16.
        pixels: prepared pictures, ``[clips, 3, size, size]`` float16.
        masks: the mask of each kind.
    """

    clips: train_video.Bank
    kinds: Tensor
    given: Tensor
    pixels: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.kinds)

    def batch(self, size: int, generator: torch.Generator | None = None) -> Batch:
        """Random clips, each with one of its captions or with none."""
        index, caption = self.clips.draw(size, generator)
        kinds = self.kinds[index]
        return Batch(
            self.clips.latents[index],
            given.channels(self.masks[kinds], self.given[index]),
            self.pixels[index].float(),
            (kinds != given.NOTHING).float(),
            self.clips.rows[caption],
        )


class Givens:
    """What is given of a bank's clips, encoded as they come."""

    def __init__(self, encode: Callable[[Tensor], Tensor]) -> None:
        self._encode = encode
        self._kinds: list[Tensor] = []
        self._latents: list[Tensor] = []
        self._pixels: list[Tensor] = []

    def add(self, clips: Tensor, kinds: Tensor) -> None:
        """Encode what is given of each clip ``[batch, 3, frames, height, width]``."""
        self._kinds.append(kinds)
        self._latents.append(self._encode(given.only_given(clips, kinds)).half())
        self._pixels.append(tiny_clip.pixels_of(given.shown(clips, kinds)).half())

    def bank(self, clips: train_video.Bank, frames: int) -> Bank:
        """All of it beside the clips themselves."""
        device = clips.latents.device
        return Bank(
            clips,
            torch.cat(self._kinds).to(device),
            torch.cat(self._latents),
            torch.cat(self._pixels),
            given.masks(frames).to(device),
        )


@torch.no_grad()
def fill(
    vae: WanVAE,
    folder: Path,
    count: int,
    seconds: float,
    size: Size,
    device: torch.device,
    *,
    compile_it: bool,
    batch: int = 128,
) -> Bank:
    """Draw and encode clips until there are ``count`` or ``seconds`` are over."""
    clock = Clock(seconds / 60)
    generator = torch.Generator().manual_seed(79)
    sample = render(KINDS["plain"], KINDS["plain"].sample(batch, generator), device, size)
    encode = encoder_of(vae, device, compile_it, sample)
    captions, givens, latents = Captions(), Givens(encode), []
    for kind, scenes in scene_batches(batch, generator):
        kinds = given.draw(batch, generator)
        clips = given.clips_of(kind, scenes, kinds, generator, device, size)
        latents.append(encode(clips).half())
        givens.add(clips, kinds)
        captions.add(kind, scenes, generator)
        if len(captions.told) >= count or clock.over:
            break
    bank = train_video.Bank(
        torch.cat(latents),
        torch.tensor(captions.told, device=device),
        torch.tensor(captions.reworded, device=device),
        text_rows(folder, captions.texts, device),
        captions.words,
    )
    say(f"bank: {len(bank.latents)} clips, {len(bank.rows)} captions, {clock.elapsed:.0f} s")
    return givens.bank(bank, size[0])


@torch.no_grad()
def fill_unseen(vae: WanVAE, folder: Path, size: Size, device: torch.device, count: int) -> Bank:
    """Clips of held-out combinations, to measure the loss on."""
    generator = torch.Generator().manual_seed(80)
    attributes = combinations(heldout=True)
    attributes = attributes[torch.randint(len(attributes), (count,), generator=generator)]

    def encode(clips: Tensor) -> Tensor:
        return vae.encode(clips)[0]

    givens, latents = Givens(encode), []
    for part in slices(scenes_of(attributes, generator), 32):
        kinds = given.draw(len(part["radius"]), generator)
        clips = given.clips_of(KINDS["plain"], part, kinds, generator, device, size)
        latents.append(encode(clips).half())
        givens.add(clips, kinds)
    rows = text_rows(folder, ["", *(sentence(row) for row in attributes.tolist())], device)
    number = torch.arange(1, count + 1, device=device)
    return givens.bank(train_video.Bank(torch.cat(latents), number, number, rows, ()), size[0])
