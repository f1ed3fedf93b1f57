"""Handlers of the reference cases, through what the stage runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from wan_core.contract import Conditioning, Timed
from wan_core.contract.lazy import resolve
from wan_core.media import to_pixels
from wan_core.models.vae import encode_pieces
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.sampling import (
    CFG,
    SOLVERS,
    SamplerSetup,
    SamplerState,
    StepReport,
    noise_sources,
    sample,
)
from wan_core.testing.golden import Case
from wan_plugin_unilumos.choosing import frame_indices
from wan_plugin_unilumos.family import CHANNELS, UNILUMOS_1_3B
from wan_plugin_unilumos.fitting import fitted_frame, fitted_picture
from wan_plugin_unilumos.stage import VIDEO, as_tensor, beside

SIZES = (
    "dim",
    "ffn_dim",
    "num_heads",
    "num_layers",
    "out_dim",
    "freq_dim",
    "text_dim",
    "text_len",
    "eps",
)


def setup_of(steps: int, shift: float) -> SamplerSetup:
    """The family's solver on its schedule."""
    solver = next(one for one in SOLVERS if one.name == UNILUMOS_1_3B.preset.solver)
    setup: SamplerSetup = resolve(solver.build)(steps, shift)
    return setup


def denoiser_of(case: Case, weights: Mapping[str, Tensor]) -> WanDenoiser:
    """The case's transformer as the family has it."""
    config = case["config"]
    sizes = {name: config[name] for name in SIZES if name in config}
    with torch.device("meta"):
        transformer = WanTransformer(WanConfig(**sizes, in_dim=CHANNELS * config["in_dim"]))
    transformer.load_state_dict(dict(weights), strict=True, assign=True)
    border = UNILUMOS_1_3B.components["transformer"].config["border"]
    return WanDenoiser(transformer.eval(), border=border)


def schedule(case: Case) -> None:
    """``unilumos.schedule``: noise levels and timesteps by number of steps and shift."""
    for name in case.group("outputs.sigmas_"):
        steps, shift = name.split("_")
        made = setup_of(int(steps), float(shift)).schedule
        case.check(f"outputs.sigmas_{name}", made.sigmas)
        case.check(f"outputs.timesteps_{name}", made.timesteps)


def solver(case: Case) -> None:
    """``unilumos.solver``: the solver's steps on given velocities."""
    setup = setup_of(case["steps"], case["shift"])
    z, states = case.tensor("inputs.z"), []
    steps = setup.new_solver(noise_sources(0, [VIDEO])[VIDEO])
    for index, velocity in enumerate(case.tensor("inputs.velocity")):
        z = steps.step(velocity, z, index)
        states.append(z)
    case.check("outputs.z", torch.stack(states))
    case.check("outputs.sigmas", setup.schedule.sigmas)
    case.check("outputs.timesteps", setup.schedule.timesteps)


def resize_crop(case: Case) -> None:
    """``unilumos.resize_crop``: frames and pictures brought to a size."""
    for index, (_, _, height, width) in enumerate(case["specs_h_w_th_tw"]):
        video, image = f"video_{index}", f"image_{index}"
        if case.has(f"inputs.{video}"):
            frames = case.tensor(f"inputs.{video}").permute(0, 2, 3, 1).numpy()
            fitted = torch.from_numpy(fitted_frame(frames, (width, height)))
            case.check(f"outputs.{video}", fitted.permute(0, 3, 1, 2))
        if case.has(f"inputs.{image}"):
            picture = case.tensor(f"inputs.{image}").numpy()
            fitted = torch.from_numpy(fitted_picture(picture, (width, height)))
            case.check(f"outputs.{image}", fitted.permute(2, 0, 1))


def indices(case: Case) -> None:
    """``unilumos.frame_indices``: which frames are taken."""
    for index, one in enumerate(case["cases"]):
        fps = one["sample_fps"]
        frames = int(one["duration_s"] * fps) + 1
        found = frame_indices(one["source_frames"], one["source_fps"], frames, fps)
        case.check(f"outputs.indices_{index}", torch.tensor(found))


def forward(case: Case) -> None:
    """``unilumos.forward``: one call of the transformer, latents of odd size padded with zeros."""
    denoiser = denoiser_of(case, case.group("weights."))
    seen: list[Tensor] = []
    hook = denoiser.transformer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    parts = beside(
        Conditioning(), case.tensor("inputs.foreground"), case.tensor("inputs.background")
    ).at("cond", 0, 1)
    text: Any = case.series("inputs.context") or [
        case.tensor(f"inputs.context_{index}") for index in range(len(case.tensor("inputs.x")))
    ]
    velocity = denoiser(
        {VIDEO: case.tensor("inputs.x")},
        {VIDEO: case.tensor("inputs.t").float()},
        attrs.evolve(parts, text={VIDEO: text}),
    )[VIDEO]
    hook.remove()
    case.check("outputs.patch_embed_input", seen[0])
    case.check("outputs.pred", velocity)


@attrs.frozen(eq=False)
class StubVAE:
    """The linear stand-in for the VAE that the cases are computed with."""

    weights: Mapping[str, Tensor]
    config: Any = SimpleNamespace(stride=(4, 8, 8))

    def encode_stream(self, frames: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Means of the first frame, then of four at a time."""
        clip = torch.cat(list(frames), dim=2)
        pooled = F.avg_pool3d(clip, (1, 8, 8))
        for first in (0, *range(1, clip.shape[2], 4)):
            mean = pooled[:, :, first : first + (4 if first else 1)].mean(dim=2)
            latent = torch.einsum("oc,bchw->bohw", self.weights["enc_weight"], mean)
            latent = latent + self.weights["enc_bias"].view(-1, 1, 1)
            yield latent[:, :, None], latent[:, :, None]

    def decode(self, latents: Tensor) -> Tensor:
        """``[frames, 3, height, width]`` in -1…1."""
        colours = torch.einsum("co,ofhw->fchw", self.weights["dec_weight"], latents[0])
        colours = colours + self.weights["dec_bias"].view(-1, 1, 1)
        counts = torch.tensor([1] + [4] * (len(colours) - 1))
        frames = colours.repeat_interleave(counts, dim=0)
        return frames.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3).clamp(-1, 1)


def generate(case: Case) -> None:
    """``unilumos.generate``: from frames to frames, with what the mode names."""
    vae = StubVAE(case.group("weights.vae_stub."))
    denoiser = denoiser_of(case, case.group("weights.transformer."))
    (height, width), frames = case["size_h_w"], case["frames"]

    def latents_of(name: str, letter: str) -> Tensor:
        if letter not in case["mode"]:
            return encode_pieces(vae, repeat(torch.zeros(1, 3, 1, height, width), frames))
        given = case.tensor(f"inputs.{name}_frames").numpy()[:frames]
        return encode_pieces(vae, (as_tensor(fitted_frame(one, (width, height))) for one in given))

    foreground, background = latents_of("foreground", "b"), latents_of("background", "c")

    def rows(name: str) -> dict[str, Timed]:
        text = case.tensor(f"inputs.{name}")
        return {VIDEO: Timed(text.reshape(1, *text.shape[-2:]))}

    told = Conditioning(text=rows("context")).with_branch("uncond", text=rows("context_null"))
    told = beside(told, foreground, background)
    setup, reports = setup_of(case["steps"], case["shift"]), list[StepReport]()
    noise = case.tensor("inputs.noise")
    state = SamplerState.start(
        setup, {VIDEO: noise.reshape(-1, *noise.shape[-4:])}, noise_sources(0, [VIDEO])
    )
    latents = sample(
        denoiser,
        setup.schedule,
        state,
        conditioning=told,
        guidance=CFG(case["cfg_scale"]),
        observe=reports.append,
        health=None,
    )[VIDEO]

    def check(name: str, got: Tensor) -> None:
        case.check(name, got.reshape(case.tensor(name).shape))

    check("outputs.foreground_latent", foreground)
    check("outputs.background_latent", background)
    case.check("outputs.sigmas", setup.schedule.sigmas)
    case.check("outputs.timesteps", setup.schedule.timesteps)
    for index, report in enumerate(reports):
        check(f"outputs.latent_{index}", report.latents[VIDEO])
        time = torch.tensor([report.step.timestep])
        for branch in ("cond", "uncond"):
            inputs = told.at(branch, index, len(reports), timestep=report.step.timestep)
            predicted = denoiser(report.seen, {VIDEO: time}, inputs)
            check(f"outputs.{branch}_{index}", predicted[VIDEO])
    video = torch.from_numpy(to_pixels(vae.decode(latents))).to(torch.int16)
    want = case.tensor("outputs.video").to(torch.int16)
    case.check("outputs.video", video.float(), want=want.float(), tolerance=1.0, absolute=True)


HANDLERS = {
    "unilumos.schedule": schedule,
    "unilumos.solver": solver,
    "unilumos.resize_crop": resize_crop,
    "unilumos.frame_indices": indices,
    "unilumos.forward": forward,
    "unilumos.generate": generate,
}
