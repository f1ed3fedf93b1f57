"""Previews through a tiny VAE: its own pictures, bounded, and no trouble of the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from taehv_samples import tiny
from torch import Tensor

from wan_core import Session
from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Family
from wan_core.contract.errors import ResourceError, WeightsError
from wan_core.contract.events import Event, Note, Preview, Recovered
from wan_core.contract.requests import VideoSize
from wan_core.engine.components import ModelComponents
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.media.pixels import to_pixels
from wan_core.models.families import TINY_RANDOM, WAN21_T2V_1_3B
from wan_core.models.vae import Taehv, TaehvConfig
from wan_core.planning import Library
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.stages import Previewer, previewer
from wan_core.stages.preview_pictures import LONGEST_SIDE, MOST_FRAMES, Decoded
from wan_core.workflow import Workflow, parse_workflow

WAN_CORE_CONTRACT = CONTRACT_VERSION
SMALL = TaehvConfig(z_dim=16, decoder_widths=(8, 6, 4, 4), encoder_width=None)
FAMILY = attrs.evolve(
    TINY_RANDOM,
    name="seen",
    components={
        **TINY_RANDOM.components,
        "preview_vae": WAN21_T2V_1_3B.components["preview_vae"],
    },
)


@hookimpl
def wan_register() -> Sequence[Family]:
    return [FAMILY]


PLUGINS = Plugins(
    [next(iter(installed_entry_points())), Found("seen", "s", "1", lambda: sys.modules[__name__])]
)


@pytest.fixture(scope="module")
def network() -> Taehv:
    return tiny(SMALL)


def workflow(folder: Path, model: str = "") -> Workflow:
    text = (
        f'format = 1\n[model]\nfamily = "seen"\n{model}\n[output]\npath = "clip.mkv"\noverwrite = true\n'
        '[[stages]]\nuse = "generate"\nprompt = "a circle"\nframes = 13\nsteps = 3\n'
    )
    return parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)


def run(folder: Path, model: str, previews: bool) -> tuple[NDArray[Any], list[Event]]:
    events: list[Event] = []
    with Session(plugins=PLUGINS, cache=folder / "cache", library=Library([folder])) as session:
        done = session.run(workflow(folder, model), listen=events.append, previews=previews)
        return np.stack(list(read_frames(done.outputs[0]))), events


def test_a_tiny_vae_that_finds_no_room_takes_none_from_others(
    tmp_path: Path, network: Taehv, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(network.state_dict(), tmp_path / "taew2_1.safetensors")
    load = ModelComponents._load

    def failing(self: ModelComponents, slot: str, keep: Any = None) -> Any:
        if slot == "preview_vae":
            raise torch.OutOfMemoryError("no")
        return load(self, slot, keep)

    monkeypatch.setattr(ModelComponents, "_load", failing)
    _, events = run(tmp_path, NAMED, True)
    assert [one.text for one in of(Note, events)] == ["no preview of generate: out of memory"]
    assert not of(Recovered, events)


def of(sort: type, events: Sequence[Event]) -> list[Any]:
    return [one for one in events if isinstance(one, sort)]


NAMED = 'preview_vae = "taew2_1.safetensors"'


def test_a_run_has_the_same_bits_and_shows_what_the_tiny_vae_decodes(
    tmp_path: Path, network: Taehv, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(network.state_dict(), tmp_path / "taew2_1.safetensors")
    drawn: list[Tensor] = []
    draw = Decoded.__call__

    def noted(self: Decoded, latents: Tensor) -> NDArray[np.uint8]:
        drawn.append(latents)
        return draw(self, latents)

    monkeypatch.setattr(Decoded, "__call__", noted)
    # a file that lies in a model folder is not taken by itself
    plain, silent = run(tmp_path, "", True)
    named, unasked = run(tmp_path, NAMED, False)
    assert not drawn
    seen, events = run(tmp_path, NAMED, True)
    assert np.array_equal(plain, named) and np.array_equal(plain, seen)
    assert not of(Preview, silent) and not of(Preview, unasked)
    # the random VAE has no known colours
    assert "no colours are known" in of(Note, silent)[0].text
    assert not of(Note, events)
    first, *_, last = of(Preview, events)
    assert (first.step, last.step) == (1, 3)
    for latents, preview in ((drawn[0], first), (drawn[-1], last)):
        assert latents.shape == (1, 16, 4, 4, 4)
        with torch.no_grad():
            (want,) = network.decode(latents)
        assert preview.frames.shape == (13, 32, 32, 3) and preview.fps == 8
        assert np.abs(preview.frames.astype(int) - to_pixels(want.transpose(0, 1))).max() <= 1
    assert np.ptp(last.frames) > 30 and not np.array_equal(first.frames, last.frames)


def test_an_optional_file_is_planned_only_where_it_is_named(tmp_path: Path, network: Taehv) -> None:
    save_file(network.state_dict(), tmp_path / "taew2_1.safetensors")
    library = Library([tmp_path])
    with Session(plugins=PLUGINS, library=library) as session:
        assert not session.plan(workflow(tmp_path)).models["main"].files
        (planned,) = session.plan(workflow(tmp_path, NAMED)).models["main"].files.items()
        assert (planned[0], planned[1].identity.component) == ("preview_vae", "taehv")
        save_file(tiny(attrs.evolve(SMALL, z_dim=48)).state_dict(), tmp_path / "other.safetensors")
        with pytest.raises(WeightsError, match="its z_dim is 48, that of family seen is 16"):
            session.plan(workflow(tmp_path, 'preview_vae = "other.safetensors"'))
        half = {name: tensor for name, tensor in network.state_dict().items() if name[8:9] != "9"}
        save_file(half, tmp_path / "half.safetensors")
        with pytest.raises(WeightsError, match="do not make a whole tiny preview VAE"):
            session.plan(workflow(tmp_path, 'preview_vae = "half.safetensors"'))


class Parts:
    """Components of which the tiny VAE is one."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        self.users = 0
        self.asked = 0

    def details(self, slot: str) -> dict[str, int]:
        return {"z_dim": 16} if slot == "preview_vae" else {}

    def get(self, slot: str) -> Any:
        assert slot == "preview_vae"
        self.asked += 1
        if isinstance(self.vae, Exception):
            raise self.vae
        self.users += 1
        return self.vae

    def release(self, slot: str) -> None:
        self.users -= 1


def sender(parts: Parts, sent: list[Event]) -> Previewer:
    size = VideoSize(width=32, height=32, frames=13, fps=8.0)
    context: Any = SimpleNamespace(
        stage="s", size=size, emit=sent.append, previews=True, components=parts
    )
    return previewer(context)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_it_is_loaded_for_the_first_picture_and_idle_between_two(network: Taehv) -> None:
    parts, sent = Parts(network), list[Event]()
    preview = sender(parts, sent)
    assert parts.asked == 0
    for step in (1, 2):
        preview.show(step, 2, lambda: random(1, 16, 4, 4, 4))
        assert (parts.asked, parts.users) == (step, 0)
    assert [one.frames.shape for one in of(Preview, sent)] == [(13, 32, 32, 3)] * 2


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ResourceError("no room", remedy="leave"), "no preview of s: no room"),
        (WeightsError("it is gone", where="x"), "no preview of s: it is gone"),
        (torch.OutOfMemoryError("CUDA …"), "no preview of s: out of memory"),
    ],
)
def test_where_it_can_not_be_loaded_or_run_there_are_no_previews(
    error: Exception, says: str
) -> None:
    parts, sent = Parts(error), list[Event]()
    preview = sender(parts, sent)
    for step in (1, 2, 3):
        preview.show(step, 3, lambda: random(1, 16, 4, 4, 4))
    assert sent == [Note(says, "warning")]
    assert parts.asked == 1


def shown(network: Any, latents: Tensor) -> NDArray[np.uint8]:
    parts: Any = Parts(network)
    return Decoded(parts, "preview_vae")(latents)


def whole(network: Taehv, latents: Tensor) -> NDArray[Any]:
    with torch.no_grad():
        return to_pixels(network.decode(latents)[0].transpose(0, 1)).astype(int)


@pytest.mark.parametrize(("latent_frames", "every"), [(1, 1), (12, 1), (13, 2), (31, 3), (48, 4)])
def test_of_many_frames_some_are_shown_at_an_even_pace(
    network: Taehv, latent_frames: int, every: int
) -> None:
    latents = random(1, 16, latent_frames, 2, 2)
    got = shown(network, latents)
    want = whole(network, latents)[::every]
    assert len(want) <= MOST_FRAMES
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1


def test_of_a_long_video_some_moments_are_decoded_each_by_itself(network: Taehv) -> None:
    latents = random(1, 16, 1, 2, 2) * torch.linspace(-2, 2, 1000).view(1, 1, -1, 1, 1)
    got = shown(network, latents)
    assert got.shape == (MOST_FRAMES, 16, 16, 3)
    for index, moment in ((0, 0), (-1, 999)):
        want = whole(network, latents[:, :, moment : moment + 1])[0]
        assert np.abs(got[index] - want).max() <= 1


class Painter:
    """Decodes to a ramp from left to right, whatever the latents are."""

    config = SMALL

    def decode_stream(self, latents: Tensor) -> Any:
        width = latents.shape[4] * 8
        for index in range(latents.shape[2]):
            ramp = torch.linspace(-1, 1, width, dtype=torch.bfloat16)
            yield ramp.expand(1, 3, 4 if index else 1, latents.shape[3] * 8, width)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(60, 104, (295, 512)), (104, 60, (512, 295)), (64, 64, (512, 512)), (8, 9, (64, 72))],
)
def test_large_pictures_are_made_smaller(height: int, width: int, size: tuple[int, int]) -> None:
    got = shown(Painter(), torch.zeros(1, 16, 2, height, width))
    assert got.shape == (5, *size, 3)
    assert max(size) <= LONGEST_SIDE
    ramp = got[0, 0, :, 0].astype(int)
    assert ramp[0] < 3 and ramp[-1] > 252 and (np.diff(ramp) >= 0).all()


def test_broken_latents_are_no_trouble_of_a_preview(network: Taehv) -> None:
    sent: list[Event] = []
    broken = random(1, 16, 2, 2, 2)
    broken[0, 0, 0, 0] = torch.tensor([float("nan"), float("inf")])
    sender(Parts(network), sent).show(1, 1, lambda: broken)
    assert len(of(Preview, sent)) == 1


@pytest.mark.parametrize(("seconds", "shown_at"), [(0.0, [1, 2, 3, 4]), (1.0, [1, 4])])
def test_the_time_of_decoding_counts(seconds: float, shown_at: list[int]) -> None:
    """Of the time 5 % at most go into previews, but for the first and the last."""
    now, sent = [0.0], list[Event]()

    def draw(latents: Tensor) -> NDArray[np.uint8]:
        now[0] += seconds
        return np.zeros((1, 8, 8, 3), np.uint8)

    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    context: Any = SimpleNamespace(stage="s", size=None, emit=sent.append)
    preview = Previewer(context, draw, clock=clock)
    for step in range(1, 5):
        now[0] += 1.5
        preview.show(step, 4, lambda: torch.zeros(1, 1, 1, 1, 1))
    assert [one.step for one in of(Preview, sent)] == shown_at
