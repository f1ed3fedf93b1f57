"""Reference cases of whole runs: the core's loop, solver and guidance with this transformer."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from tests.seams.longcat.golden import build
from tests.seams.longcat.stage import VIDEO, LongCatDenoiser
from wan_core.contract import Conditioning, Held, Timed
from wan_core.contract.lazy import resolve
from wan_core.models.wan import attend
from wan_core.sampling import (
    SOLVERS,
    SamplerSetup,
    SamplerState,
    Schedule,
    StepReport,
    build_guidance,
    noise_sources,
    sample,
    shifted,
)
from wan_core.testing.golden import Case

BUILDERS = {solver.name: solver.build for solver in SOLVERS}


def generate(case: Case) -> None:
    """``longcat.generate``: text to video, the same distilled, and continuations with and without a cache.

    Upstream's sums of guidance are over the noise frames with the cache (so frames are frozen) and over all
    frames without it (so they are pinned).
    """
    settings = case["settings"]
    steps, shift = settings["num_inference_steps"], settings["shift"]
    euler: SamplerSetup = resolve(BUILDERS["euler"])(steps, shift)
    levels = shifted(np.linspace(1, 0.001, steps), shift)
    plain = euler.on(Schedule.from_grid(levels, whole=False))
    detailed = plain.on(plain.schedule.with_even_tail(10))
    guidance = {"scale": settings["guidance_scale"], "zero_star": True}
    told = Conditioning(text=_text(case, "pos")).with_branch("uncond", text=_text(case, "neg"))
    given = {VIDEO: (Held(case.tensor("inputs.cond_latents")),)}
    frozen, pinned = (
        attrs.evolve(told, held_timestep=0.0, **{slot: given}) for slot in ("freeze", "pin")
    )
    distilled = resolve(BUILDERS["longcat_distill_euler"])(steps, shift)
    _run(case, "t2v", plain, told, guidance)
    _run(case, "t2v_distill", distilled, told, 1)
    first = given[VIDEO][0].value.shape[2]
    _run(case, "vc_cache", detailed, frozen, guidance, first=first)
    _run(case, "vc_nocache", detailed, pinned, guidance)


def _text(case: Case, which: str) -> dict[str, Timed]:
    rows = int(case.tensor(f"inputs.text_{which}_mask").sum())
    return {VIDEO: Timed(case.tensor(f"inputs.text_{which}")[:, 0, :rows])}


def _run(
    case: Case,
    name: str,
    setup: SamplerSetup,
    conditioning: Conditioning,
    guidance: Any,
    *,
    first: int = 0,
) -> None:
    """One run; after its steps the frames from ``first`` on are compared."""
    reports: list[StepReport] = []
    latents = {VIDEO: case.tensor("inputs.noise")}
    length = case.tensor("inputs.text_pos").shape[2]
    final = sample(
        LongCatDenoiser(build(case), attend, text_length=length),
        setup.schedule,
        SamplerState.start(setup, latents, noise_sources(0, latents)),
        conditioning=conditioning,
        guidance=build_guidance(guidance),
        observe=reports.append,
    )[VIDEO]
    if name.startswith("vc"):
        wanted = case["settings"].get("vc.model_evaluations", len(reports))
        case.check_value(f"model evaluations of {name}", len(reports), wanted)
    after = {f"outputs.{name}.after_step.{i}": r.latents[VIDEO] for i, r in enumerate(reports)}
    for key, value in after.items():
        if case.has(key):
            case.check(key, value[:, :, first:])
    if case.has(f"outputs.{name}.final"):
        case.check(f"outputs.{name}.final", final)


HANDLERS = {"longcat.generate": generate}
