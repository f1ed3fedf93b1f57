"""The stage in the real engine: what the transformer is given in each mode, and what comes out."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import lumos_samples as samples
import numpy as np
import pytest
import torch
from lumos_samples import FPS, FRAMES, PLUGINS, SIDE, calls, workflow_text, write_files
from safetensors.torch import save_file
from torch import Tensor
from wan_plugin_unilumos import stage as relighting
from wan_plugin_unilumos.choosing import Pick
from wan_plugin_unilumos.fitting import fitted_frame, fitted_picture
from wan_plugin_unilumos.options import RelightOptions
from wan_plugin_unilumos.silhouette import filled
from wan_plugin_unilumos.stage import _video

from wan_core import Session
from wan_core.contract import Cancelled, Event, LoadRequest, Note, TaskProgress, VideoSize
from wan_core.media import Chunks, probe, read_clip, read_frames, read_still
from wan_core.models import random_transformer, random_vae
from wan_core.stages import LatentVideo
from wan_core.workflow import parse_workflow


@attrs.frozen(eq=False)
class Made:
    """What a run made: frames, what each call of the transformer was given, and what was told."""

    frames: np.ndarray
    calls: list[Tensor]
    events: list[Event]
    fps: float

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]

    def beside(self, part: int) -> Tensor:
        """The foreground (1) or the background (2), the same in all calls."""
        parts = [call[:, 16 * part : 16 * (part + 1)] for call in self.calls]
        assert all(torch.equal(one, parts[0]) for one in parts)
        return parts[0]


Run = Callable[..., Made]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lumos")
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Iterator[Run]:
    """Runs a workflow with such a stage; equal ones once."""
    made: dict[str, Made] = {}

    def run(stage: str = "", text: str = "", **more: str) -> Made:
        text = text or workflow_text(f'prompt = "a square"\n{stage}', **more)
        if text not in made:
            made[text] = once(text)
        return made[text]

    def once(text: str) -> Made:
        workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
        calls.clear()
        events: list[Event] = []
        output = session.run(workflow, listen=events.append).outputs[0]
        pictures = output.is_dir() or output.suffix == ".png"
        frames = np.stack(list(read_frames(output)))
        fps = 0.0 if pictures else float(probe(output).fps)
        return Made(frames, list(calls), events, fps)

    with Session(plugins=PLUGINS, device="cpu") as session:
        yield run


def latents_of(frames: np.ndarray) -> Tensor:
    """A whole clip ``[frames, height, width, 3]`` in -1…1, encoded at once."""
    component = samples.RANDOM.components["vae"]
    vae = random_vae(LoadRequest("vae", component, None, torch.device("cpu"), torch.float32))
    clip = torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        return vae.encode(clip)[0]


def of_file(folder: Path, name: str, count: int = FRAMES, size: int = SIDE) -> np.ndarray:
    frames = np.concatenate(list(read_clip(folder / name)))[:count]
    frames = np.concatenate([frames, frames[-1:].repeat(count - len(frames), axis=0)])
    return np.stack([fitted_frame(frame, (size, size)) for frame in frames])


def grey(count: int = FRAMES) -> np.ndarray:
    return np.zeros((count, SIDE, SIDE, 3), np.float32)


def close(got: Tensor, want: Tensor) -> bool:
    return got.shape == want.shape and float((got - want).abs().max() / want.abs().max()) < 1e-5


VIDEO, GROUND = 'video = "v.mkv"\n', 'background = "ground.mkv"\n'


@pytest.mark.parametrize("mode", ["a", "ab", "ac", "abc"])
def test_each_mode_gives_the_transformer_what_it_names(run: Run, folder: Path, mode: str) -> None:
    made = run(VIDEO * ("b" in mode) + GROUND * ("c" in mode))
    assert made.frames.shape == (FRAMES, SIDE, SIDE, 3)
    # two steps of two branches, both of which are told the same
    assert [call.shape for call in made.calls] == [(1, 48, 3, 4, 4)] * 4
    foreground = of_file(folder, "v.mkv") if "b" in mode else grey()
    background = of_file(folder, "ground.mkv") if "c" in mode else grey()
    assert close(made.beside(1), latents_of(foreground))
    assert close(made.beside(2), latents_of(background))


def test_what_is_missing_may_be_zeros(run: Run) -> None:
    assert not run(VIDEO + 'missing = "zero"').beside(2).any()
    assert run(VIDEO).beside(2).any()
    nothing = run('missing = "zero"')
    assert not nothing.beside(1).any() and not nothing.beside(2).any()


def test_words_reach_the_model(run: Run) -> None:
    plain, lit = run(VIDEO), run(VIDEO + 'direction = "side light"')
    assert not np.array_equal(plain.frames, lit.frames)
    spelled = 'direction = "Side"\nphenomena = "NONE"'
    assert np.array_equal(run(VIDEO + spelled).frames, lit.frames)


def test_the_subject_is_noise_in_the_background(run: Run, folder: Path) -> None:
    stage = VIDEO + GROUND + 'mask = "mask.mkv"\nseed = 3'
    masks = (of_file(folder, "mask.mkv")[..., 0] > 0).astype(np.float32)
    want = np.stack(list(filled(of_file(folder, "ground.mkv"), masks, 3)))
    assert close(run(stage).beside(2), latents_of(want))
    assert close(run(stage).beside(1), latents_of(of_file(folder, "v.mkv")))
    still = run(VIDEO + GROUND + 'mask = "m.png"\nseed = 3')
    first = np.broadcast_to(masks[:1], masks.shape)
    want = np.stack(list(filled(of_file(folder, "ground.mkv"), first, 3)))
    assert close(still.beside(2), latents_of(want))


def test_a_short_background_holds_its_last_frame(run: Run, folder: Path) -> None:
    made = run(VIDEO + 'background = "briefly.mkv"')
    assert close(made.beside(2), latents_of(of_file(folder, "briefly.mkv")))
    assert any("its last one is held" in note for note in made.notes)


def test_a_picture_as_background(run: Run, folder: Path) -> None:
    picture = fitted_picture(read_still(folder / "wide.png").pixels, (SIDE, SIDE))
    made = run(VIDEO + 'background = "wide.png"')
    assert close(made.beside(2), latents_of(np.stack([picture] * FRAMES)))


@pytest.mark.parametrize("output", ["one.mkv", "one.png"])
def test_a_picture_is_lit_as_a_video_of_one_frame(run: Run, folder: Path, output: str) -> None:
    text = workflow_text('prompt = "a square"\nvideo = "p.png"').replace(
        "out.mkv", output.replace(".png", "/%05d.png")
    )
    made = run(text=text)
    assert made.frames.shape == (1, SIDE, SIDE, 3)
    picture = fitted_picture(read_still(folder / "p.png").pixels, (SIDE, SIDE))
    assert close(made.beside(1), latents_of(picture[None]))
    # the picture counts, which it does not in the makers' own script
    assert not np.array_equal(made.frames, run("frames = 1").frames)


def test_odd_latents(run: Run, folder: Path) -> None:
    made = run(VIDEO + "width = 24\nheight = 40\nframes = 5")
    assert made.frames.shape == (5, 40, 24, 3)
    # padded with zeros on the right and below, which the prediction is cut back from
    assert all(call.shape == (1, 48, 2, 6, 4) for call in made.calls)
    assert all(not call[..., 5, :].any() and not call[..., 3].any() for call in made.calls)
    assert all(call[..., :5, :3].any() for call in made.calls)


@pytest.mark.parametrize("frames", [1, 5, 13])
def test_numbers_of_frames(run: Run, frames: int) -> None:
    assert (
        run(f'video = "fast.mkv"\nframe_choice = "own"\nframes = {frames}').frames.shape[0]
        == frames
    )


def test_frames_of_a_file_are_those_at_the_familys_rate(run: Run, folder: Path) -> None:
    # 24 frames at 24 a second are 8 at 8 a second, of which 5 make whole latents
    made = run('video = "fast.mkv"')
    frames = np.concatenate(list(read_clip(folder / "fast.mkv")))[[0, 3, 6, 9, 12]]
    want = np.stack([fitted_frame(frame, (SIDE, SIDE)) for frame in frames])
    assert close(made.beside(1), latents_of(want))
    assert made.fps == 8
    own = run('video = "fast.mkv"\nframe_choice = "own"')
    assert own.fps == 24 and close(own.beside(1), latents_of(of_file(folder, "fast.mkv")))
    upstream = run('video = "fast.mkv"\nframe_choice = "upstream"')
    frames = np.concatenate(list(read_clip(folder / "fast.mkv")))
    indices = np.rint(np.linspace(0, 23, 9)).astype(int)
    want = np.stack([fitted_frame(frame, (SIDE, SIDE)) for frame in frames[indices]])
    assert upstream.fps == 8 and close(upstream.beside(1), latents_of(want))


CHAIN = """
format = 1
[models.first]
family = "plain-sixteen"
[models.light]
family = "random-lumos"
[output]
path = "chain.mkv"
overwrite = true
[[stages]]
use = "generate"
model = "first"
prompt = "a square"
frames = 13
width = 48
[[stages]]
use = "unilumos"
model = "light"
video = "generate.video"
{more}
"""


def test_after_another_stage_everything_follows_from_its_video(run: Run) -> None:
    made = run(text=CHAIN.format(more=""))
    assert made.frames.shape == (13, 32, 48, 3)
    assert made.fps == 16
    assert made.calls[-1].shape == (1, 48, 4, 4, 6)


def test_an_earlier_stage_at_another_rate(run: Run) -> None:
    made = run(text=CHAIN.format(more='frame_choice = "rate"'))
    # 13 frames at 16 a second are 7 at 8 a second, of which 5 make whole latents
    assert made.frames.shape[0] == 5 and made.fps == 8
    assert run(text=CHAIN.format(more='frame_choice = "upstream"')).frames.shape[0] == FRAMES


def test_equal_runs_are_equal_and_seeds_count(run: Run, folder: Path) -> None:
    stage = VIDEO + GROUND + 'mask = "m.png"\n'
    one = run(stage)
    again = run(stage + "# once more")
    assert np.array_equal(one.frames, again.frames)
    assert not np.array_equal(one.frames, run(stage + "seed = 1").frames)


def write_transformer(folder: Path) -> dict[str, Tensor]:
    component = samples.RANDOM.components["transformer"]
    denoiser: Any = random_transformer(
        LoadRequest("transformer", component, None, torch.device("cpu"), torch.float32)
    )
    return {name: tensor.clone() for name, tensor in denoiser.transformer.state_dict().items()}


def test_files_as_they_are_published(run: Run, folder: Path) -> None:
    """A pickled state dict, as the makers have it, and safetensors, as it was repackaged."""
    weights = write_transformer(folder)
    save_file(weights, folder / "lumos.safetensors")
    torch.save(weights, folder / "unilumos.pt")
    named = {
        name: run(VIDEO, family="stored-lumos", model=f'transformer = "{name}"')
        for name in ("lumos.safetensors", "unilumos.pt")
    }
    for made in named.values():
        assert np.array_equal(made.frames, run(VIDEO).frames)


def test_a_lora_counts(run: Run, folder: Path) -> None:
    weights = write_transformer(folder)
    save_file(weights, folder / "lumos.safetensors")
    key = "blocks.0.self_attn.q.weight"
    generator = torch.Generator().manual_seed(0)
    rows, columns = weights[key].shape
    pair = {
        f"diffusion_model.{key.removesuffix('.weight')}.lora_A.weight": (2, columns),
        f"diffusion_model.{key.removesuffix('.weight')}.lora_B.weight": (rows, 2),
    }
    save_file(
        {name: torch.randn(shape, generator=generator) for name, shape in pair.items()},
        folder / "lora.safetensors",
    )
    model = 'transformer = "lumos.safetensors"\nloras = [{ file = "lora.safetensors" }]'
    changed = run(VIDEO, family="stored-lumos", model=model)
    assert not np.array_equal(changed.frames, run(VIDEO).frames)


def test_a_run_that_was_cut_short_goes_on_with_the_same_bits(run: Run, folder: Path) -> None:
    text = workflow_text('prompt = "a square"\nsteps = 3\n' + VIDEO).replace(
        "out.mkv", "resumed.mkv"
    )
    whole = run(text=text).frames
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "sampling" and event.done == 2:
            raise Cancelled("stop")

    with Session(plugins=PLUGINS, device="cpu") as session:
        with pytest.raises(Cancelled):
            session.run(workflow, listen=stop)
        calls.clear()
        output = session.run(workflow, resume=True).outputs[0]
        assert len(calls) <= 4
    assert np.array_equal(np.stack(list(read_frames(output))), whole)


def test_progress_names_what_is_encoded(run: Run) -> None:
    told = [event for event in run(VIDEO).events if isinstance(event, TaskProgress)]
    done = {event.task: event.done for event in told}
    assert done["encoding video"] == done["encoding grey"] == FRAMES


@pytest.mark.parametrize(
    ("more", "handed"),
    [
        ("", True),
        ("frames = 5", False),
        ("width = 24", False),
        ('frame_choice = "upstream"', False),
    ],
)
def test_a_later_stage_takes_latents_where_all_frames_are_as_they_are(
    folder: Path, more: str, handed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Tensor] = []

    def watched(components: Any, latents: Tensor, emit: Any) -> LatentVideo:
        made.append(latents.clone())
        return LatentVideo(components, latents, emit)

    monkeypatch.setattr(relighting, "LatentVideo", watched)
    text = workflow_text(f'name = "once"\nprompt = "a square"\n{VIDEO}') + (
        f'[[stages]]\nuse = "unilumos"\nname = "twice"\nvideo = "once.video"\n{more}\n'
    )
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    calls.clear()
    events: list[Event] = []
    with Session(plugins=PLUGINS, device="cpu") as session:
        session.run(workflow, listen=events.append)
    assert len(calls) == 8
    encoded = {
        event.task for event in events if isinstance(event, TaskProgress) and event.stage == "twice"
    }
    assert ("encoding video" in encoded) is not handed
    # to the bit, in every call
    given = [call[:, 16:32] for call in calls[4:]]
    assert all(torch.equal(one, made[0]) for one in given) is handed


POST = """
format = 1
[models.first]
family = "plain-sixteen"
[models.light]
family = "random-lumos"
[output]
path = "post.mkv"
overwrite = true
[[stages]]
use = "generate"
model = "first"
prompt = "a square"
frames = 5
post = [{post}]
"""


def test_as_a_post_process_of_another_stage(run: Run) -> None:
    plain = run(text=POST.format(post='"unilumos"'))
    assert plain.frames.shape == (5, 32, 32, 3) and plain.fps == 16
    # the words of the first stage, and light beside them
    lit = run(text=POST.format(post='{ use = "unilumos", direction = "top" }'))
    assert not np.array_equal(plain.frames, lit.frames)
    spelled = CHAIN.format(more='prompt = "a square"').replace(
        "frames = 13\nwidth = 48", "frames = 5"
    )
    assert np.array_equal(run(text=spelled).frames, plain.frames)


def test_long_clips_are_read_a_frame_at_a_time() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def chunks() -> Iterator[Tensor]:
        for index in range(200):
            alive[:] = [one for one in alive if one() is not None]
            assert len(alive) <= 2
            chunk = torch.full((1, 3, 24, 24), index / 200)
            alive.append(weakref.ref(chunk))
            yield chunk
            del chunk

    context: Any = SimpleNamespace(
        options=RelightOptions(video="long.video"),
        inputs={"long.video": Chunks(chunks)},
        planned={"video": Pick(frames=200)},
        size=VideoSize(SIDE, SIDE, 197, FPS),
    )
    count = 0
    for index, frame in enumerate(_video(context, "video")):
        assert frame.shape == (1, 3, 1, SIDE, SIDE)
        assert float(frame.mean()) == pytest.approx(index / 200, abs=1e-5)
        count += 1
    assert count == 197
