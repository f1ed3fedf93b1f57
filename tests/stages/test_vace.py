"""The feature ``vace``: contexts of a small transformer with random weights in a file, run end to end."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from vace_samples import CONFIG, FAMILY, FRAMES, PLUGINS, SIDE, calls, write_files

import wan_core
from wan_core import Session
from wan_core.contract.conditioning import Conditioning, StepRange
from wan_core.contract.events import Event, Note, TaskProgress
from wan_core.contract.placement import Placement
from wan_core.contract.requests import LoadRequest, VideoSize
from wan_core.media import read_frames
from wan_core.models.loaders import load_vae
from wan_core.models.vae import WanVAE
from wan_core.models.wan import vace_context
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.stages import vace
from wan_core.stages.frames import on_white
from wan_core.workflow import parse_workflow

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vace")
    write_files(folder)
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
def run(folder: Path) -> Iterator[Run]:
    """Runs a workflow with these askings of the feature; equal ones once."""
    made: dict[Any, Made] = {}

    def run(*features: str, frames: int = FRAMES, steps: int = 2, text: str = TEXT) -> Made:
        asked = "\n".join(f'[[stages.apply]]\nuse = "vace"\n{one}' for one in features)
        text = text.format(frames=frames, steps=steps, features=asked)
        if text not in made:
            made[text] = once(text)
        return made[text]

    def once(text: str) -> Made:
        workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
        calls.clear()
        events: list[Event] = []
        result = session.run(workflow, listen=events.append)
        frames = np.stack(list(read_frames(result.outputs[0])))
        return Made(frames, list(calls), events)

    with Session(plugins=PLUGINS, device="cpu") as session:
        yield run


VIDEO = 'video = "video.mkv"'


def error(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max())


def encode(frames: Tensor) -> Tensor:
    """A whole clip at once."""
    component = FAMILY.components["vae"]
    path = Path(wan_core.__file__).parent / "models" / str(component.bundled)
    vae: WanVAE = load_vae(LoadRequest("vae", component, path, torch.device("cpu"), torch.float32))
    return vae.encode(frames[None])[0][0]


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
    run: Run, folder: Path, options: str, mask: str | None
) -> None:
    made = run(options)
    assert made.frames.shape == (FRAMES, SIDE, SIDE, 3)
    video, masked = torch.zeros(3, FRAMES, SIDE, SIDE), torch.ones(1, FRAMES, SIDE, SIDE)
    if "video" in options:
        video = frames_of(folder / "video.mkv")
    if mask == "half.png":
        masked[..., : SIDE // 2] = 0
    elif mask:
        masked = (frames_of(folder / mask)[:1] + 1) / 2
    pictures = [canvas(folder / n) for n in ("wide.png", "tall.png") if n in options]
    want = vace_context(encode, video, masked, pictures)
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
    told = vace.with_context(told, context, [], [(1.0, StepRange())])
    told = vace.with_context(told, 2 * context, [reference], [(1.0, StepRange())])
    assert told.prepend == {"video": 2} and told.append == {"video": 2}
    inputs = told.at("cond", 0, 1).add_ons["vace"]
    rows = {name: tensor[0, 0, :, 0, 0].tolist() for name, tensor in inputs.items()}
    assert rows == {"context.0.0": [0, 0, 1, 1, 1, 0, 0], "context.1.0": [0, 5, 2, 2, 2, 0, 0]}


def test_video_of_an_earlier_stage(run: Run, folder: Path) -> None:
    first = 'name = "first"\nseed = 5\n[[stages]]\nuse = "generate"\nprompt = "a circle"\n'
    text = TEXT.replace("{features}", f"{first}frames = 5\nsteps = 2\n{{features}}")
    both = run('video = "first.video"', frames=5, text=text)
    run(frames=5, text=TEXT.replace("{features}", "seed = 5\n{features}"))
    (folder / "out.mkv").replace(folder / "first.mkv")
    from_file = run('video = "first.mkv"', frames=5)
    # the file has 8 bits
    assert error(both.contexts(2)[0], from_file.contexts()[0]) < 0.05
    assert np.abs(both.frames.astype(int) - from_file.frames).mean() < 3


def test_no_more_than_a_part_of_the_video_is_held(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0

    def watched(*_: Any) -> Iterator[Tensor]:
        nonlocal most
        seen: list[weakref.ref[Tensor]] = []
        for _ in range(33):
            frame = torch.zeros(1, 3, 1, SIDE, SIDE)
            seen.append(weakref.ref(frame))
            yield frame
            most = max(most, sum(one() is not None for one in seen))

    monkeypatch.setattr(vace, "given_video", watched)
    run('video = "long.mkv"', frames=33)
    assert 1 < most <= 8


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


def test_a_stage_that_asks_for_none_is_told(run: Run) -> None:
    said = [e.text for e in run().events if isinstance(e, Note)]
    assert (
        "small-vace was made for feature vace, and this stage asks for none; ask for it under [[stages.apply]]"
        in said
    )


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("names", [("blocks.1", "vace_blocks.0", "vace_blocks.1"), None])
def test_blocks_of_both_chains_may_be_swapped(
    run: Run, folder: Path, tmp_path: Path, names: tuple[str, ...] | None, prefetch: int
) -> None:
    want = run(VIDEO)
    text = TEXT.format(frames=FRAMES, steps=2, features=f'[[stages.apply]]\nuse = "vace"\n{VIDEO}')
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    every = ("text_embedding", *(f"blocks.{i}" for i in range(3)), "vace_blocks.0", "vace_blocks.1")
    placements = {"transformer": Placement(swapped=names or every, prefetch=prefetch)}
    with Session(plugins=PLUGINS, device="cpu", cache=tmp_path) as session:
        plan = session.plan(workflow)
        models = {n: attrs.evolve(m, placements=placements) for n, m in plan.models.items()}
        result = session.run(attrs.evolve(plan, models=models))
    assert np.array_equal(np.stack(list(read_frames(result.outputs[0]))), want.frames)
    assert result.moved > 0
