"""Stages hand their latents to later ones: which, to whom, and with which bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chained import CHANGED, FIRST, frames, made, planned, stage
from torch import Tensor

from wan_core import Session
from wan_core.contract.errors import PluginError
from wan_core.contract.events import Event, TaskProgress, TaskStarted
from wan_core.contract.protocols import LatentSource
from wan_core.stages import LatentVideo, driver


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The clean latents that each stage with a video starts from."""
    seen: list[Tensor] = []
    start = driver.start_latents

    def noting(*args: Any, clean: dict[str, Tensor], **more: Any) -> Any:
        seen.extend(clean.values())
        return start(*args, clean=clean, **more)

    monkeypatch.setattr(driver, "start_latents", noting)
    return seen


def test_latents_are_handed_on(
    chaining: Session,
    tmp_path: Path,
    calls: Counter[str],
    given: list[Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampled: list[Tensor] = []
    real = LatentVideo.__init__

    def noting(self: LatentVideo, components: Any, latents: Tensor, *more: Any) -> None:
        sampled.append(latents)
        real(self, components, latents, *more)

    monkeypatch.setattr(LatentVideo, "__init__", noting)
    chaining.run(planned(tmp_path, FIRST, CHANGED))
    # what the second stage made is decoded, and nothing else is
    assert calls == {"decoded": 5, "prompts": 3}
    (clean,) = given
    assert torch.equal(clean, sampled[0])


def test_pixels_on_demand(
    chaining: Session, tmp_path: Path, calls: Counter[str], given: list[Tensor]
) -> None:
    latents = frames(chaining.run(planned(tmp_path, FIRST, CHANGED)))
    calls.clear()
    pixels = frames(chaining.run(planned(tmp_path, FIRST, CHANGED + "handover = 'pixels'\n")))
    assert (calls["decoded"], calls["encoded"]) == (10, 5)
    assert not np.array_equal(latents, pixels)
    ours, coded = given
    # the same video all the same, as far as the VAE keeps what so few steps draw
    between = torch.corrcoef(torch.stack([ours.flatten(), coded.flatten()]))[0, 1]
    assert 0.6 < float(between) < 1


@pytest.mark.parametrize("killed_in", ["first", "second"])
def test_a_chain_goes_on_with_the_same_bits(
    killed_in: str, chaining: Session, tmp_path: Path, calls: Counter[str]
) -> None:
    plan = planned(tmp_path, FIRST, CHANGED)
    whole = frames(chaining.run(plan))

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and (event.task, event.stage) == ("sampling", killed_in):
            raise KeyboardInterrupt

    with pytest.raises(BaseException, match="stopped"):
        chaining.run(plan, listen=stop)
    calls.clear()
    events: list[Event] = []
    assert np.array_equal(frames(chaining.run(plan, resume=True, listen=events.append)), whole)
    sampled = {e.stage for e in events if isinstance(e, TaskStarted) and e.task == "sampling"}
    assert sampled == {"second"} | ({"first"} if killed_in == "first" else set())
    assert (calls["decoded"], calls["encoded"]) == (5, 0)


def test_stages_of_plugins_give_and_take_latents(
    chaining: Session, tmp_path: Path, calls: Counter[str], given: list[Tensor]
) -> None:
    mix = stage("mix", "light", 'video = "first.video"', use="mix")
    after = stage("second", "text", 'video = "mix.video"\nstrength = 0.9')
    plan = planned(tmp_path, FIRST, mix, after)
    assert [one.decoded for one in plan.stages] == [False, False, True]
    chaining.run(plan)
    assert (calls["decoded"], calls["encoded"]) == (5, 0)
    chaining.run(planned(tmp_path, FIRST, CHANGED))
    mixed, first = given
    assert torch.equal(mixed, first.flip(3))
    # and the same stage on pixels, and on a file
    pixels = frames(chaining.run(planned(tmp_path, FIRST, mix + "handover = 'pixels'\n")))
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
    wrong: Any, says: str, chaining: Session, tmp_path: Path
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
        chaining.run(planned(tmp_path, FIRST, mix, after))


def test_what_can_be_handed_on_is_a_source_of_latents() -> None:
    """By its attribute alone: a plugin's own source needs no class of the core."""
    components: Any = None
    latents = torch.zeros(1, 16, 2, 4, 4)
    assert isinstance(LatentVideo(components, latents, lambda event: None), LatentSource)
    assert not isinstance(Frames([]), LatentSource)


class Frames(list[Tensor]):
    replayable = True
