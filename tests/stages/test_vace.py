"""The feature ``vace``: contexts of a small transformer with random weights in a file, run end to end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from wan_core import Session
from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.conditioning import Conditioning, StepRange
from wan_core.contract.descriptions import Component, Family, Preset
from wan_core.contract.errors import WanCoreError
from wan_core.contract.events import Event, Note, TaskProgress
from wan_core.contract.requests import LoadRequest, VideoSize
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames, write_video
from wan_core.models.families import TINY_RANDOM, TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.models.vae import WanVAE
from wan_core.models.wan import WanConfig, WanTransformer, vace_context
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.stages.frames import on_white
from wan_core.stages.vace import with_context
from wan_core.stages.vace_options import VaceOptions
from wan_core.stages.vace_plan import spans
from wan_core.workflow import parse_workflow

WAN_CORE_CONTRACT = CONTRACT_VERSION
CONFIG = WanConfig(
    dim=48,
    ffn_dim=64,
    num_heads=2,
    num_layers=3,
    freq_dim=32,
    text_dim=16,
    text_len=16,
    vace_layers=(0, 2),
    vace_in_dim=96,
)
FRAMES, SIDE = 9, 32
TEXT = """
format = 1
model = {{ family = "small-vace", transformer = "vace.safetensors" }}
output = {{ path = "out.mkv", overwrite = true }}
[[stages]]
use = "generate"
prompt = "a circle"
frames = {frames}
steps = {steps}
{features}
"""
calls: list[dict[str, Any]] = []
"""Each call of the transformer: what it was given, and ``"out"``."""
vaes: list[WanVAE] = []


def load(request: LoadRequest) -> Any:
    denoiser = load_transformer(request)

    def note(module: Any, given: Any, more: dict[str, Any], out: Tensor) -> None:
        calls.append(
            {"latents": given[0], "timesteps": given[1], "text": given[2], "out": out, **more}
        )

    denoiser.transformer.register_forward_hook(note, with_kwargs=True)
    return denoiser


FAMILY = Family(
    name="small-vace",
    title="",
    task="video-to-video",
    components={
        "transformer": Component(
            kind="wan-transformer",
            load=f"{__name__}:load",
            config={"num_heads": 2, "text_len": 16},
        ),
        "text_encoder": TINY_RANDOM.components["text_encoder"],
        "vae": TINY_T2V.components["vae"],
    },
    preset=Preset(width=SIDE, height=SIDE, frames=FRAMES, fps=8, steps=2, shift=3.0, guidance=1.0),
    features=("vace",),
)


@hookimpl
def wan_register() -> Sequence[Family]:
    return [FAMILY]


PLUGINS = Plugins(
    [
        next(iter(installed_entry_points())),
        Found("small", "small", "1", lambda: sys.modules[__name__]),
    ]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, a video of 12 frames, two masks (a picture and a video) and two pictures."""
    folder = tmp_path_factory.mktemp("vace")
    transformer = WanTransformer(CONFIG)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in transformer.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 25
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
    save_file(transformer.state_dict(), folder / "vace.safetensors")
    numbers = np.random.default_rng(0)
    soft = numbers.integers(0, 255, (12, 4, 4, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    write_video(folder / "video.mkv", [soft], 8)
    half = np.zeros((SIDE, SIDE, 3), np.uint8)
    half[:, SIDE // 2 :] = 255
    Image.fromarray(half).save(folder / "half.png")
    levels = np.arange(12, dtype=np.uint8)[:, None, None, None] * 20 + half // 8
    write_video(folder / "mask.mkv", [levels], 8)
    for name, size in (("wide.png", (40, 20)), ("tall.png", (10, 30))):
        Image.fromarray(numbers.integers(0, 255, (*size[::-1], 3), np.uint8)).save(folder / name)
    return folder


@attrs.frozen
class Made:
    """Frames of a run, the calls of the transformer, and what was said."""

    frames: np.ndarray
    calls: list[dict[str, Any]]
    events: list[Event]

    def contexts(self, call: int = 0) -> list[Tensor]:
        given = self.calls[call]["add_ons"].get("vace", {})
        return [tensor for name, tensor in sorted(given.items()) if name.startswith("context")]

    def scales(self) -> list[list[float]]:
        """Of each call, 1 where there is none beside a context."""
        found = []
        for call in self.calls:
            given = call["add_ons"].get("vace", {})
            names = sorted(n.removeprefix("context") for n in given if n.startswith("context"))
            found.append([float(given.get(f"scale{name}", 1)) for name in names])
        return found


Run = Callable[..., Made]


@pytest.fixture(scope="module")
def session() -> Any:
    with Session(plugins=PLUGINS, device="cpu") as session:
        yield session


@pytest.fixture
def run(folder: Path, session: Session) -> Run:
    def run(*features: str, frames: int = FRAMES, steps: int = 2, text: str = TEXT) -> Made:
        asked = "\n".join(f'[[stages.apply]]\nuse = "vace"\n{one}' for one in features)
        text = text.format(frames=frames, steps=steps, features=asked)
        workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
        calls.clear()
        events: list[Event] = []
        result = session.run(workflow, listen=events.append)
        return Made(np.stack(list(read_frames(result.outputs[0]))), list(calls), events)

    return run


VIDEO = 'video = "video.mkv"'


def error(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max())


def vae_of(session: Session, folder: Path) -> WanVAE:
    import wan_core
    from wan_core.models.loaders import load_vae

    component = FAMILY.components["vae"]
    path = Path(wan_core.__file__).parent / "models" / str(component.bundled)
    return load_vae(LoadRequest("vae", component, path, torch.device("cpu"), torch.float32))


def frames_of(path: Path) -> Tensor:
    """``[3, frames, height, width]`` in -1…1."""
    frames = np.stack(list(read_frames(path)))[:FRAMES]
    return torch.from_numpy(frames).permute(3, 0, 1, 2) / 127.5 - 1


def canvas(path: Path) -> Tensor:
    """A reference as the makers prepare it, by torch's own interpolation."""
    picture = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 127.5 - 1
    height, width = picture.shape[1:]
    scale = min(SIDE / height, SIDE / width)
    size = int(height * scale), int(width * scale)
    small = F.interpolate(picture[None], size, mode="bilinear", align_corners=False)[0]
    white = torch.ones(3, 1, SIDE, SIDE)
    top, left = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    white[:, 0, top : top + size[0], left : left + size[1]] = small
    return white


CASES = [
    (VIDEO, None),
    (f'{VIDEO}\nmask = "half.png"', "half.png"),
    (f'{VIDEO}\nmask = "mask.mkv"', "mask.mkv"),
    (f'{VIDEO}\nmask = "mask.mkv"\nreferences = ["wide.png", "tall.png"]', "mask.mkv"),
    ('references = ["tall.png"]', None),
    ("", None),
]


@pytest.mark.parametrize(("options", "mask"), CASES)
@torch.no_grad()
def test_streamed_context_is_the_one_of_whole_tensors(
    run: Run, session: Session, folder: Path, options: str, mask: str | None
) -> None:
    made = run(options)
    assert made.frames.shape == (FRAMES, SIDE, SIDE, 3)
    vae = vae_of(session, folder)
    video, masked = torch.zeros(3, FRAMES, SIDE, SIDE), torch.ones(1, FRAMES, SIDE, SIDE)
    if "video" in options:
        video = frames_of(folder / "video.mkv")
    if mask == "half.png":
        masked[..., : SIDE // 2] = 0
    elif mask:
        masked = (frames_of(folder / mask)[:1] + 1) / 2
    pictures = [canvas(folder / n) for n in ("wide.png", "tall.png") if n in options]
    want = vace_context(lambda frames: vae.encode(frames[None])[0][0], video, masked, pictures)
    for call in range(len(made.calls)):
        (got,) = made.contexts(call)
        assert got.shape[1:] == want.shape
        assert error(got[0], want) < 1e-5
        # references are sampled in front, and dropped
        assert made.calls[call]["latents"].shape[2] == len(pictures) + 3


def test_strength_0_is_no_feature_bit_for_bit(run: Run) -> None:
    plain = run()
    assert plain.contexts() == []
    nothing = run(f'{VIDEO}\nreferences = ["wide.png"]\nstrength = 0')
    assert np.array_equal(nothing.frames, plain.frames)
    assert not np.array_equal(run(VIDEO).frames, plain.frames)


def test_two_halves_are_one_whole(run: Run) -> None:
    references = '\nreferences = ["wide.png"]'
    whole = run(VIDEO + references)
    halves = run(*2 * [VIDEO + references + "\nstrength = 0.5"])
    assert halves.scales() == [[0.5, 0.5]] * 2
    for one, other in zip(whole.calls, halves.calls, strict=True):
        assert one["out"].shape == other["out"].shape
        assert error(other["out"], one["out"]) < 1e-5
    assert np.abs(halves.frames.astype(int) - whole.frames).max() <= 1


@pytest.mark.parametrize(
    ("options", "scales"),
    [
        ("strength = [0.5, 1, 2]", [[0.5], [1], [2], [2]]),
        ("strength = [1, 0, 1, 1]", [[1], [], [1], [1]]),
        ("start = 0.5", [[], [], [1], [1]]),
        ("end = 0.5\nstrength = 0.7", [[0.7], [0.7], [], []]),
        ("start = 0.3\nend = 0.7\nstrength = [3, 2, 1]", [[], [], [1], []]),
    ],
)
def test_strength_of_each_step(run: Run, options: str, scales: list[list[float]]) -> None:
    made = run(f"{VIDEO}\n{options}", steps=4)
    assert made.scales() == [[pytest.approx(one) for one in step] for step in scales]
    (first,) = next(c for c in map(made.contexts, range(4)) if c)
    for call in range(4):  # one tensor, however many strengths
        assert all(one.data_ptr() == first.data_ptr() for one in made.contexts(call))


def test_a_part_of_the_run_by_range_or_by_strengths(run: Run) -> None:
    by_range = run(f"{VIDEO}\nend = 0.5", steps=4)
    by_list = run(f"{VIDEO}\nstrength = [1, 1, 0]", steps=4)
    assert np.array_equal(by_range.frames, by_list.frames)
    plain = run(steps=4)
    assert torch.equal(run(f"{VIDEO}\nstart = 0.5", steps=4).calls[1]["out"], plain.calls[1]["out"])


def test_video_mask_start_and_references_matter(run: Run) -> None:
    variants = [
        "",
        VIDEO,
        f"{VIDEO}\nvideo_start = 0.25",
        f'{VIDEO}\nmask = "half.png"',
        f'{VIDEO}\nmask = "mask.mkv"',
        f'{VIDEO}\nmask = "mask.mkv"\nvideo_start = 0.25',
        f'{VIDEO}\nreferences = ["wide.png"]',
        f'{VIDEO}\nreferences = ["tall.png"]',
        f'{VIDEO}\nreferences = ["tall.png", "wide.png"]',
    ]
    seen = {run(one).frames.tobytes() for one in variants}
    assert len(seen) == len(variants)


def test_a_mask_goes_in_step_with_its_video(run: Run) -> None:
    (context,) = run(f'{VIDEO}\nmask = "mask.mkv"\nvideo_start = 0.25').contexts()
    # frames 1, 4 and 7 of nine, after two frames that are left out; 20 levels a frame
    levels = context[0, 32:, :, 0, 0].mean(dim=0) * 255
    assert levels.tolist() == pytest.approx([60, 120, 180], abs=2)


def test_contexts_share_the_places_of_references(run: Run) -> None:
    made = run(
        f'{VIDEO}\nreferences = ["wide.png"]',
        'references = ["tall.png", "wide.png"]\nstrength = [0.5, 0.25]',
        f'{VIDEO}\nmask = "half.png"',
    )
    first, second, third = made.contexts()
    assert {one.shape for one in (first, second, third)} == {(1, 96, 2 + 3, 4, 4)}
    wide, tall = first[:, :, 0], second[:, :, 1]
    assert torch.equal(second[:, :, 0], wide) and not torch.equal(wide, tall)
    assert not first[:, :, 1].any() and not third[:, :, :2].any()
    assert made.scales() == [[1, 0.5, 1], [1, 0.25, 1]]
    assert made.frames.shape[0] == FRAMES
    alone = run(VIDEO).contexts()[0]
    assert torch.equal(first[:, :, 2:], alone)


def test_frames_of_others_are_counted() -> None:
    context, reference = torch.ones(1, 96, 3, 2, 2), torch.full((96, 1, 2, 2), 5.0)
    told = Conditioning(prepend={"video": 1}, append={"video": 2})
    told = with_context(told, context, [], [(1.0, StepRange())])
    told = with_context(told, 2 * context, [reference], [(1.0, StepRange())])
    assert told.prepend == {"video": 2} and told.append == {"video": 2}
    inputs = told.at("cond", 0, 1).add_ons["vace"]
    rows = {name: tensor[0, 0, :, 0, 0].tolist() for name, tensor in inputs.items()}
    assert rows == {"context.0.0": [0, 0, 1, 1, 1, 0, 0], "context.1.0": [0, 5, 2, 2, 2, 0, 0]}


def test_video_of_an_earlier_stage(run: Run, folder: Path) -> None:
    first = 'name = "first"\nseed = 5\n[[stages]]\nuse = "generate"\nprompt = "a circle"\n'
    text = TEXT.replace("{features}", f"{first}frames = 5\n{{features}}")
    both = run('video = "first.video"', frames=5, text=text)
    given = both.contexts(2)[0]
    run(frames=5, text=TEXT.replace("{features}", "seed = 5\n{features}"))
    (folder / "out.mkv").replace(folder / "first.mkv")
    from_file = run('video = "first.mkv"', frames=5)
    # the file has 8 bits
    assert error(given, from_file.contexts()[0]) < 0.05
    assert np.abs(both.frames.astype(int) - from_file.frames).mean() < 3


def test_progress_is_told(run: Run) -> None:
    made = run(f'{VIDEO}\nreferences = ["wide.png"]')
    told = [e for e in made.events if isinstance(e, TaskProgress) and e.task == "encoding for vace"]
    assert [e.done for e in told] == [1, 2, 6, 10]


@torch.no_grad()
def test_the_same_run_through_diffusers(run: Run, folder: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    made = run(f'{VIDEO}\nmask = "mask.mkv"\nreferences = ["wide.png"]\nstrength = [1, 0.6]')
    peer = diffusers.WanVACETransformer3DModel(
        num_attention_heads=CONFIG.num_heads,
        attention_head_dim=CONFIG.head_width,
        text_dim=CONFIG.text_dim,
        freq_dim=CONFIG.freq_dim,
        ffn_dim=CONFIG.ffn_dim,
        num_layers=CONFIG.num_layers,
        vace_layers=list(CONFIG.vace_layers),
        vace_in_channels=96,
    ).eval()
    from safetensors.torch import load_file

    weights = load_file(folder / "vace.safetensors")
    peer.load_state_dict({str(DIFFUSERS.from_official(name)): weights[name] for name in weights})
    for call, strength in zip(made.calls, (1, 0.6), strict=True):
        (context,) = [t for n, t in call["add_ons"]["vace"].items() if n.startswith("context")]
        text = F.pad(call["text"], (0, 0, 0, CONFIG.text_len - call["text"].shape[1]))
        want = peer(
            hidden_states=call["latents"],
            timestep=call["timesteps"],
            encoder_hidden_states=text,
            control_hidden_states=context,
            control_hidden_states_scale=torch.full((2,), strength),
            return_dict=False,
        )[0]
        assert error(call["out"], want) < 1e-5


@pytest.mark.parametrize("name", ["wide.png", "tall.png"])
def test_references_are_prepared_as_the_makers_do(folder: Path, name: str) -> None:
    got = on_white(folder / name, VideoSize(SIDE, SIDE, FRAMES, 8))
    assert torch.allclose(got, canvas(folder / name), atol=2e-6)


def test_steps_of_equal_strength_are_one_span() -> None:
    def laid(steps: int, **options: Any) -> list[tuple[float, float, float]]:
        found = spans(VaceOptions(**options), steps)
        return [(strength, part.start, part.end) for strength, part in found]

    assert laid(50) == [(1, 0, 1)]
    assert laid(50, strength=0) == []
    assert laid(10, strength=[1, 1, 0.5], start=0.1) == [(1, 0.1, 0.2), (0.5, 0.2, 1)]
    assert laid(3, strength=[0, 2, 0]) == [(2, 1 / 3, 2 / 3)]
    for steps in (3, 7, 30, 49):
        parts = spans(VaceOptions(strength=[1, 2] * (steps // 2)), steps)
        held = [[s for s, part in parts if part.holds(i, steps)] for i in range(steps)]
        assert all(len(one) == 1 for one in held)


def plan(folder: Path, options: str, *, stage: str = "", family: str = "small-vace") -> Any:
    text = f"""format = 1
[model]
family = "{family}"
{'transformer = "vace.safetensors"' if family == "small-vace" else ""}
[[stages]]
use = "generate"
prompt = "a circle"
{stage}
[[stages.apply]]
use = "vace"
{options}
"""
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    with Session(plugins=PLUGINS, device="cpu") as session:
        return session.plan(workflow)


REFUSED = [
    ('video = "none.mkv"', r"line 11, stages.0.apply.0.video, .*none.mkv: .*no such|not"),
    ('video = "vace.safetensors"', r"apply.0.video, .*no video that can be read"),
    ('mask = "half.png"', r"line 11, .*apply.0.mask: mask is said of video, and there is none"),
    ("video_start = 1", r"video_start is said of video"),
    (f"{VIDEO}\nvideo_start = 9", r"apply.0.video.*nothing is left"),
    (f"{VIDEO}\nvideo_start = 1", r"video has 4 frames at 8 per second.*makes 9; set frames = 1,"),
    (f'{VIDEO}\nmask = "wide.png"', r"line 12, .*apply.0.mask.*mask is 40x20, the video 32x32"),
    (f'{VIDEO}\nmask = "short.mkv"', r"apply.0.mask.*mask has 4 frames, the video 9"),
    ('references = ["wide.png", "video.mkv"]', r"line 11, .*references.*video.mkv: .*a video"),
    ('references = ["wide.png", 3]', r"references.1 must be a path"),
    (f"references = {['wide.png'] * 9}", r"references must be a list of at most 8 paths"),
    ("strength = 11", r"line 11.*strength must be from 0 to 10"),
    ("strength = [1, 1, 1]", r"strength has 3 numbers for 2 steps; give one"),
    ("start = 0.6\nend = 0.4", r"line 11, .*start: start 0.6 and end 0.4 leave no part"),
    ("end = 0", r"line 11, .*end: .*leave no part of the run"),
    ("start = 0.6", r"none of the 2 steps begins between start 0.6 and end 1"),
    ("strenght = 1", r'did you mean "strength"'),
]


@pytest.mark.parametrize(("options", "says"), REFUSED)
def test_mistakes_are_said_at_planning(folder: Path, options: str, says: str) -> None:
    if not (folder / "short.mkv").exists():
        write_video(folder / "short.mkv", [np.zeros((4, SIDE, SIDE, 3), np.uint8)], 8)
    with pytest.raises(WanCoreError, match=says) as caught:
        plan(folder, options)
    assert str(caught.value).startswith("w.toml, line ")


def test_other_families_are_refused(folder: Path) -> None:
    with pytest.raises(WanCoreError, match=r"does not fit family tiny-t2v; it fits wan2\.1-vace-1"):
        plan(folder, VIDEO, family="tiny-t2v")


def test_notes(folder: Path, run: Run) -> None:
    cut = "video of feature vace is 32x32, the stage makes 64x32: it is cut to these proportions"
    assert cut in plan(folder, VIDEO, stage="width = 64").notes
    assert not any("vace" in note for note in plan(folder, VIDEO).notes)
    assert any("neither a video nor references" in note for note in plan(folder, "").notes)
    said = [e.text for e in run().events if isinstance(e, Note)]
    assert (
        "small-vace runs as plain text to video; ask for feature vace under [[stages.apply]]"
        in said
    )
