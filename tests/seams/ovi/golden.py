"""Reference cases of Ovi's towers and of its sampling loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from tests.seams.ovi.model import TOWERS, FusedDenoiser, FusedTowers, to_own
from tests.seams.ovi.parts import ScalePerLatent, told
from wan_core.contract.lazy import resolve
from wan_core.models.wan import WanConfig
from wan_core.sampling import SOLVERS, SamplerState, StepReport, noise_sources, sample
from wan_core.testing.golden import Case

SHORT = {"video": "vid", "audio": "audio"}  # the towers as the cases call them
AT_THE_END = 1e-3
SOLVER_BY_NAME = {solver.name: solver for solver in SOLVERS}


def towers_of(case: Case) -> FusedTowers:
    """The case's towers with its weights, loaded strictly."""
    sizes = {f.name for f in attrs.fields(WanConfig)}
    video, audio = (
        WanConfig(
            **{k: v for k, v in case[f"{tower}_config"].items() if k in sizes and v is not None}
        )
        for tower in TOWERS
    )
    scale = case["audio_config"].get("temporal_rope_scaling_factor") or 1.0
    with torch.device("meta"):
        towers = FusedTowers(video, audio, scale)
    weights = {own_name(n): tensor for n, tensor in case.group("weights.").items()}
    towers.load_state_dict(weights, strict=True, assign=True)
    return towers.eval()


def own_name(name: str) -> str:
    """The name here of a published tensor."""
    here = to_own(name)
    if here is None:
        raise KeyError(f"no place for the tensor {name}")
    return here


def compare(
    case: Case,
    name: str,
    got: Tensor,
    *,
    tolerance: float | None = None,
    frames: slice = slice(None),
) -> None:
    """Compare by this topic's rule: the scale is at least 1; of a video only ``frames`` may count."""
    want = case.tensor(name)
    if want.ndim == 4:
        got, want = got[:, frames], want[:, frames]
    scale = max(1.0, float(want.abs().max())) if want.numel() else 1.0
    bound = (case.tolerance if tolerance is None else tolerance) * scale
    case.check(name, got, tolerance=bound, absolute=True, want=want)


def as_latents(tower: str, stored: Tensor) -> Tensor:
    """A sample as the tower takes it; sound is stored ``[length, channels]``."""
    return stored.T if tower == "audio" else stored


# the inverse of itself
as_stored = as_latents


def run_fusion(case: Case) -> None:
    """``ovi.fusion_forward``: predictions and taps of every variant."""
    towers = towers_of(case)
    for name, variant in case["variants"].items():
        with torch.no_grad(), tapped(towers) as taps:
            predicted = predict(case, towers, variant)
        for tower, samples in predicted.items():
            for index, sample_ in enumerate(samples):
                place = f"outputs.{name}.{SHORT[tower]}.{index}"
                compare(case, place, as_stored(tower, sample_))
        for tap in case.group(f"outputs.{name}.debug."):
            place = f"outputs.{name}.debug.{tap}"
            if tap in taps:
                compare(case, place, shown(taps[tap], case.tensor(place)))


def predict(case: Case, towers: FusedTowers, variant: Mapping[str, Any]) -> dict[str, list[Tensor]]:
    """One forward pass of the towers that the variant has."""
    options = variant.get("kwargs") or {}
    t = case.tensor(f"inputs.{variant['t']}").float()
    streams = {}
    for tower in TOWERS:
        short = SHORT[tower]
        if not variant.get(short):
            continue
        samples = [as_latents(tower, case.tensor(f"inputs.{n}")) for n in variant[short]]
        text = [case.tensor(f"inputs.{n}") for n in variant[f"{short}_context"]]
        length = variant[f"{short}_seq_len"]
        assert isinstance(length, int), "a tower that is there has a length"
        timesteps = t[:, None].expand(-1, length).clone()
        if tower == "video" and options.get("first_frame_is_clean"):
            for row, latents in zip(timesteps, samples, strict=True):
                _, height, width = towers.video.grid(latents)
                row[: height * width] = 0
        streams[tower] = towers.tower(tower).stream(samples, timesteps, text, length=length)
    skipped = options.get("slg_layer") or 0
    return towers(streams, frozenset({skipped} if skipped > 0 else ()))


@contextmanager
def tapped(towers: FusedTowers) -> Iterator[dict[str, Tensor]]:
    """What the first sample gives inside the towers, by the names of the cases' taps."""
    kept: dict[str, Tensor] = {}
    hooks = []

    def keep(module: nn.Module, name: str, pick: Callable[[Any], Tensor | None]) -> None:
        def hook(_module: nn.Module, _arguments: object, result: Any) -> None:
            if name not in kept and (picked := pick(result)) is not None:
                kept[name] = picked

        hooks.append(module.register_forward_hook(hook))

    for tower in TOWERS:
        own = towers.tower(tower)
        keep(own.patch_embedding, f"{tower}_patch", lambda tokens: tokens[0])
        keep(own.text_embedding, f"{tower}_context", lambda rows: rows[0])
        keep(own.time_projection, f"{tower}_e0_row0", lambda e: e[0, 0].unflatten(0, (6, -1)))
        for index, pair in enumerate(towers.blocks):
            tap = f"block{index}_{SHORT[tower]}"
            keep(
                pair, tap, lambda tokens, tower=tower: tokens[tower][0] if tower in tokens else None
            )
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def shown(tap: Tensor, want: Tensor) -> Tensor:
    """A tap in the form in which it is stored: tokens on their grid, or without padding."""
    if want.ndim == 4:
        return tap.T.reshape(want.shape)
    return tap[: len(want)]


def run_sampling(case: Case) -> None:
    """``ovi.two_guidance_sampling``: the loop with a solver and a scale for each latent."""
    denoiser = FusedDenoiser(towers_of(case))
    guidance = ScalePerLatent(
        {tower: case[f"{tower}_guidance_scale"] for tower in TOWERS},
        frozenset({max(0, case.get("slg_layer", 0))} - {0}),
    )
    prompt, *negatives = (
        case.tensor(f"inputs.ctx_{name}")[None] for name in ("pos", "vid_neg", "aud_neg")
    )
    start = {
        tower: as_latents(tower, case.tensor(f"inputs.{tower}_noise"))[None] for tower in TOWERS
    }
    for name, variant in case["variants"].items():
        held = case.tensor("inputs.image_latent")[None] if variant.get("i2v") else None
        generated = slice(None) if held is None else slice(1, None)
        setup = resolve(SOLVER_BY_NAME[variant["solver"]].build)(
            steps=case["steps"], shift=case["shift"]
        )
        where = f"outputs.{name}"
        case.check(f"{where}.sigmas", setup.schedule.sigmas)
        case.check(f"{where}.timesteps", setup.schedule.timesteps)

        def look(report: StepReport, where: str = where, generated: slice = generated) -> None:
            for tower in TOWERS:
                step = f"{where}.step{report.step.index}"
                guided = as_stored(tower, report.velocity[tower][0])
                compare(case, f"{step}.pred_{tower}_guided", guided, frames=generated)
                after = as_stored(tower, report.latents[tower][0])
                compare(case, f"{step}.{tower}", after, frames=generated)

        latents = sample(
            denoiser,
            setup.schedule,
            SamplerState.start(setup, start, noise_sources(0, TOWERS)),
            conditioning=told(prompt, dict(zip(TOWERS, negatives, strict=True)), held),
            guidance=guidance,
            observe=look,
        )
        for tower in TOWERS:
            end = as_stored(tower, latents[tower][0])
            compare(case, f"{where}.{tower}", end, tolerance=AT_THE_END)


def run_schedules(case: Case) -> None:
    """``ovi.schedules``: the core's solvers have Ovi's tables."""
    for name, variant in case["variants"].items():
        setup = resolve(SOLVER_BY_NAME[variant["solver"]].build)(variant["steps"], variant["shift"])
        case.check(f"outputs.{name}.sigmas", setup.schedule.sigmas)
        case.check(f"outputs.{name}.timesteps", setup.schedule.timesteps)


HANDLERS: dict[str, Callable[[Case], None]] = {
    "ovi.fusion_forward": run_fusion,
    "ovi.schedules": run_schedules,
    "ovi.two_guidance_sampling": run_sampling,
}
