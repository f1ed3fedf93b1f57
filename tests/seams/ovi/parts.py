"""What Ovi's stage is put together from: guidance, conditioning, the first frame, the source of the sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor

from wan_core.contract import BranchCall, Conditioning, Held, Latents, Step, Timed, VideoSize
from wan_core.media import fit_signed, read_still
from wan_core.models.vae import WanVAE

COND = BranchCall("cond")


@attrs.frozen
class ScalePerLatent:
    """``u + g·(c − u)`` with a g for each named latent; the unconditional branch may skip blocks."""

    scales: Mapping[str, float]
    skip_blocks: frozenset[int] = frozenset()

    def branches(self, step: Step) -> tuple[BranchCall, ...]:
        """Both, or only the conditional one where all scales are 1."""
        if all(scale == 1 for scale in self.scales.values()):
            return (COND,)
        return (COND, BranchCall("uncond", self.skip_blocks))

    def combine(
        self, predictions: Mapping[str, Latents], latents: Latents, step: Step
    ) -> dict[str, Tensor]:
        """One velocity for each latent."""
        cond = predictions["cond"]
        uncond = predictions.get("uncond", cond)
        return {n: uncond[n] + g * (cond[n] - uncond[n]) for n, g in self.scales.items()}


def told(prompt: Tensor, negatives: Mapping[str, Tensor], first: Tensor | None) -> Conditioning:
    """One prompt for both towers, a negative one for each, and the first latent frame where it is given.

    Args:
        prompt: rows ``[batch, rows, width]``, as those of ``negatives``.
        first: ``[batch, channels, 1, height, width]``.
    """
    conditioning = Conditioning(text=dict.fromkeys(negatives, Timed(prompt)))
    if first is not None:
        conditioning = attrs.evolve(conditioning, pin={"video": (Held(first),)}, held_timestep=0.0)
    return conditioning.with_branch("uncond", text={n: Timed(t) for n, t in negatives.items()})


@torch.no_grad()
def first_frame(vae: WanVAE, picture: Path, size: VideoSize) -> Tensor:
    """A picture as a latent frame ``[1, channels, 1, height, width]``."""
    pixels = torch.from_numpy(fit_signed(read_still(picture).pixels, size.width, size.height))
    weights = next(vae.parameters())
    return vae.encode(pixels.permute(2, 0, 1)[None, :, None].to(weights))[0]


@attrs.frozen(eq=False)
class Tone:
    """Stands in for a sound decoder: a chunk of 512 samples for each latent."""

    latents: Tensor
    replayable: bool = True
    rate: int = 16_000

    def __iter__(self) -> Iterator[Tensor]:
        for latent in self.latents[0].T:
            yield latent.mean().tanh().expand(1, 512).float().cpu()
