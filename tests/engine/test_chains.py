"""Chains of stages on several models: what they share is loaded once, and what is over makes room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from chained import CHANGED, FIRST, PLUGINS, THREE, frames, planned, stage
from PIL import Image
from test_recovery import Shortage
from torch import Tensor

from wan_core import Session
from wan_core.contract.events import Event, TaskProgress, TaskStarted
from wan_core.contract.placement import Placement
from wan_core.engine.components import ModelComponents
from wan_core.media import read_frames
from wan_core.models.vae.network import Decoder
from wan_core.models.wan.block import WanBlock
from wan_core.planning import Plan, phases, predict
from wan_core.stages import LatentVideo


def loaded(chaining: Session, plan: Plan, **more: Any) -> Counter[str]:
    """What a run loads, by how often."""
    events: list[Event] = []
    chaining.run(plan, listen=events.append, **more)
    return Counter(
        event.task.removeprefix("loading ")
        for event in events
        if isinstance(event, TaskStarted) and event.task.startswith("loading")
    )


def test_three_models_load_what_they_share_once(
    chaining: Session, tmp_path: Path, calls: Counter[str]
) -> None:
    plan = planned(tmp_path, *THREE)
    # the first and the third have one transformer, too
    assert loaded(chaining, plan) == {
        "text encoder": 1,
        "vae": 1,
        "transformer": 2,
        "image encoder": 1,
    }
    assert calls["prompts"] == 4  # one for each stage, and the negative one
    titles = [one.title for one in chaining._residencies["cpu"]._residents.values()]
    assert len(titles) == 5
    # another run finds them there, and its texts in the cache
    assert loaded(chaining, plan) == {}
    assert calls["prompts"] == 4


def test_texts_of_the_cache_serve_every_family(
    chaining: Session, tmp_path: Path, calls: Counter[str]
) -> None:
    chaining.run(planned(tmp_path, stage("same", "text")))
    asked = calls["prompts"]
    chaining.close()
    events = loaded(chaining, planned(tmp_path, stage("same", "light")))
    assert calls["prompts"] == asked == 2
    assert "text encoder" not in events


def test_the_bits_are_those_of_models_apart(tmp_path: Path) -> None:
    plan = planned(tmp_path, *THREE)
    with Session(plugins=PLUGINS, cache=tmp_path / "a", device="cpu") as chaining:
        together = frames(chaining.run(plan))
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
    with Session(plugins=PLUGINS, cache=tmp_path / "b", device="cpu") as chaining:
        assert loaded(chaining, attrs.evolve(plan, models=others))["vae"] == 3
        assert np.array_equal(frames(chaining.run(attrs.evolve(plan, models=others))), together)


def test_a_video_of_which_only_the_first_frame_is_wanted(
    chaining: Session, tmp_path: Path, calls: Counter[str]
) -> None:
    chaining.run(planned(tmp_path, FIRST, stage("moving", "picture", 'image = "first.video"')))
    # the first latent is one frame, and the video that is written has five
    assert (calls["decoded"], calls["encoded"]) == (6, 5)


def test_a_picture_made_here_is_the_first_frame(chaining: Session, tmp_path: Path) -> None:
    """As of a file, but for the rounding to 8 bits."""
    (video,) = chaining.run(planned(tmp_path, FIRST)).outputs
    video.rename(tmp_path / "first.mkv")
    picture = next(iter(read_frames(tmp_path / "first.mkv")))
    Image.fromarray(picture).save(tmp_path / "picture.png")
    of_file = frames(
        chaining.run(planned(tmp_path, stage("m", "picture", 'image = "picture.png"')))
    )
    made_here = frames(
        chaining.run(planned(tmp_path, FIRST, stage("m", "picture", 'image = "first.video"')))
    )
    apart = np.abs(of_file.astype(int) - made_here.astype(int))
    assert apart.max() <= 6
    other = frames(
        chaining.run(
            planned(tmp_path, FIRST + "seed = 3\n", stage("m", "picture", 'image = "first.video"'))
        )
    )
    assert np.abs(other.astype(int) - made_here.astype(int)).mean() > 5 * apart.mean()


def test_stages_that_are_over_make_room(
    chaining: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget for one transformer with its work, and for no VAE beside it."""
    monkeypatch.setattr(phases, "TEXT_ACTIVATIONS", 1_000_000)
    monkeypatch.setattr(predict, "HEAP_MOST", 0)
    free = frames(chaining.run(planned(tmp_path, *THREE)))
    chaining.close()
    plan = planned(tmp_path, *THREE, more='[memory]\nram = "21MB"\n')
    vae = plan.models["text"].weight_bytes("vae")
    transformer = plan.models["picture"].weight_bytes("transformer")
    assert plan.peak < 21e6 < vae + transformer
    most: list[int] = []

    def watch(event: Event) -> None:
        most.append(chaining._residencies["cpu"].bytes)

    result = chaining.run(plan, listen=watch)
    assert max(most) <= 21e6
    assert np.array_equal(frames(result), free)
    assert {one.users for one in chaining._residencies["cpu"]._residents.values()} == {0}


def test_what_one_model_learns_of_memory_holds_for_all_that_share_the_component(
    chaining: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that were swapped for the first model's stage stay so for that of the second."""
    plan = planned(tmp_path, FIRST, CHANGED)
    free = frames(chaining.run(plan))
    chaining.close()
    Shortage(monkeypatch).at(WanBlock, "forward", lambda n: n in (2, 3))
    events: list[Event] = []
    result = chaining.run(plan, listen=events.append)
    assert [one.stage for one in result.recoveries] == ["first", "first"]
    assert "blocks are swapped" in result.recoveries[1].how
    started = [event.task for event in events if isinstance(event, TaskStarted)]
    assert started.count("loading transformer") == 1
    assert np.array_equal(frames(result), free)


def test_a_component_that_a_family_has_not_lies_where_it_was_planned(tmp_path: Path) -> None:
    """Also once something else has been changed."""
    plan = planned(tmp_path, FIRST)
    model = plan.models["text"]
    others = {k: c for k, c in model.family.components.items() if k != "text_encoder"}
    without = attrs.evolve(model, family=attrs.evolve(model.family, components=others))
    recovery, nothing = SimpleNamespace(placements={"another": Placement("cpu")}), None
    used: Any = (plan, without, PLUGINS, {}, nothing, nothing, "first", recovery)
    assert ModelComponents(*used).placement("text_encoder") == Placement()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "second",
    [stage("moving", "picture", 'image = "first.video"'), f'{CHANGED}handover = "pixels"\n'],
)
def test_a_video_that_a_stage_reads_is_decoded_in_less_memory(
    chaining: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str, times: int
) -> None:
    """By the VAE of the stage that made it."""
    plan = planned(tmp_path, FIRST, second)
    free = frames(chaining.run(plan))
    chaining.close()
    Shortage(monkeypatch).at(Decoder, "forward", lambda n: n < times)
    result = chaining.run(plan)
    ways = [one.how for one in result.recoveries]
    assert ways[0].endswith("transformer left the device")
    assert ways[1:] == ["vae: one frame is handled at a time"][: times - 1]
    assert np.abs(frames(result).astype(int) - free.astype(int)).max() <= 1
    assert {one.users for one in chaining._residencies["cpu"]._residents.values()} == {0}


def test_a_video_in_use_keeps_its_vae(chaining: Session, tmp_path: Path) -> None:
    plan = planned(tmp_path, FIRST)
    users: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task.startswith("decoding"):
            found = chaining._residencies["cpu"]._residents.values()
            users.extend(one.users for one in found if one.title.endswith("vae"))

    chaining.run(plan, listen=watch)
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
