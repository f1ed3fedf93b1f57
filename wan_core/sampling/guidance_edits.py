"""Edits of classifier-free guidance: small changes of one of its parts, which compose.

Tensors are ``[batch, channels, frames, height, width]`` (or another rank with batch and channels
first), float32. Edits are applied in the order they are listed; the WanVideoWrapper's order is
ZeroStar, TCFG, RAAG, FreSca, TemporalScoreRescaling.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from wan_core.contract.protocols import Step
from wan_core.sampling.schedules import TRAINING_STEPS

TINY = 1e-8


@attrs.frozen(eq=False)
class Parts:
    """What guidance is made of: two velocities and a scale (a number, or one per sample)."""

    cond: Tensor
    uncond: Tensor
    scale: float | Tensor


@attrs.frozen
class Edit:
    """An edit changes the parts, their difference, or the result; by itself it changes nothing."""

    def before(self, parts: Parts) -> Parts:
        """The parts, changed."""
        return parts

    def between(self, difference: Tensor) -> Tensor:
        """``c − u``, changed."""
        return difference

    def after(self, velocity: Tensor, latents: Tensor, step: Step) -> Tensor:
        """The guided velocity, changed."""
        return velocity


@attrs.frozen
class ZeroStar(Edit):
    """CFG-Zero★, arXiv 2503.18886: u is scaled to its best fit to c before the two are compared.

    (The zero-init that belongs to the paper is ``CFG(zero_steps=…)``.)
    """

    def fit(self, cond: Tensor, uncond: Tensor) -> Tensor:
        """``<c, u> / (‖u‖² + 1e-8)`` of each sample, shaped ``[batch, 1, 1, …]``."""
        return _per_sample(cond * uncond) / (_per_sample(uncond * uncond) + TINY)

    def before(self, parts: Parts) -> Parts:
        fitted = parts.uncond * self.fit(parts.cond, parts.uncond)
        return attrs.evolve(parts, uncond=fitted)


@attrs.frozen
class TCFG(Edit):
    """Tangential damping, arXiv 2503.18137: u keeps only what it shares with c.

    Per sample and channel, u is projected on the first right-singular vector of the two rows
    (c, u): up to its length that is ``a·c + b·u``, with (a, b) the leading eigenvector of the rows'
    2x2 Gram matrix.
    """

    def before(self, parts: Parts) -> Parts:
        cond, uncond = parts.cond, parts.uncond
        axes = tuple(range(2, cond.ndim))
        cc, uu, cu = (
            product.sum(axes, keepdim=True)
            for product in (cond * cond, uncond * uncond, cond * uncond)
        )
        angle = 0.5 * torch.atan2(2 * cu, cc - uu)
        a, b = angle.cos(), angle.sin()
        return attrs.evolve(parts, uncond=b * (a * cond + b * uncond))


@attrs.frozen
class RAAG(Edit):
    """Ratio-aware adaptive guidance, arXiv 2508.03442: less guidance where c and u differ much.

    ``g' = 1 + (g − 1)·exp(−alpha·ratio)`` with the mean over channels of
    ``‖c − u‖ / (‖u‖ + 1e-8)`` as ratio.
    """

    alpha: float = 1.0

    def adapted(self, parts: Parts) -> Tensor:
        """The scale of each sample, shaped ``[batch, 1, 1, …]``."""
        difference, uncond = parts.cond - parts.uncond, parts.uncond
        norms = difference.flatten(2).norm(dim=2) / (uncond.flatten(2).norm(dim=2) + TINY)
        ratio = _as_column(norms.mean(dim=1), uncond)
        return 1 + (parts.scale - 1) * torch.exp(-self.alpha * ratio)

    def before(self, parts: Parts) -> Parts:
        return attrs.evolve(parts, scale=self.adapted(parts))


@attrs.frozen
class FreSca(Edit):
    """Frequency scaling, arXiv 2504.02154: low and high spatial frequencies of c − u apart.

    Attributes:
        low, high: factors inside and outside the centred square of the spectrum.
        cutoff: half the side of that square, a whole number from 0. A square larger than the spectrum
            covers all of it. The WanVideoWrapper differs there: with a side below twice the cutoff
            (below 40 with its default) its slice starts at a negative index, which counts from the
            far end, so that it misses most of the square; that is not copied.
    """

    low: float = 1.0
    high: float = 1.25
    cutoff: int = 20

    def between(self, difference: Tensor) -> Tensor:
        if difference.ndim < 4:  # sound has no picture plane
            return difference
        height, width = difference.shape[-2:]
        factors = difference.new_full((height, width), self.high)
        rows, columns = (
            slice(max(side // 2 - self.cutoff, 0), side // 2 + self.cutoff)
            for side in (height, width)
        )
        factors[rows, columns] = self.low
        spectrum = torch.fft.fft2(difference) * torch.fft.ifftshift(factors)
        filtered: Tensor = torch.fft.ifft2(spectrum).real
        return filtered


@attrs.frozen
class TemporalScoreRescaling(Edit):
    """Temporal score rescaling, arXiv 2510.01184: sharper or softer samples without retraining.

    Attributes:
        k: below 1 sharpens; above 0.
        sigma: spread of the data that it assumes; above 0.
    """

    k: float = 0.95
    sigma: float = 0.1

    def after(self, velocity: Tensor, latents: Tensor, step: Step) -> Tensor:
        t = step.timestep / TRAINING_STEPS
        if t >= 1:
            return velocity
        signal = ((1 - t) * self.sigma) ** 2
        ratio = (signal + t * t) / (signal / self.k + t * t)
        return (ratio * ((1 - t) * velocity + latents) - latents) / (1 - t)


def _per_sample(product: Tensor) -> Tensor:
    return _as_column(product.flatten(1).sum(dim=1), product)


def _as_column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (like.ndim - 1))
