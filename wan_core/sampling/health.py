"""Health: is the run alive? Looked at after the first step and at the end.

A broken weight, an overflow or a wrong constant gives a black or noisy video after minutes of
computing. Most of that shows in the first prediction already. Each fault has its own sentence
(:class:`~wan_core.contract.errors.DeadLatentsError`), and the search for its cause runs only when
something is wrong. The bounds are far from what any model gives, random weights included: a model
may be untrained, but it must not be dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import attrs
import torch
from einops import rearrange
from torch import Tensor, nn

from wan_core.contract.conditioning import Conditioning, Held
from wan_core.contract.errors import DeadLatentsError
from wan_core.contract.protocols import Denoiser, Latents, Step
from wan_core.sampling.experts import TwoExperts
from wan_core.sampling.held import FRAMES
from wan_core.weights.spoilt import spoilt_weight, weights_of

EXPLODED = 1e3
"""Root mean square beyond which latents (about 1 when normalised) are not meant."""

FLAT = 1e-4
"""Standard deviation below which final latents are one colour."""

CONSTANT = 1e-5
"""Spread over tokens, relative to the largest value, below which a prediction is constant."""

PATCH = 2
"""Rows and columns of latents that one token of a video transformer predicts."""

NORMALISED = (1e-3, 50.0)
"""Root mean square that an encoder's normalised latents may have: about 1 when it is trained."""

PLAUSIBLE_STD = (1e-2, 1e2)
"""Standard deviations that a VAE's channels may have."""

Predictions = Mapping[str, Latents]


@attrs.frozen(eq=False)
class LatentStatistics:
    """Mean and standard deviation by which a VAE's latents are normalised.

    Attributes:
        mean, std: ``[channels]``.
        probe: normalised latents of a test picture, should the caller have encoded one.
    """

    mean: Tensor
    std: Tensor
    probe: Tensor | None = None


@attrs.frozen(eq=False)
class Health:
    """What is known about the run beforehand.

    Attributes:
        statistics: latent name -> the statistics that its decoder will use.
    """

    statistics: Mapping[str, LatentStatistics] = MappingProxyType({})

    def after_first_step(
        self,
        denoiser: Denoiser,
        conditioning: Conditioning,
        predictions: Predictions,
        seen: Latents,
        latents: Latents,
        step: Step,
    ) -> None:
        """Look at the first step.

        Args:
            predictions: branch -> latent name -> prediction, in the dtype the model gave it.
            seen: latents before the step.
            latents: latents after it.

        Raises:
            DeadLatentsError: the run would not give a video.
        """
        where = f"sampling stopped after step {step.index + 1} of {step.steps}"
        _check_text(conditioning, predictions, step, where)
        for name, latent in seen.items():
            if name in self.statistics:
                _check_statistics(self.statistics[name], latent, where)
        _check_given(conditioning, predictions, step, where)
        for branch, by_name in predictions.items():
            for name, prediction in by_name.items():
                _check_prediction(denoiser, prediction, f'"{name}" ({branch})', where)
        _check_prompt_matters(conditioning, predictions, step, where)
        for name, latent in latents.items():
            _check_size(latent, name, where)

    def at_end(self, latents: Latents) -> None:
        """Look at the final latents.

        Raises:
            DeadLatentsError: decoding them would not give a video.
        """
        for name, latent in latents.items():
            _check_size(latent, name, "sampling stopped at the end")
            if latent.numel() > 1 and float(latent.std()) < FLAT:
                raise DeadLatentsError(
                    f'the final latents "{name}" are flat, the result would be one colour',
                    where="sampling stopped at the end",
                    remedy="look at the preview of the steps, and try another solver or more steps",
                )


STANDARD = Health()
"""Health of a run about whose VAE nothing is known."""


def _check_text(
    conditioning: Conditioning, predictions: Predictions, step: Step, where: str
) -> None:
    texts = {b: conditioning.at(b, step.index, step.steps).text for b in predictions}
    for branch, by_name in texts.items():
        for name, rows in by_name.items():
            if not bool(torch.isfinite(rows).all()):
                raise DeadLatentsError(
                    f'the text rows for "{name}" ({branch}) hold NaN or infinity',
                    where=where,
                    remedy="run the text encoder in bfloat16 or float32, or check its file",
                )
    # an empty negative prompt may be zeros by design, the prompt may not
    prompts = [texts["cond"]] if "cond" in texts else list(texts.values())
    for name in {name for by_name in prompts for name in by_name}:
        told = [by_name[name] for by_name in prompts if name in by_name]
        if any(rows.numel() for rows in told) and not any(bool(rows.any()) for rows in told):
            raise DeadLatentsError(
                f'the text rows of the prompt for "{name}" are all zero',
                where=where,
                remedy="check the text encoder's file and empty the cache of encoded prompts",
            )


def _check_statistics(statistics: LatentStatistics, latent: Tensor, where: str) -> None:
    mean, std = statistics.mean.detach().float().cpu(), statistics.std.detach().float().cpu()
    low, high = PLAUSIBLE_STD
    wrong = ""
    if std.numel() != latent.shape[1] or mean.numel() != latent.shape[1]:
        wrong = f"have {std.numel()} channels, the latents have {latent.shape[1]}"
    elif not bool(torch.isfinite(mean).all() and torch.isfinite(std).all()):
        wrong = "hold NaN or infinity"
    elif float(std.min()) < low or float(std.max()) > high:
        wrong = f"have standard deviations from {float(std.min()):.3g} to {float(std.max()):.3g}"
    elif float(mean.abs().max()) > high:
        wrong = f"have a mean of {float(mean.abs().max()):.3g}"
    elif statistics.probe is not None:
        level = _rms(statistics.probe)
        if not 0.1 <= level <= 10:
            wrong = f"give the latents of a test picture a size of {level:.3g} instead of about 1"
    if wrong:
        raise DeadLatentsError(
            f"the VAE's latent statistics (mean and std) {wrong}",
            where=where,
            remedy="use the VAE that belongs to this model",
        )


def _check_given(
    conditioning: Conditioning, predictions: Predictions, step: Step, where: str
) -> None:
    for branch in predictions:
        for name, encoded in _encoded(conditioning.view(branch), branch, step):
            if not bool(torch.isfinite(encoded).all()):
                raise DeadLatentsError(
                    f'the given latents for "{name}" ({branch}) hold NaN or infinity',
                    where=where,
                    remedy="the VAE's file is damaged, or its precision too small: download it again, or set "
                    'precision = "bfloat16" or "float32"',
                )
            level = _rms(encoded)
            if level == 0 or NORMALISED[0] <= level <= NORMALISED[1]:
                continue
            raise DeadLatentsError(
                f'the given latents for "{name}" ({branch}) have a size of {level:.3g}, '
                "normalised ones have about 1",
                where=where,
                remedy="the VAE's latent statistics (mean and std) are wrong: use the VAE that "
                "belongs to this model",
            )


def _encoded(view: Conditioning, branch: str, step: Step) -> Iterator[tuple[str, Tensor]]:
    """Latents that an encoder made: held frames, and concatenated channels that are no masks."""
    slots: Iterable[Mapping[str, tuple[Held, ...]]] = (view.pin, view.overlay, view.freeze)
    for slot in slots:
        for name, frames in slot.items():
            yield from ((name, held.value) for held in frames)
    for name, tensors in view.at(branch, step.index, step.steps).concat.items():
        for tensor in tensors:
            is_mask = ((tensor == 0) | (tensor == 1)).flatten(2).all(dim=2).all(dim=0)
            if not bool(is_mask.all()):
                yield name, tensor[:, ~is_mask]


def _check_prediction(denoiser: Denoiser, prediction: Tensor, what: str, where: str) -> None:
    if not bool(torch.isfinite(prediction).all()):
        raise _why_not_finite(denoiser, prediction, what, where)
    flat = _by_token(prediction.detach())
    largest = float(flat.abs().max())
    if largest == 0:
        raise DeadLatentsError(
            f"the prediction for {what} is zero everywhere",
            where=where,
            remedy="the last layer of the transformer is empty: check that its file is complete",
        )
    spread = float((flat.amax(dim=-1).float() - flat.amin(dim=-1).float()).max())
    if flat.shape[-1] > 1 and spread <= CONSTANT * largest:
        raise DeadLatentsError(
            f"the prediction for {what} is constant, it has the same value at every place",
            where=where,
            remedy="the transformer does not see the latents: check its file and its family",
        )


def _by_token(prediction: Tensor) -> Tensor:
    """``[batch, what a token predicts, tokens]``: a constant bias looks like structure inside a patch."""
    if prediction.ndim <= FRAMES:
        return prediction
    if prediction.ndim == 5 and not any(side % PATCH for side in prediction.shape[-2:]):
        tokens: Tensor = rearrange(
            prediction, "b c f (h p) (w q) -> b (c p q) (f h w)", p=PATCH, q=PATCH
        )
        return tokens
    return prediction.flatten(2)


def _why_not_finite(
    denoiser: Denoiser, prediction: Tensor, what: str, where: str
) -> DeadLatentsError:
    """Find the cause: a broken weight, an overflow of float16, or something else."""
    dtypes = {prediction.dtype, getattr(denoiser, "dtype", None)}

    def seen() -> Iterator[tuple[str, Tensor]]:
        # one after the other: quantised ones are unpacked to be looked at
        for name, weight in _weights(denoiser):
            dtypes.add(weight.dtype)
            yield name, weight

    if spoilt := spoilt_weight(seen()):
        file = "a LoRA file" if ".lora." in spoilt else "the transformer's file, or a merged LoRA,"
        return DeadLatentsError(
            f"{spoilt}, which spoils the prediction for {what}",
            where=where,
            remedy=f"{file} is damaged: download or convert it again",
        )
    half = torch.float16 in dtypes
    if half:
        return DeadLatentsError(
            f"float16 overflowed: the prediction for {what} holds NaN or infinity",
            where=where,
            remedy='set precision = "bfloat16" for the model',
        )
    return DeadLatentsError(
        f"the prediction for {what} holds NaN or infinity, though no weight does",
        where=where,
        remedy='set precision = "float32" and attention = "sdpa" to see which of them is at fault',
    )


def _weights(denoiser: Denoiser) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of floating point: of the denoiser, or of the modules it holds.

    Of quantised layers, what their codes are worth. A denoiser that only passes calls on names the one that
    computes as ``inner``.
    """
    if not isinstance(denoiser, nn.Module):
        denoiser = getattr(denoiser, "inner", None) or denoiser
    if isinstance(denoiser, TwoExperts):
        for expert in ("high", "low"):
            for name, tensor in _weights(getattr(denoiser, expert)):
                yield f"{expert}.{name}", tensor
        return
    yield from weights_of(denoiser)


def _check_prompt_matters(
    conditioning: Conditioning, predictions: Predictions, step: Step, where: str
) -> None:
    if not {"cond", "uncond"} <= predictions.keys():
        return
    told, untold = (
        conditioning.at(branch, step.index, step.steps).text for branch in ("cond", "uncond")
    )
    for name, cond in predictions["cond"].items():
        if name not in told or name not in untold or _same(told[name], untold[name]):
            continue
        if torch.equal(cond, predictions["uncond"][name]):
            raise DeadLatentsError(
                f'the prediction for "{name}" is the same with the prompt and with the negative '
                "prompt, the text has no effect",
                where=where,
                remedy="the transformer's text layers are missing or empty: check its file",
            )


def _check_size(latent: Tensor, name: str, where: str) -> None:
    if not bool(torch.isfinite(latent).all()):
        raise DeadLatentsError(
            f'the latents "{name}" hold NaN or infinity',
            where=where,
            remedy='set precision = "bfloat16" or "float32", and lower the guidance',
        )
    if (level := _rms(latent)) > EXPLODED:
        raise DeadLatentsError(
            f'the latents "{name}" have grown to a size of {level:.3g}, sound ones have about 1',
            where=where,
            remedy="model and settings do not fit: check family, solver, shift and guidance",
        )


def _rms(tensor: Tensor) -> float:
    return float(tensor.detach().float().square().mean().sqrt())


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)
