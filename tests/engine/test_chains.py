"""Chains of stages on several models: what they share is loaded once, and latents are handed on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from wan_core import Session
from wan_core.contract.descriptions import Family, Stage
from wan_core.contract.errors import PluginError
from wan_core.contract.events import Event, TaskProgress, TaskStarted
from wan_core.contract.options import source
from wan_core.contract.requests import PlanContext, StageContext, StageNeeds
from wan_core.engine.results import RunResult
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.models.encoders import TextEncoder
from wan_core.models.families import TINY_T2V
from wan_core.models.vae import WanVAE
from wan_core.planning import Library, Plan, make_plan, phases
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.stages import LatentVideo, encode_video, generate
from wan_core.workflow import parse_workflow

SMALL = "width = 32\nheight = 32\nframes = 5\nsteps = 2\nnegative_prompt = ''"


@attrs.frozen
class MixOptions:
    """Options of the stage ``mix``."""

    video: str = source(help="a video")


def plan_mix(context: PlanContext) -> StageNeeds:
    size = context.inputs[context.options.video]
    vae = {"video": "vae"}
    return StageNeeds(context.options, size, gives_latents=vae, takes_latents=vae)


made: list[Any] = []
"""What the stage ``mix`` hands out in place of its video, where a test says so."""


def run_mix(context: StageContext) -> dict[str, Any]:
    """Turns the latents upside down."""
    assert context.components is not None
    latents = encode_video(context).flip(3)
    return {"video": made[0] if made else LatentVideo(context.components, latents, context.emit)}


class Third:
    """A family of another name with components that are the tiny ones', and a stage."""

    WAN_CORE_CONTRACT = (1, 0)

    @hookimpl
    def wan_register(self) -> Sequence[Family | Stage]:
        names = [f"{__name__}:{name}" for name in ("MixOptions", "run_mix", "plan_mix")]
        options, run, plan = names
        return [
            attrs.evolve(TINY_T2V, name="third", stages=("generate", "mix")),
            Stage("mix", "", options, run, plan=plan),
        ]


PLUGINS = Plugins([next(iter(installed_entry_points())), Found("third", "third", "1", Third)])


def stage(name: str, model: str, more: str = "", use: str = "generate") -> str:
    head = f'[[stages]]\nuse = "{use}"\nname = "{name}"\nmodel = "{model}"\n'
    return head + (f'prompt = "a {name}"\n{SMALL}\n' if use == "generate" else "") + more + "\n"


def planned(folder: Path, *stages: str, more: str = "") -> Plan:
    families = {"text": "tiny-t2v", "picture": "tiny-i2v", "light": "third"}
    models = "".join(f'[models.{name}]\nfamily = "{f}"\n' for name, f in families.items())
    output = '[output]\npath = "out.mkv"\noverwrite = true\n'
    text = "format = 1\n" + models + "".join(stages) + more + output
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu", library=Library(()))


FIRST = stage("first", "text")
CHANGED = stage("second", "light", 'video = "first.video"\nstrength = 0.9')
THREE = (
    FIRST,
    stage("moving", "picture", 'image = "first.video"'),
    stage("lit", "light", 'video = "moving.video"\nstrength = 0.9'),
)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made.clear()
    with Session(plugins=PLUGINS, cache=tmp_path / "cache", device="cpu") as session:
        yield session


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many frames the VAE has decoded, how many it has encoded, and prompts by calls."""
    counted: Counter[str] = Counter()
    decode, encode, text = WanVAE.decode_stream, WanVAE.encode_chunk, TextEncoder.encode

    def decoding(self: WanVAE, *args: Any, **more: Any) -> Iterator[Tensor]:
        for chunk in decode(self, *args, **more):
            counted["decoded"] += chunk.shape[2]
            yield chunk

    def encoding(self: WanVAE, video: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        counted["encoded"] += video.shape[2]
        return encode(self, video, *args, **more)

    def prompts(self: TextEncoder, prompts: Sequence[str]) -> list[Tensor]:
        counted["prompts"] += len(prompts)
        return text(self, prompts)

    monkeypatch.setattr(WanVAE, "decode_stream", decoding)
    monkeypatch.setattr(WanVAE, "encode_chunk", encoding)
    monkeypatch.setattr(TextEncoder, "encode", prompts)
    return counted


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The clean latents that each stage with a video starts from."""
    seen: list[Tensor] = []
    start = generate.start_latents

    def noting(*args: Any, clean: dict[str, Tensor], **more: Any) -> Any:
        seen.extend(clean.values())
        return start(*args, clean=clean, **more)

    monkeypatch.setattr(generate, "start_latents", noting)
    return seen


def frames(result: RunResult) -> np.ndarray:
    return np.stack(list(read_frames(result.outputs[0])))


def loaded(session: Session, plan: Plan, **more: Any) -> Counter[str]:
    """What a run loads, by how often."""
    events: list[Event] = []
    session.run(plan, listen=events.append, **more)
    return Counter(
        event.task.removeprefix("loading ")
        for event in events
        if isinstance(event, TaskStarted) and event.task.startswith("loading")
    )


def test_three_models_load_what_they_share_once(
    session: Session, tmp_path: Path, calls: Counter[str]
) -> None:
    plan = planned(tmp_path, *THREE)
    # the first and the third have one transformer, too
    assert loaded(session, plan) == {
        "text encoder": 1,
        "vae": 1,
        "transformer": 2,
        "image encoder": 1,
    }
    assert calls["prompts"] == 4  # one for each stage, and the negative one
    titles = [one.title for one in session._residencies["cpu"]._residents.values()]
    assert len(titles) == 5
    # another run finds them there, and its texts in the cache
    assert loaded(session, plan) == {}
    assert calls["prompts"] == 4


def test_texts_of_the_cache_serve_every_family(
    session: Session, tmp_path: Path, calls: Counter[str]
) -> None:
    session.run(planned(tmp_path, stage("same", "text")))
    asked = calls["prompts"]
    session.close()
    events = loaded(session, planned(tmp_path, stage("same", "light")))
    assert calls["prompts"] == asked == 2
    assert "text encoder" not in events


def test_the_bits_are_those_of_models_apart(tmp_path: Path) -> None:
    plan = planned(tmp_path, *THREE)
    with Session(plugins=PLUGINS, cache=tmp_path / "a", device="cpu") as session:
        together = frames(session.run(plan))
    others = {
        name: attrs.evolve(
            one,
            files={
                slot: attrs.evolve(file, fingerprint=f"{file.fingerprint} of {name}")
                for slot, file in one.files.items()
            },
        )
        for name, one in plan.models.items()
    }
    with Session(plugins=PLUGINS, cache=tmp_path / "b", device="cpu") as session:
        assert loaded(session, attrs.evolve(plan, models=others))["vae"] == 3
        assert np.array_equal(frames(session.run(attrs.evolve(plan, models=others))), together)


def test_latents_are_handed_on(
    session: Session, tmp_path: Path, calls: Counter[str], given: list[Tensor]
) -> None:
    (alone,) = session.run(planned(tmp_path, FIRST)).outputs
    assert calls == {"decoded": 5, "prompts": 2}
    calls.clear()
    keep: list[Tensor] = []
    real = LatentVideo.__init__

    def noting(self: LatentVideo, components: Any, latents: Tensor, *more: Any) -> None:
        keep.append(latents)
        real(self, components, latents, *more)

    LatentVideo.__init__ = noting  # type: ignore[method-assign]
    try:
        session.run(planned(tmp_path, FIRST, CHANGED))
    finally:
        LatentVideo.__init__ = real  # type: ignore[method-assign]
    # what the second stage made is decoded, and nothing else is
    assert calls == {"decoded": 5, "prompts": 1}
    (clean,) = given
    assert torch.equal(clean, keep[0])
    assert alone.name == "out.mkv"


def test_pixels_on_demand(
    session: Session, tmp_path: Path, calls: Counter[str], given: list[Tensor]
) -> None:
    latents = frames(session.run(planned(tmp_path, FIRST, CHANGED)))
    calls.clear()
    pixels = frames(session.run(planned(tmp_path, FIRST, CHANGED + "handover = 'pixels'\n")))
    assert (calls["decoded"], calls["encoded"]) == (10, 5)
    assert not np.array_equal(latents, pixels)
    ours, coded = given
    # the same video all the same, as far as the VAE keeps what so few steps draw
    between = torch.corrcoef(torch.stack([ours.flatten(), coded.flatten()]))[0, 1]
    assert 0.6 < float(between) < 1


def test_a_video_of_which_only_the_first_frame_is_wanted(
    session: Session, tmp_path: Path, calls: Counter[str]
) -> None:
    session.run(planned(tmp_path, FIRST, stage("moving", "picture", 'image = "first.video"')))
    # the first latent is one frame, and the video that is written has five
    assert (calls["decoded"], calls["encoded"]) == (6, 5)


def test_a_picture_made_here_is_the_first_frame(session: Session, tmp_path: Path) -> None:
    """As of a file, but for the rounding to 8 bits."""
    (video,) = session.run(planned(tmp_path, FIRST)).outputs
    video.rename(tmp_path / "first.mkv")
    from PIL import Image

    picture = next(iter(read_frames(tmp_path / "first.mkv")))
    Image.fromarray(picture).save(tmp_path / "picture.png")
    of_file = frames(session.run(planned(tmp_path, stage("m", "picture", 'image = "picture.png"'))))
    made_here = frames(
        session.run(planned(tmp_path, FIRST, stage("m", "picture", 'image = "first.video"')))
    )
    apart = np.abs(of_file.astype(int) - made_here.astype(int))
    assert apart.max() <= 6
    other = frames(
        session.run(
            planned(tmp_path, FIRST + "seed = 3\n", stage("m", "picture", 'image = "first.video"'))
        )
    )
    assert np.abs(other.astype(int) - made_here.astype(int)).mean() > 5 * apart.mean()


@pytest.mark.parametrize("killed_in", ["first", "second"])
def test_a_chain_goes_on_with_the_same_bits(
    killed_in: str, session: Session, tmp_path: Path, calls: Counter[str]
) -> None:
    plan = planned(tmp_path, FIRST, CHANGED)
    whole = frames(session.run(plan))

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and (event.task, event.stage) == ("sampling", killed_in):
            raise KeyboardInterrupt

    with pytest.raises(BaseException, match="stopped"):
        session.run(plan, listen=stop)
    calls.clear()
    events: list[Event] = []
    assert np.array_equal(frames(session.run(plan, resume=True, listen=events.append)), whole)
    sampled = {e.stage for e in events if isinstance(e, TaskStarted) and e.task == "sampling"}
    assert sampled == {"second"} | ({"first"} if killed_in == "first" else set())
    assert (calls["decoded"], calls["encoded"]) == (5, 0)


def test_stages_that_are_over_make_room(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget for one transformer with its work, and for no VAE beside it."""
    monkeypatch.setattr(phases, "TEXT_ACTIVATIONS", 1_000_000)
    free = frames(session.run(planned(tmp_path, *THREE)))
    session.close()
    plan = planned(tmp_path, *THREE, more='[memory]\nram = "18MB"\n')
    vae = plan.models["text"].weight_bytes("vae")
    transformer = plan.models["picture"].weight_bytes("transformer")
    assert plan.peak < 18e6 < vae + transformer
    most: list[int] = []

    def watch(event: Event) -> None:
        most.append(session._residencies["cpu"].bytes)

    result = session.run(plan, listen=watch)
    assert max(most) <= 18e6
    assert np.array_equal(frames(result), free)
    assert {one.users for one in session._residencies["cpu"]._residents.values()} == {0}


def test_a_video_in_use_keeps_its_vae(session: Session, tmp_path: Path) -> None:
    plan = planned(tmp_path, FIRST)
    users: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task.startswith("decoding"):
            found = session._residencies["cpu"]._residents.values()
            users.extend(one.users for one in found if one.title.endswith("vae"))

    session.run(plan, listen=watch)
    assert users and set(users[:-1]) == {1}


def test_two_readers_of_one_video() -> None:
    released: list[str] = []

    class Components:
        def get(self, slot: str) -> Any:
            class Vae:
                def decode_stream(self, latents: Tensor) -> Iterator[Tensor]:
                    yield from torch.rand(3, 1, 3, 1, 8, 8)

            return Vae()

        def release(self, slot: str) -> None:
            released.append(slot)

        def details(self, slot: str) -> dict[str, Any]:
            return {}

    video = LatentVideo(Components(), torch.zeros(1, 16, 3, 1, 1), lambda event: None)
    one, two = iter(video), iter(video)
    next(one), next(two)
    assert len(list(one)) == 2
    assert released == []
    del two
    assert released == ["vae"]


def test_stages_of_plugins_give_and_take_latents(
    session: Session, tmp_path: Path, calls: Counter[str], given: list[Tensor]
) -> None:
    mix = stage("mix", "light", 'video = "first.video"', use="mix")
    after = stage("second", "text", 'video = "mix.video"\nstrength = 0.9')
    plan = planned(tmp_path, FIRST, mix, after)
    assert [one.decoded for one in plan.stages] == [False, False, True]
    session.run(plan)
    assert (calls["decoded"], calls["encoded"]) == (5, 0)
    session.run(planned(tmp_path, FIRST, CHANGED))
    mixed, first = given
    assert torch.equal(mixed, first.flip(3))
    # and the same stage on pixels, and on a file
    pixels = frames(session.run(planned(tmp_path, FIRST, mix + "handover = 'pixels'\n")))
    assert pixels.shape == (5, 32, 32, 3)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([torch.zeros(5, 3, 32, 32)], "does not hand on the latents that it has planned to"),
        (None, "handed on latents NoneType, not finite floats"),
        (torch.zeros(16, 2, 4, 4), r"handed on latents \[16, 2, 4, 4\] of float32, not"),
        (torch.full((1, 16, 2, 4, 4), torch.nan), "with values that are not finite numbers"),
    ],
)
def test_latents_that_are_none_are_the_plugins(
    wrong: Any, says: str, session: Session, tmp_path: Path
) -> None:
    class Source:
        replayable = True
        latents = wrong

        def __iter__(self) -> Iterator[Tensor]:
            yield torch.zeros(5, 3, 32, 32)

    made.append(wrong if isinstance(wrong, list) else Source())
    mix = stage("mix", "light", 'video = "first.video"', use="mix")
    after = stage("second", "text", 'video = "mix.video"\nstrength = 0.9')
    with pytest.raises(PluginError, match=f'stage "mix" of plugin third .*{says}'):
        session.run(planned(tmp_path, FIRST, mix, after))
