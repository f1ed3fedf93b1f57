"""Runs in which memory runs out: they go on, and lose neither bits that need not change nor memory."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_swapped_runs import LAYERS, PICTURE, PLUGINS, frames, planned, swapped

from wan_core import Session
from wan_core.contract.errors import ResourceError, WeightsError
from wan_core.contract.events import Event, Recovered, TaskProgress, to_dict
from wan_core.engine import text
from wan_core.engine.components import ModelComponents
from wan_core.engine.results import RunResult
from wan_core.media import probe
from wan_core.memory import BlockSwap, Keeper, Residency
from wan_core.models.encoders import ImageEncoder, TextEncoder
from wan_core.models.vae import WanVAE
from wan_core.models.vae.network import Decoder, Encoder
from wan_core.models.wan import WanTransformer
from wan_core.models.wan.block import WanBlock
from wan_core.planning.provenance import read_record

KEY = text._key
SAMPLING = ("generate", "sampling")
DECODING = ("generate", "decoding and writing")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=PLUGINS, cache=tmp_path / "cache") as session:
        yield session


@pytest.fixture(autouse=True)
def no_kept_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run encodes its texts anew."""
    monkeypatch.setattr("wan_core.engine.text._key", lambda model, prompt: None)


class Shortage:
    """Memory that runs out in some calls of a method.

    Attributes:
        held: what frames of the failed calls referred to.
        calls: so far.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),  # noqa: B008
    ) -> None:
        self.monkeypatch = monkeypatch
        self.error = error
        self.held: list[weakref.ref[torch.Tensor]] = []
        self.calls = 0

    def at(self, owner: type, name: str, fails: Callable[[int], bool]) -> None:
        """Let calls fail by their number, from 0; generators fail after what they yield first."""
        method = getattr(owner, name)

        def failing(this: Any, *args: Any, **more: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if fails(number):
                large = torch.zeros(1000)
                self.held.append(weakref.ref(large))
                raise type(self.error)(*self.error.args)
            return method(this, *args, **more)

        self.monkeypatch.setattr(owner, name, failing)


@pytest.fixture
def shortage(monkeypatch: pytest.MonkeyPatch) -> Shortage:
    return Shortage(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., np.ndarray]:
    made: dict[tuple[Any, ...], np.ndarray] = {}

    def undisturbed(folder: Path, **more: str) -> np.ndarray:
        key = tuple(sorted(more.items()))
        if key not in made:
            with Session(plugins=PLUGINS, cache=tmp_path_factory.mktemp("cache")) as session:
                made[key] = frames(session.run(planned(folder, **more)))
        return made[key]

    return undisturbed


def ways(result: RunResult) -> list[str]:
    return [one.how for one in result.recoveries]


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


IDLE = "left the device"
PLACEMENTS = {
    "resident": {},
    "swapped": {"transformer": swapped("blocks.1", "blocks.4", prefetch=2)},
}


@pytest.mark.parametrize(
    ("placed", "first", "times"),
    [("resident", 0, 3), ("resident", 3, 1), ("swapped", 3, 3), ("swapped", 7 * 2 * 2 + 5, 2)],
)
def test_a_step_is_repeated_with_more_swapped_and_the_same_bits(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
    placed: str,
    first: int,
    times: int,
) -> None:
    """At the first call of a block, within a pass, in the last of three steps."""
    shortage.at(WanBlock, "forward", lambda n: first <= n < first + times)
    events: list[Event] = []
    result = session.run(planned(tmp_path, PLACEMENTS[placed]), listen=events.append)
    assert np.array_equal(frames(result), undisturbed(tmp_path))
    assert len(result.recoveries) == times
    told = [event for event in events if isinstance(event, Recovered)]
    assert tuple(told) == result.recoveries
    assert all((one.stage, one.task) == SAMPLING and one.exact for one in told)
    assert all(one.what == "out of memory" for one in told)
    assert IDLE in told[0].how  # the text encoder and the VAE
    counts = ["4 of 7" if placed == "resident" else "5 of 7", "all 7"]
    for one, count in zip(told[1:], counts, strict=False):
        assert f"transformer: {count} blocks are swapped" in one.how
    steps = [e.done for e in events if isinstance(e, TaskProgress) and e.task == "sampling"]
    assert steps == [1, 2, 3]
    assert not any(ref() for ref in shortage.held)
    assert len(shortage.held) == times


@pytest.mark.parametrize("owner", [WanBlock, Decoder, TextEncoder, Encoder])
def test_libraries_that_say_it_otherwise(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
) -> None:
    """cuBLAS and the driver ask for memory of their own."""
    asked = {"family": "tiny-i2v", "more": f'image = "{PICTURE}"'}
    want = undisturbed(tmp_path, **asked)
    said = RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    )
    name = "encode" if owner is TextEncoder else "forward"
    short = Shortage(monkeypatch, said)
    short.at(owner, name, lambda n: n == 0)
    result = session.run(planned(tmp_path, **asked))
    assert np.array_equal(frames(result), want)
    assert [one.what for one in result.recoveries] == ["out of memory"]
    assert not any(ref() for ref in short.held)


def test_fewer_rows_are_close_and_said(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A seventh of 16 tokens; idle, half, all, nothing ahead, and then rows."""
    monkeypatch.setattr("wan_core.engine.ladder.ROWS", (8192, 3))
    shortage.at(WanBlock, "forward", lambda n: n < 6)
    seen: list[int | None] = []
    forward = WanTransformer.forward

    def noting(self: WanTransformer, *args: Any, **more: Any) -> Any:
        seen.append(self.rows)
        return forward(self, *args, **more)

    monkeypatch.setattr(WanTransformer, "forward", noting)
    result = session.run(planned(tmp_path))
    assert seen[:7] == [None] * 4 + [None, 8192, 3]
    assert [one.exact for one in result.recoveries] == [True] * 4 + [False] * 2
    assert apart(frames(result), undisturbed(tmp_path)) <= 1
    comment = read_record(probe(result.outputs[0]).comment, where="")
    assert "3 rows are handled at a time" in comment.machine["recovered"]
    assert "swapped" not in comment.machine["recovered"]
    # nothing is learned: the next run is as planned
    seen.clear()
    again = session.run(planned(tmp_path))
    assert set(seen) == {None}
    assert not again.recoveries
    assert np.array_equal(frames(again), undisturbed(tmp_path))
    assert "recovered" not in read_record(probe(again.outputs[0]).comment, where="").machine


def test_when_nothing_helps_the_run_says_what_was_tried_and_goes_on_later(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = RuntimeError("CUDA error: out of memory")
    with monkeypatch.context() as patch:
        Shortage(patch, error).at(WanBlock, "forward", lambda n: n > 15)
        with pytest.raises(ResourceError) as caught:
            session.run(planned(tmp_path))
    said = str(caught.value)
    assert "ran out of memory in generate / sampling" in said
    for part in ("left the device", "4 of 7", "all 7 blocks", "none is on its way", "2048 rows"):
        assert part in said
    assert "smaller size" in said
    assert "kept in" in said
    assert "\n" not in said
    assert not any(one.users for one in session._host.residency._residents.values())
    result = session.run(planned(tmp_path), resume=True)
    assert np.array_equal(frames(result), undisturbed(tmp_path))


def test_what_is_made_smaller_may_run_out_of_memory_itself(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slots find no room at first: the next rung is taken, and only that one is told."""
    shortage.at(WanBlock, "forward", lambda n: n in (4, 5))
    opened: list[int] = []
    real = BlockSwap.open

    def open(self: BlockSwap) -> None:
        opened.append(len(self.swapped))
        if len(opened) == 1:
            raise torch.OutOfMemoryError("no room for slots")
        real(self)

    monkeypatch.setattr(BlockSwap, "open", open)
    result = session.run(planned(tmp_path))
    assert opened == [4, 8]  # with the embedding of the text
    idle, swapping = result.recoveries
    assert IDLE in idle.how
    assert "all 7 blocks" in swapping.how
    assert np.array_equal(frames(result), undisturbed(tmp_path))


def test_room_for_slots_may_come_from_another_component(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The VAE is in use beside the transformer; that it works in pieces is what helps at last.

    What changes bits is told all the same: the transformer goes on with fewer rows.
    """

    class Both(ModelComponents):
        def get(self, slot: str) -> Any:
            if slot == "transformer":
                super().get("vae")
            return super().get(slot)

    monkeypatch.setattr("wan_core.engine.run.ModelComponents", Both)
    shortage.at(WanBlock, "forward", lambda n: n in (4, 5))
    left = [5]  # half, all, none ahead, 8192 rows, 2048
    real = BlockSwap.open

    def open(self: BlockSwap) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise torch.OutOfMemoryError("no room for slots")
        real(self)

    monkeypatch.setattr(BlockSwap, "open", open)
    result = session.run(planned(tmp_path))
    assert IDLE in ways(result)[0]
    assert [way.partition(": ")[2][:9] for way in ways(result)[1:]] == [
        "8192 rows",
        "2048 rows",
        "one frame",
    ]
    assert not any(one.exact for one in result.recoveries[1:])
    assert left == [-1]
    assert apart(frames(result), undisturbed(tmp_path)) <= 1


def test_later_stages_keep_what_was_decided(
    session: Session, tmp_path: Path, shortage: Shortage, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = '[[stages]]\nuse = "generate"\nname = "second"\nprompt = "a blue square"\nframes = 5\n'
    more += 'width = 32\nheight = 32\nsteps = 3\nvideo = "generate.video"\nstrength = 0.9'
    want = frames(session.run(planned(tmp_path, more=more)))
    session.close()
    kept: list[str] = []
    keep = Keeper.keep

    def noting(self: Keeper, name: str, module: torch.nn.Module) -> None:
        kept.append(name)
        keep(self, name, module)

    monkeypatch.setattr(Keeper, "keep", noting)
    shortage.at(WanBlock, "forward", lambda n: n in (2, 3))
    result = session.run(planned(tmp_path, more=more))
    assert [one.stage for one in result.recoveries] == ["generate"] * 2
    assert np.array_equal(frames(result), want)
    assert len(kept) == 4  # packed once
    assert not session._host.residency._residents  # and gone with the run


def test_what_an_earlier_run_has_left_in_host_memory_is_not_taken_for_what_is_in_use(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
) -> None:
    session.run(planned(tmp_path, PLACEMENTS["swapped"]))
    shortage.calls = 0
    shortage.at(WanBlock, "forward", lambda n: n in (2, 3))
    result = session.run(planned(tmp_path))
    assert "4 of 7" in ways(result)[1]
    assert result.moved
    assert np.array_equal(frames(result), undisturbed(tmp_path))


def test_on_the_cpu_all_of_a_component_counts(
    session: Session, tmp_path: Path, shortage: Shortage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that was planned to be swapped."""
    sizes: list[int] = []
    acquire = Residency.acquire

    def noting(self: Residency, key: Any, title: str, size: int, *args: Any, **more: Any) -> Any:
        if "text encoder" in title:
            sizes.append(size)
        return acquire(self, key, title, size, *args, **more)

    monkeypatch.setattr(Residency, "acquire", noting)
    shortage.at(TextEncoder, "encode", lambda n: n < 2)
    plan = planned(tmp_path, {"text_encoder": swapped(*LAYERS, "shared")})
    assert "on the CPU" in ways(session.run(plan))[-1]
    assert sizes[-1] == plan.models["main"].weight_bytes("text_encoder")


@pytest.mark.parametrize("times", [1, 2, 4])
def test_text(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
    times: int,
) -> None:
    shortage.at(TextEncoder, "encode", lambda n: n < times)
    plan = planned(tmp_path)
    result = session.run(plan)
    assert np.array_equal(frames(result), undisturbed(tmp_path))
    assert len(result.recoveries) == times
    assert {(one.stage, one.task) for one in result.recoveries} == {("text", "encoding")}
    assert "text encoder: 2 of 4 blocks" in ways(result)[0]
    assert ("on the CPU" in ways(result)[-1]) == (times == 4)


def test_rows_of_another_device_are_not_kept_for_later_runs(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan_core.engine.text._key", KEY)
    cache = tmp_path / "cache" / "text"
    with monkeypatch.context() as patch:
        Shortage(patch).at(TextEncoder, "encode", lambda n: n < 4)
        session.run(planned(tmp_path))
        assert not list(cache.glob("*"))
    session.run(planned(tmp_path))
    assert list(cache.glob("*"))


def test_the_other_expert_leaves_first(
    session: Session, tmp_path: Path, undisturbed: Callable[..., np.ndarray], shortage: Shortage
) -> None:
    """The last of three steps is the second expert's."""
    shortage.at(WanBlock, "forward", lambda n: 7 * 2 * 2 < n < 7 * 2 * 2 + 4)
    result = session.run(planned(tmp_path, family="two"))
    assert np.array_equal(frames(result), undisturbed(tmp_path, family="two"))
    idle, half, everything = ways(result)
    assert "two transformer for high noise" in idle
    assert "transformer for low noise: 4 of 7" in half
    assert "transformer for low noise: all 7" in everything


def test_loading(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load, tried = ModelComponents._load, []

    def failing(self: ModelComponents, slot: str, keep: Any = None) -> Any:
        tried.append((slot, self.placement(slot).swapped))
        if slot == "transformer" and len(self.placement(slot).swapped) < 7:
            raise torch.OutOfMemoryError("too much")
        return load(self, slot, keep)

    monkeypatch.setattr(ModelComponents, "_load", failing)
    result = session.run(planned(tmp_path))
    assert np.array_equal(frames(result), undisturbed(tmp_path))
    assert [len(names) for slot, names in tried if slot == "transformer"] == [0, 0, 4, 8]
    assert ["left the device" in ways(result)[0], "all 7" in ways(result)[-1]] == [True, True]


@pytest.mark.parametrize("where", [0, 1, 2])
def test_decoding_begins_anew_with_less_at_a_time(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
    where: int,
) -> None:
    """At the first latent, at the second, and again when it is repeated; the transformer leaves first."""
    shortage.at(Decoder, "forward", lambda n: n == min(where, 1) or (where == 2 and n == 3))
    result = session.run(planned(tmp_path))
    assert IDLE in ways(result)[0]
    if where < 2:
        assert np.array_equal(frames(result), undisturbed(tmp_path))
        assert len(result.recoveries) == 1
    else:
        assert "vae: one frame is handled at a time" in ways(result)[1]
        assert apart(frames(result), undisturbed(tmp_path)) <= 1
    assert frames(result).shape == undisturbed(tmp_path).shape
    assert {(one.stage, one.task) for one in result.recoveries} == {DECODING}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out.mkv"]


@pytest.mark.parametrize(
    ("allow", "fails", "way"), [(False, 3, "on the CPU"), (True, 3, "in tiles"), (True, 4, "CPU")]
)
def test_tiles_are_for_those_who_allow_them(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    allow: bool,
    fails: int,
    way: str,
) -> None:
    """The picture is smaller than a tile, so the numbers are close all the same."""
    more = "[memory]\nallow_inexact = true" if allow else ""
    tiled: list[bool] = []
    stream = WanVAE.decode_stream

    def failing(self: WanVAE, *args: Any, **known: Any) -> Any:
        tiled.append(self.tiling is not None)
        if len(tiled) <= fails:
            raise torch.OutOfMemoryError("no")
        return stream(self, *args, **known)

    monkeypatch.setattr(WanVAE, "decode_stream", failing)
    result = session.run(planned(tmp_path, more=more))
    assert tiled[:4] == [False, False, False, allow]
    assert way in ways(result)[-1]
    assert not result.recoveries[-1].exact
    said = read_record(probe(result.outputs[0]).comment, where="").machine["recovered"]
    assert ("changes the picture" in said) == allow
    assert apart(frames(result), undisturbed(tmp_path)) <= 1


def test_pictures_are_encoded_once_more_with_the_stage(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
) -> None:
    asked = {"family": "tiny-i2v", "more": f'image = "{PICTURE}"'}
    want = undisturbed(tmp_path, **asked)
    shortage.at(Encoder, "forward", lambda n: n == 1)
    result = session.run(planned(tmp_path, **asked))
    assert np.array_equal(frames(result), want)
    (one,) = result.recoveries
    assert (one.task, IDLE in one.how) == ("encoding pictures", True)


def test_image_tokens(
    session: Session,
    tmp_path: Path,
    undisturbed: Callable[..., np.ndarray],
    shortage: Shortage,
) -> None:
    asked = {"family": "tiny-i2v", "more": f'image = "{PICTURE}"'}
    want = undisturbed(tmp_path, **asked)
    shortage.at(ImageEncoder, "encode", lambda n: n < 3)
    result = session.run(planned(tmp_path, **asked))
    assert np.array_equal(frames(result), want)
    assert "image encoder: 1 of 2 blocks are swapped" in ways(result)[1]


def test_a_video_that_can_be_read_once_only(
    session: Session, tmp_path: Path, shortage: Shortage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wan_core.stages import LatentVideo

    real = LatentVideo.__init__

    def once(self: LatentVideo, *args: Any) -> None:
        real(self, *args, replayable=False)

    monkeypatch.setattr(LatentVideo, "__init__", once)
    shortage.at(Decoder, "forward", lambda n: n == 0)
    with pytest.raises(ResourceError, match=r"ran out of memory in generate / decoding.*kept in"):
        session.run(planned(tmp_path))


def test_events_are_json(session: Session, tmp_path: Path, shortage: Shortage) -> None:
    shortage.at(WanBlock, "forward", lambda n: n == 0)
    events: list[Event] = []
    session.run(planned(tmp_path), listen=events.append)
    (one,) = [to_dict(event) for event in events if isinstance(event, Recovered)]
    assert one["event"] == "Recovered"
    assert set(one) == {"event", "stage", "task", "what", "how", "exact"}


def tensors_alive() -> int:
    gc.collect()
    alive = [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive}
    return sum(storages.values())


def test_no_memory_is_lost_over_many_shortages(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four shortages a run, at other places each time; ``WAN_CORE_SHORTAGES``: how many after the first run."""
    runs = int(os.environ.get("WAN_CORE_SHORTAGES", "4")) // 4
    after = []
    for number in range(runs + 1):
        with monkeypatch.context() as patch:
            Shortage(patch).at(WanBlock, "forward", lambda n, k=number: n in (k, 20 + k, 30))
            Shortage(patch).at(Decoder, "forward", lambda n: n == 1)
            result = session.run(planned(tmp_path))
            assert len(result.recoveries) == 4
        after.append(tensors_alive())
    assert after[-1] <= after[0] * 1.01


def test_a_damaged_file_loses_nothing(session: Session, tmp_path: Path) -> None:
    """Found when the second stage loads: the first one's latents are there, and how to go on is said."""
    from safetensors.torch import load_file, save_file

    from wan_core.planning import Library, bundled, make_plan
    from wan_core.workflow import parse_workflow

    save_file(load_file(bundled("tiny/t2v.safetensors")), tmp_path / "second.safetensors")
    stage = (
        'use = "generate"\nprompt = "a red circle"\nframes = 5\nwidth = 32\nheight = 32\nsteps = 2'
    )
    content = f"""format = 1
[models.main]
family = "tiny-t2v"
[models.other]
family = "tiny-t2v"
transformer = "second.safetensors"
[[stages]]
{stage}
model = "main"
[[stages]]
{stage}
name = "second"
model = "other"
video = "generate.video"
strength = 0.9
[output]
path = "out.mkv"
"""
    workflow = parse_workflow(content, name="w.toml", folder=tmp_path, plugins=PLUGINS)
    plan = make_plan(workflow, PLUGINS, device="cpu", library=Library(()))
    whole = (tmp_path / "second.safetensors").read_bytes()
    (tmp_path / "second.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError) as caught:
        session.run(plan)
    said = str(caught.value)
    assert "second.safetensors" in said
    assert "kept in" in said
    assert "\n" not in said
    (folder,) = (tmp_path / "cache" / "runs").iterdir()
    assert (folder / "generate.safetensors").exists()
    (tmp_path / "second.safetensors").write_bytes(whole)
    result = session.run(plan, resume=True)
    assert len(frames(result)) == 5 * 32
