"""UniPC: a predictor-corrector of order 2 (bh2, data prediction).

Source: Zhao et al., arXiv 2302.04867; the default solver of Wan.
"""

from __future__ import annotations

import math

from torch import Tensor

from wan_core.sampling.solvers.base import SolverBase, log_snr


class UniPC(SolverBase):
    """Corrects the latents with each new prediction, then predicts the next ones.

    Memory: ``x0`` and ``x0_before`` (clean predictions of the last two steps) and ``corrected``
    (the corrected latents of the last step).
    """

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        x0 = self.clean(velocity, latents, index)
        corrected = self._correct(x0, index) if index > 0 else latents
        advanced = self._predict(x0, corrected, index)
        remembered = {"x0": x0, "corrected": corrected}
        if index > 0:
            remembered["x0_before"] = self.memory["x0"]
        self.memory = remembered
        return advanced

    def _order(self, index: int) -> int:
        """1 on the first and the last step, 2 between."""
        return min(2, self.steps - index, 1 + index)

    def _predict(self, x0: Tensor, latents: Tensor, index: int) -> Tensor:
        sigma, target = self.sigmas[index], self.sigmas[index + 1]
        h = log_snr(target) - log_snr(sigma)
        weight = -(1 - target) * math.expm1(-h)
        advanced = (target / sigma) * latents + weight * x0
        if self._order(index) == 2:
            r = (log_snr(self.sigmas[index - 1]) - log_snr(sigma)) / h
            advanced = advanced + (0.5 * weight / r) * (self.memory["x0"] - x0)
        return advanced

    def _correct(self, x0: Tensor, index: int) -> Tensor:
        """The latents before this step, redone with the prediction that is known only now."""
        source, sigma = self.sigmas[index - 1], self.sigmas[index]
        h = log_snr(sigma) - log_snr(source)
        phi = math.expm1(-h)
        before, last = self.memory["x0"], 0.5
        corrected = (sigma / source) * self.memory["corrected"] - (1 - sigma) * phi * before
        if self._order(index - 1) == 2:
            # the 2x2 system [[1, 1], [r, 1]] · (first, last) = (b1, b2), solved by hand
            r = (log_snr(self.sigmas[index - 2]) - log_snr(source)) / h
            g1 = phi / -h - 1
            g2 = g1 / -h - 0.5
            b1, b2 = g1 / phi, 2 * g2 / phi
            first = (b2 - b1) / (r - 1)
            last = b1 - first
            slope = (self.memory["x0_before"] - before) / r
            corrected = corrected - (1 - sigma) * phi * first * slope
        return corrected - (1 - sigma) * phi * last * (x0 - before)
