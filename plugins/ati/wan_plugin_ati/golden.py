"""Reference cases of ATI, through the code that runs: the feature, the core's transformer, solvers and loop."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wan_core.contract import (
    Conditioning,
    ConditioningRequest,
    GivenFrames,
    Inputs,
    Latents,
    PictureRequest,
    Timed,
    VideoSize,
)
from wan_core.contract.lazy import resolve
from wan_core.contract.requests import unreported
from wan_core.media import area_size, fit_signed
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.sampling import (
    SOLVERS,
    SamplerSetup,
    SamplerState,
    StepReport,
    build_guidance,
    sample,
)
from wan_core.sampling import noise_sources as noises
from wan_core.testing.golden import Case
from wan_plugin_ati.clip import Layout, Window, lay_out, padded, processed
from wan_plugin_ati.conditioning import condition
from wan_plugin_ati.families import ATI_14B, FEATURE
from wan_plugin_ati.files import read_tracks
from wan_plugin_ati.motion import edit
from wan_plugin_ati.options import AtiOptions
from wan_plugin_ati.splines import read_splines
from wan_plugin_ati.tracks import Drawing

VIDEO = "video"
PUBLISHED_FRAMES = 81
STRIDE = 8
BUILDERS = {solver.name: solver.build for solver in SOLVERS}


def tracks_pth(case: Case) -> None:
    """``ati.tracks.pth``: a file in the published form."""
    with _track_file(case) as path:
        drawing = read_tracks(path)
    samples = [np.column_stack([t.points, t.visible]) * np.float32(8) for t in drawing.tracks]
    case.check("inputs.array", torch.from_numpy(np.stack(samples)[:, :, None]))
    case.check("outputs.tracks", _laid(case, drawing, PUBLISHED_FRAMES))


def tracks_json(case: Case) -> None:
    """``ati.tracks.json``: texts of spline editors, for clips of several lengths."""
    drawing = read_splines(case["tracks_json"])
    filled = [np.column_stack(padded(track)) for track in drawing.tracks]
    case.check("inputs.padded", torch.from_numpy(np.stack(filled)[:, :, None]))
    for name in case.group("outputs."):
        if found := re.fullmatch(r"tracks_(\d+)", name):
            case.check(f"outputs.{name}", _laid(case, drawing, int(found[1])))


def _laid(case: Case, drawing: Drawing, frames: int) -> Tensor:
    """The processed form as upstream has it: short tracks filled with zeros."""
    canvas = (case["width"], case["height"])
    layout = Layout(canvas, Window(*map(float, canvas)), frames, padding="zeros")
    return torch.from_numpy(processed(lay_out(drawing, layout), layout.window))


def patch_motion(case: Case) -> None:
    """``ati.patch_motion``: the edit alone."""
    tracks, y = case.tensor("inputs.tracks"), case.tensor("inputs.y")
    case.check_value("latent shape", list(y.shape[1:]), list(case["latent_shape"]))
    got = edit(y, tracks, temperature=case["temperature"], topk=case["topk"])
    case.check("outputs.y", got)


def forward(case: Case) -> None:
    """``ati.forward``: the transformer with edited channels, and without."""
    denoiser = _denoiser(case, case.group("weights."))
    before = case.tensor("inputs.y_before_ati")
    after = edit(before, case.tensor("inputs.tracks"))
    case.check("outputs.y_after_ati", after)
    tokens = case.tensor("inputs.clip_fea")

    def told(context: int, y: Tensor) -> Tensor:
        inputs = Inputs(
            text={VIDEO: case.tensor(f"inputs.context_{context}")[None]},
            image_tokens={VIDEO: tokens},
            concat={VIDEO: (y[None],)},
        )
        timesteps = {VIDEO: torch.tensor([float(case["timestep"])])}
        return denoiser({VIDEO: case.tensor("inputs.x")[None]}, timesteps, inputs)[VIDEO][0]

    for name in case.group("outputs."):
        if found := re.fullmatch(r"pred_(\d+)(_without_ati)?", name):
            y = before if found[2] else after
            case.check(f"outputs.{name}", told(int(found[1]), y))


def generate(case: Case) -> None:
    """``ati.generate``: upstream's run from a picture and a track file, with stubbed encoders."""
    size = _size(case)
    told, before = _told_of_picture(case, size)
    case.check("outputs.y_before_ati", before)
    with _track_file(case) as path:
        case.check("outputs.tracks", _laid(case, read_tracks(path), size.frames))
        # upstream knows the size of the picture, and stretches it whatever its proportions
        options = AtiOptions(
            tracks=path, width=case["width"], height=case["height"], padding="zeros"
        )
        told = condition(_request(case, options, size), told)
    case.check("outputs.y", told.concat[VIDEO][0].value[0])
    _check_run(case, told)


def _size(case: Case) -> VideoSize:
    """The video's size by upstream's rule, from that of the picture."""
    multiple = ATI_14B.preset.size_multiple
    width, height = area_size(case["width"], case["height"], case["max_area"], multiple)
    wanted = [case["lat_h"], case["lat_w"]]
    case.check_value("latent size", [height // STRIDE, width // STRIDE], wanted)
    return VideoSize(width, height, case["frame_num"], ATI_14B.preset.fps)


def _told_of_picture(case: Case, size: VideoSize) -> tuple[Conditioning, Tensor]:
    """What the family tells the transformer of the picture, and its channels alone."""
    pictures = ATI_14B.pictures
    assert pictures is not None
    pixels = case.tensor("inputs.image").numpy()
    levels = fit_signed(pixels, size.width, size.height, pictures.fit, kernel=pictures.kernel)
    frame = torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))
    case.check("outputs.resized_frame0", frame)
    texts = Conditioning(text={VIDEO: Timed(case.tensor("inputs.context")[None])})
    texts = texts.with_branch(
        "uncond", text={VIDEO: Timed(case.tensor("inputs.context_null")[None])}
    )
    request = PictureRequest(
        VIDEO,
        (GivenFrames("image", 0, frame[:, None], pixels),),
        ATI_14B,
        size,
        _Stubs(case),
        torch.device("cpu"),
        torch.float32,
        unreported,
    )
    told: Conditioning = resolve(pictures.condition)(request, texts)
    return told, told.concat[VIDEO][0].value[0]


def _request(case: Case, options: AtiOptions, size: VideoSize) -> ConditioningRequest:
    return ConditioningRequest(
        feature=FEATURE,
        options=options,
        stage="generate",
        folder=Path(),
        family=ATI_14B,
        size=size,
        latent_shapes={VIDEO: tuple(case.tensor("inputs.noise").shape)},
        steps=case["steps"],
        seed=0,
        components=_Stubs(case),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def _check_run(case: Case, told: Conditioning) -> None:
    """The core's loop with its solver and guidance: every prediction, and the latents after each step."""
    setup: SamplerSetup = resolve(BUILDERS[case["solver"]])(case["steps"], case["shift"])
    case.check("outputs.sigmas", setup.schedule.sigmas)
    case.check("outputs.timesteps", setup.schedule.timesteps)
    recorder = _Recorder(_denoiser(case, case.group("weights.transformer.")))
    noise = {VIDEO: case.tensor("inputs.noise")[None]}
    reports: list[StepReport] = []
    sample(
        recorder,
        setup.schedule,
        SamplerState.start(setup, noise, noises(0, noise)),
        conditioning=told,
        guidance=build_guidance(case["guide_scale"]),
        observe=reports.append,
        health=None,
    )
    for index, report in enumerate(reports):
        for branch in ("cond", "uncond"):
            case.check(f"outputs.{branch}_{index}", recorder.said[branch, index][0])
        case.check(f"outputs.latent_{index}", report.latents[VIDEO][0])


def _denoiser(case: Case, weights: Mapping[str, Tensor]) -> WanDenoiser:
    config = case["config"]
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    sizes = WanConfig.from_shapes(
        shapes, num_heads=config["num_heads"], text_len=config["text_len"]
    )
    with torch.device("meta"):
        transformer = WanTransformer(sizes)
    transformer.load_state_dict(dict(weights), strict=True, assign=True)
    return WanDenoiser(transformer.eval())


@contextmanager
def _track_file(case: Case) -> Iterator[Path]:
    """The case's track file, as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tracks.pth"
        path.write_bytes(case.tensor("inputs.pth_bytes").numpy().tobytes())
        yield path


class _Recorder:
    """A denoiser that keeps what each branch said at each step."""

    def __init__(self, denoiser: WanDenoiser) -> None:
        self.denoiser = denoiser
        self.sign = denoiser.sign
        self.said: dict[tuple[str, int], Tensor] = {}

    def prefill(self, conditioning: Conditioning) -> Mapping[str, Any]:
        return self.denoiser.prefill(conditioning)

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        said = self.denoiser(latents, timesteps, inputs)
        self.said[inputs.branch, inputs.step] = said[VIDEO]
        return said


@attrs.frozen(eq=False)
class _Stubs:
    """The stubbed encoders of a case, in the place of a model's components."""

    case: Case

    def get(self, slot: str) -> Any:
        if slot == "vae":
            return _StubVAE(self.case)
        tokens = self.case.tensor("inputs.clip_fea")
        return SimpleNamespace(encode=lambda pictures: tokens.expand(len(pictures), -1, -1))

    def release(self, slot: str) -> None:
        """Nothing is held."""

    def details(self, slot: str) -> Mapping[str, Any]:
        return {}


class _StubVAE:
    """Frame 0, then means of four frames; 8 x 8 pixels averaged; one matrix of colours."""

    def __init__(self, case: Case) -> None:
        self.weight = case.tensor("weights.vae_stub.enc_weight")
        self.bias = case.tensor("weights.vae_stub.enc_bias")
        self.config = SimpleNamespace(stride=(4, STRIDE, STRIDE))

    def encode_stream(self, pieces: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        frames = torch.cat(list(pieces), dim=2)[0]
        later = frames[:, 1:].reshape(3, -1, 4, *frames.shape[-2:]).mean(2)
        small = F.avg_pool2d(torch.cat([frames[:, :1], later], dim=1), STRIDE)
        latents = torch.einsum("oc,cthw->othw", self.weight, small)
        mean = (latents + self.bias[:, None, None, None])[None]
        yield mean, mean


HANDLERS = {
    "ati.tracks.pth": tracks_pth,
    "ati.tracks.json": tracks_json,
    "ati.patch_motion": patch_motion,
    "ati.forward": forward,
    "ati.generate": generate,
}
