"""Reference cases of the topic ``samplers``: solvers, the loop, guidance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Held, Inputs
from wan_core.contract.lazy import resolve
from wan_core.contract.protocols import Latents, Step
from wan_core.contract.state import State
from wan_core.sampling.catalog import SOLVERS
from wan_core.sampling.experts import TwoExperts
from wan_core.sampling.guidance import CFG, ByExpert
from wan_core.sampling.guidance_edits import (
    RAAG,
    TCFG,
    Edit,
    FreSca,
    Parts,
    TemporalScoreRescaling,
    ZeroStar,
)
from wan_core.sampling.loop import StepReport, sample
from wan_core.sampling.recipes import SamplerSetup, step_distill
from wan_core.sampling.schedules import TRAINING_STEPS, Schedule
from wan_core.sampling.state import SamplerState
from wan_core.testing.golden.case import Case, NotBuilt

WITHOUT_FINAL_ZERO = ("flowmatch_pusa", "lightx2v")
PLAIN = CFG(1.0)


@attrs.define(eq=False)
class Field:
    """The analytic velocity field of the cases; remembers what it was asked and said."""

    constants: Mapping[str, Tensor]
    sign: int = 1
    asked: list[Tensor] = attrs.field(factory=list)
    said: list[Tensor] = attrs.field(factory=list)
    times: list[Mapping[str, Tensor]] = attrs.field(factory=list)

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        return {}

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        x, c = latents["video"], self.constants[inputs.branch]
        t = torch.tensor(inputs.timestep)  # held frames do not count
        self.asked.append(t)
        self.times.append(timesteps)
        velocity = 0.7 * x - c * (0.4 + t / TRAINING_STEPS) + 0.3 * torch.tanh(x)
        self.said.append(velocity)
        return {"video": velocity}


@attrs.define(eq=False)
class Draws:
    """Noise that was drawn before."""

    stored: Sequence[Tensor]
    used: int = 0

    def draw(self, shape: Sequence[int]) -> Tensor:
        self.used += 1
        return self.stored[self.used - 1]

    def state(self) -> Tensor:
        return torch.tensor(self.used)

    def load_state(self, state: Tensor) -> None:
        self.used = int(state)


def _run(
    setup: SamplerSetup,
    denoiser: Any,
    x_init: Tensor,
    *,
    draws: Sequence[Tensor] = (),
    conditioning: Conditioning | None = None,
    guidance: Any = PLAIN,
) -> tuple[list[Tensor], list[StepReport]]:
    """Latents before the first and after every step, and what the loop reported."""
    state = SamplerState.start(setup, {"video": x_init}, {"video": Draws(draws)})
    reports: list[StepReport] = []
    sample(
        denoiser,
        setup.schedule,
        state,
        conditioning=conditioning or Conditioning(),
        guidance=guidance,
        observe=reports.append,
    )
    return [reports[0].seen["video"], *(r.latents["video"] for r in reports)], reports


def trajectory(case: Case) -> None:
    """``solver.trajectory``: a solver on the analytic field."""
    name = _solver_name(case["solver"])
    setup = _setup(case, name)
    x_init, scales = case.tensor("inputs.x_init"), torch.ones(setup.schedule.steps + 1)
    sigmas, timesteps = setup.schedule.sigmas, setup.schedule.timesteps
    if name == "rcm":
        # the wrapper counts in TrigFlow: x = latents · (cos a + sin a), σ = sin a / (cos a + sin a)
        sigmas = torch.atan2(sigmas.double(), 1 - sigmas.double()).float()
        scales, timesteps = sigmas.cos() + sigmas.sin(), sigmas[:-1]
        x_init = x_init / scales[0]
    field = Field({"cond": case.tensor("inputs.c")})
    draws = list(case.tensor("inputs.noise")) if case.has("inputs.noise") else ()
    latents, _ = _run(setup, field, x_init, draws=draws)
    unstored = name in WITHOUT_FINAL_ZERO and float(sigmas[-1]) == 0
    if unstored or _has_closing_call(case, name):
        sigmas = sigmas[:-1]
    case.check("outputs.sigmas", sigmas)
    case.check("outputs.timesteps", timesteps)
    case.check("outputs.model_t", torch.stack(field.asked), tolerance=1e-6)
    case.check("outputs.model_output", torch.stack(field.said))
    stacked = torch.stack([x * s for x, s in zip(latents, scales, strict=True)])
    case.check("outputs.trajectory", stacked)


def _solver_name(text: str) -> str:
    """The product's name of the solver that a case describes."""
    if text.startswith("kijai"):
        quoted = re.search(r'"([^"]+)"', text)
        if quoted is None:
            raise NotBuilt(f"no solver name in {text!r}")
        name = quoted.group(1)
        own = {f"kijai/{name}", name} & {s.name for s in SOLVERS}
        if not own:
            raise NotBuilt(f"wrapper solver {name!r}")
        return max(own, key=len)
    for mark, name in (
        ("LightX2V", "lightx2v"),
        ("diffusers UniPC", "diffusers/unipc"),
        ("diffusers DPMSolver", "diffusers/dpm++"),
        ("diffusers FlowMatchEuler", "euler"),
    ):
        if text.startswith(mark):
            return name
    if "FlowUniPCMultistepScheduler" in text:
        return "unipc"
    if "FlowDPMSolverMultistepScheduler" in text:
        return "dpm++"
    raise NotBuilt(f"solver {text!r}")


def _setup(case: Case, name: str) -> SamplerSetup:
    listed = case.get("denoising_step_list")
    setup: SamplerSetup
    if name == "lightx2v" and listed is not None:
        setup = step_distill(shift=case.get("shift", 5.0), listed=listed)
    else:
        recipe = resolve(next(s.build for s in SOLVERS if s.name == name))
        setup = recipe(
            case.get("steps"),
            case.get("shift", 5.0),
            sigmas=case.get("custom_sigmas"),
            width=case.get("transformer_dim"),
        )
    schedule = setup.schedule.sliced(case.get("start_step", 0), case.get("end_step", -1))
    if _has_closing_call(case, name):
        schedule = Schedule(
            torch.cat([schedule.sigmas, schedule.sigmas[-1:]]),
            torch.cat([schedule.timesteps, schedule.timesteps.new_zeros(1)]),
        )
    return setup.on(schedule)


def _has_closing_call(case: Case, name: str) -> bool:
    """Whether a case holds the wrapper's call at t = 0, which changes nothing and which the product
    leaves out."""
    whole = case.get("custom_sigmas") is None and case.get("end_step", -1) == -1
    return name == "res_multistep" and whole


def two_experts(case: Case) -> None:
    """``solver.two_experts``: expert and guidance chosen per step, one solver over all."""
    c, boundary = case.tensor("inputs.c"), float(case["boundary"])
    high = Field({"cond": c, "uncond": 0.5 * c})
    flipped = c.flip(-1)
    low = Field({"cond": flipped, "uncond": 0.5 * flipped})
    scale_low, scale_high = case["guide_scale_low_high"]
    setup = resolve("wan_core.sampling.recipes:unipc")(case["steps"], case.get("shift", 5.0))
    latents, reports = _run(
        setup,
        TwoExperts(high, low, boundary),
        case.tensor("inputs.x_init"),
        guidance=ByExpert(CFG(scale_high), CFG(scale_low), boundary),
    )
    asked_high = {float(t) for t in high.asked}
    is_high = [int(r.step.timestep in asked_high) for r in reports]
    case.check("outputs.sigmas", setup.schedule.sigmas)
    case.check("outputs.timesteps", setup.schedule.timesteps)
    case.check("outputs.is_high_noise", torch.tensor(is_high))
    case.check("outputs.model_output", torch.stack([r.velocity["video"] for r in reports]))
    case.check("outputs.trajectory", torch.stack(latents))


def image_loop(case: Case) -> None:
    """``solver.image_loop``: the first latent frame is given and pinned."""
    noise, first = case.tensor("inputs.noise"), case.tensor("inputs.z_first_frame")
    setup = resolve("wan_core.sampling.recipes:unipc")(case["steps"], case.get("shift", 5.0))
    field = Field({"cond": case.tensor("inputs.c").unsqueeze(0)})
    pinned = Conditioning(pin={"video": (Held(first.unsqueeze(0)),)}, held_timestep=0.0)
    latents, _ = _run(setup, field, noise.unsqueeze(0), conditioning=pinned)
    told = torch.stack([times["video"][0] for times in field.times])
    # Wan gives every 2x2 patch of a frame the frame's timestep, and padding the step's own
    tokens = told.repeat_interleave((noise.shape[-2] // 2) * (noise.shape[-1] // 2), dim=1)
    padding = torch.stack(field.asked).unsqueeze(1).expand(-1, case["seq_len"] - tokens.shape[1])
    case.check("outputs.sigmas", setup.schedule.sigmas)
    case.check("outputs.timesteps", setup.schedule.timesteps)
    case.check("outputs.token_timesteps", torch.cat([tokens, padding], dim=1))
    case.check("outputs.trajectory", torch.stack([x.squeeze(0) for x in latents]))


def guidance_variants(case: Case) -> None:
    """``guidance.variants``: every edit of guidance on its own."""
    cond, uncond, x = (
        case.tensor(f"inputs.{n}").unsqueeze(0) for n in ("cond", "uncond", "latent")
    )
    scale, fresca, tsr = float(case["guide_scale"]), case["fresca"], case["tsr"]
    timestep = float(case.tensor("inputs.t"))
    step = Step(0, 1, timestep / TRAINING_STEPS, 0.0, timestep)
    raag = RAAG(case["raag_alpha"])
    variants: dict[str, tuple[Edit, ...]] = {
        "cfg": (),
        "cfg_zero_star": (ZeroStar(),),
        "tcfg": (TCFG(),),
        "raag": (raag,),
        "fresca": (FreSca(fresca["scale_low"], fresca["scale_high"], fresca["freq_cutoff"]),),
        "tsr": (TemporalScoreRescaling(tsr["k"], tsr["tsr_sigma"]),),
    }
    predictions = {"cond": {"video": cond}, "uncond": {"video": uncond}}
    for name, edits in variants.items():
        guided = CFG(scale, edits).combine(predictions, {"video": x}, step)["video"]
        case.check(f"outputs.{name}", guided[0, :, :, ::5, ::5])
    case.check("outputs.st_star", ZeroStar().fit(cond, uncond).flatten())
    adapted = raag.adapted(Parts(cond, uncond, scale))
    case.check("outputs.raag_scale", adapted.reshape(case.tensor("outputs.raag_scale").shape))


HANDLERS = {
    "solver.trajectory": trajectory,
    "solver.two_experts": two_experts,
    "solver.image_loop": image_loop,
    "guidance.variants": guidance_variants,
}
