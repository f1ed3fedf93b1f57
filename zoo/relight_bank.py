"""Relighting pairs, encoded once: foregrounds, backgrounds and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import attrs
import torch
from torch import Tensor

from wan_core.models.vae import WanVAE
from zoo.train_video import UNTOLD, Size, encoder_of, text_rows
from zoo.training import Clock, say
from zoo.world import relit
from zoo.world.draw import Scenes, choice
from zoo.world.heldout import assert_trainable, combinations
from zoo.world.kinds import plain
from zoo.world.words import LIGHTS

#: how often what is given: a foreground alone, with a background, a background alone, nothing
MODES = {"foreground": 0.45, "both": 0.45, "background": 0.05, "nothing": 0.05}
NAMES = tuple(MODES)
#: share of foregrounds that are evenly lit, and of new backgrounds in which the object's place is noise
EVEN, MASKED = 0.5, 0.7
#: how far latents of foregrounds are off, on average
OFF = 0.05
#: how often the scene is told in other words
RETOLD = 0.2


@attrs.frozen(eq=False)
class Batch:
    """What one step learns from.

    Attributes:
        latents: the relit clips, ``[batch, 16, f, h, w]``.
        channels: foreground and background, ``[batch, 32, f, h, w]``.
        outline: where the object is, ``[batch, 1, f, h, w]`` in 0..1.
        rows: text rows ``[batch, 64, 128]``.
    """

    latents: Tensor
    channels: Tensor
    outline: Tensor
    rows: Tensor


@attrs.frozen(eq=False)
class Bank:
    """Encoded pairs on the training device; clip latents are ``[pairs, 16, f, h, w]`` float16.

    Attributes:
        foregrounds: evenly lit and lit from anywhere: ``[pairs, 2, 16, f, h, w]``.
        backgrounds: new ones.
        targets: on the own background and on the new one: ``[pairs, 2, 16, f, h, w]``.
        outlines: ``[pairs, f, h, w]`` float16.
        captions: of the targets, told and retold: ``[pairs, 2, 2]`` rows of ``rows``.
        rows: text rows of all captions; the first is the empty one.
        nothing: latents of a grey clip, ``[16, f, h, w]``.
    """

    foregrounds: Tensor
    backgrounds: Tensor
    targets: Tensor
    outlines: Tensor
    captions: Tensor
    rows: Tensor
    nothing: Tensor

    def __len__(self) -> int:
        return len(self.backgrounds)

    def batch(self, size: int, generator: torch.Generator | None = None) -> Batch:
        """Random pairs in random modes."""
        device = self.backgrounds.device

        def dice(share: float) -> Tensor:
            return torch.rand(size, device=device, generator=generator) < share

        index = torch.randint(len(self), (size,), device=device, generator=generator)
        shares = torch.tensor(list(MODES.values()), device=device)
        mode = torch.multinomial(shares, size, replacement=True, generator=generator)
        seen = (mode <= NAMES.index("both"))[:, None, None, None, None]
        new = (mode == NAMES.index("both")) | (mode == NAMES.index("background"))
        lit = (~dice(EVEN)).long()
        front = torch.where(seen, self.foregrounds[index, lit], self.nothing)
        # a video is no rendered clip: its latents are a little off
        off = torch.randn(front.shape, device=device, generator=generator)
        front = torch.where(seen, front + OFF * off, front)
        behind = torch.where(new[:, None, None, None, None], self.backgrounds[index], self.nothing)
        caption = self.captions[index, new.long(), dice(RETOLD).long()]
        caption = torch.where(dice(UNTOLD), 0, caption)
        return Batch(
            self.targets[index, new.long()],
            torch.cat([front, behind], dim=1),
            self.outlines[index, None].float(),
            self.rows[caption],
        )


class Numbers:
    """Captions, every different one once; number 0 is the empty one."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}

    @property
    def texts(self) -> list[str]:
        """Every different caption, by number."""
        return list(self._numbers)

    def of(self, captions: list[str]) -> list[int]:
        """The numbers of some captions."""
        return [self._numbers.setdefault(one, len(self._numbers)) for one in captions]


def pooled(outlines: Tensor, latent: tuple[int, ...]) -> Tensor:
    """Masks ``[batch, frames, height, width]`` on the grid ``(f, h, w)`` of their latents."""
    first, later = outlines[:, None, :1], outlines[:, None, 1:]
    f, h, w = latent
    parts = [torch.nn.functional.adaptive_avg_pool3d(first, (1, h, w))]
    if f > 1:
        parts.append(torch.nn.functional.adaptive_avg_pool3d(later, (f - 1, h, w)))
    return torch.cat(parts, dim=2)[:, 0]


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
    heldout: bool = False,
) -> Bank:
    """Draw and encode pairs until there are ``count`` or ``seconds`` are over.

    Args:
        heldout: only combinations that are never trained on, to measure the loss with.
    """
    clock = Clock(seconds / 60)
    generator = torch.Generator().manual_seed(84 if heldout else 83)
    rows = combinations(heldout=heldout)
    grey = torch.zeros(batch, 3, *size, device=device)
    encode = encoder_of(vae, device, compile_it, grey)
    nothing = encode(grey)[0].half()
    parts: dict[str, list[Tensor]] = {name: [] for name in ("front", "behind", "after", "where")}
    numbers, captions, made = Numbers(), [], 0
    while made < count and not (made and clock.over):
        scenes = plain.scenes_of(rows[choice(batch, len(rows), generator)], generator, relit.TAUGHT)
        light = choice(batch, len(LIGHTS), generator)
        new = relit.graded(relit.elsewhere(scenes, generator), light, generator)
        if not heldout:
            assert_trainable(scenes["attributes"])
            assert_trainable(new["attributes"])
        masked = torch.rand(batch, generator=generator) < MASKED
        fronts = [relit.foregrounds(scenes, e, generator, device, size) for e in (True, False)]
        afters = [
            relit.targets(scenes, light, device, size),
            relit.targets_on(new, light, device, size),
        ]
        behind = relit.backgrounds(new, masked, generator, device, size)
        parts["front"].append(torch.stack([encode(clips).half() for clips in fronts], 1))
        parts["after"].append(torch.stack([encode(clips).half() for clips in afters], 1))
        parts["behind"].append(encode(behind).half())
        outlines = relit.outlines(scenes, device, size)
        parts["where"].append(pooled(outlines, tuple(nothing.shape[1:])).half())
        captions.append(_numbers_of(numbers, (scenes, new), light, generator))
        made += batch
    bank = Bank(
        torch.cat(parts["front"]),
        torch.cat(parts["behind"]),
        torch.cat(parts["after"]),
        torch.cat(parts["where"]),
        torch.cat(captions).to(device),
        text_rows(folder, numbers.texts, device),
        nothing,
    )
    say(f"bank: {len(bank)} pairs, {len(bank.rows)} captions, {clock.elapsed:.0f} s")
    return bank


def _numbers_of(
    numbers: Numbers, both: tuple[Scenes, Scenes], light: Tensor, generator: torch.Generator
) -> Tensor:
    """Captions on both backgrounds, told and retold: ``[batch, 2, 2]``."""
    columns = [
        torch.tensor(
            [numbers.of(relit.told(s, light)), numbers.of(relit.retold(s, light, generator))]
        )
        for s in both
    ]
    return torch.stack(columns).permute(2, 0, 1)
