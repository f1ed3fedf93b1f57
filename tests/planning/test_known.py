"""Memory and time of stages that are given pictures and videos: phases, tasks, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from calibrations import calibration_of
from PIL import Image
from published_files import TRANSFORMER_OF, needed, plan_with

from wan_core.media import write_video
from wan_core.models.encoders import ClipConfig
from wan_core.models.families import FAMILIES
from wan_core.models.vae import (
    TAEW21,
    TAEW22,
    WAN21,
    WAN22,
    TaehvConfig,
    decoder_memory,
    encoder_memory,
)
from wan_core.models.wan import WanConfig
from wan_core.planning import Plan, look
from wan_core.planning.calibration import save_calibration
from wan_core.planning.predict import preview_decoding, with_heap
from wan_core.planning.work import (
    clip_work,
    decoder_work,
    flop,
    transformer_work,
    video_encoder_work,
)
from wan_core.sampling.levels import first_step

FAMILY = {family.name: family for family in FAMILIES}
VIT_H = ClipConfig(224, 14, 1280, 5120, 16, 32)
MIDDLE = WanConfig(3072, 14336, 24, 30, in_dim=48, out_dim=48)
SHOWN = {"wan2.1-i2v-14b-480p": 1, "wan2.1-i2v-14b-720p": 1, "wan2.1-flf2v-14b": 2}
SMALL = "width = 832\nheight = 480\nframes = 9"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.fixture(autouse=True)
def _calibrated() -> None:
    """1 TFLOP/s for everything; moving bytes and making calls takes no time."""
    free = {"elementwise": ((1.0, 1e30),), "norm": ((1.0, 1e30),), "call": 1e-30, "encoding": None}
    save_calibration(calibration_of(look("cpu"), **free))


def phases(plan: Plan) -> dict[str, int]:
    return {phase.part: phase.activations for phase in plan.phases}


def tasks(plan: Plan) -> dict[str, float]:
    """Of the stage alone."""
    named = ((name.split(" / "), seconds) for name, seconds in plan.seconds.items())
    return {task: seconds for (stage, task), seconds in named if stage == "generate"}


@pytest.mark.parametrize("name", TRANSFORMER_OF)
def test_every_published_family_is_predicted(folder: Path, name: str) -> None:
    family = FAMILY[name]
    plan = plan_with(
        family, folder, stage=f"{needed(family, folder)}\n{SMALL.replace('480', '512')}"
    )
    encodes = name in SHOWN or name == "wan2.2-i2v-a14b"
    experts = [s.partition(".")[2] for s in family.slots("transformer")]
    assert list(phases(plan)) == [
        "text",
        *(["encoding"] if encodes else []),
        *(["image tokens"] if name in SHOWN else []),
        *(f"sampling, {one} noise" if one else "sampling" for one in experts),
        "decoding",
    ]
    slots = {phase.part: phase.slot for phase in plan.phases}
    assert slots.get("encoding", "vae") == "vae"
    assert slots.get("image tokens", "image_encoder") == "image_encoder"
    assert list(tasks(plan)) == [
        "loading vae",
        *(["encoding pictures"] if encodes else []),
        *(["loading image encoder", "encoding image tokens"] if name in SHOWN else []),
        *(
            f"loading transformer for {one} noise" if one else "loading transformer"
            for one in experts
        ),
        "sampling",
        "decoding and writing",
    ]
    assert all(seconds > 0 for seconds in plan.seconds.values())
    if name in SHOWN:
        seconds = flop(clip_work(VIT_H, SHOWN[name], 4)) / 1e12
        assert tasks(plan)["encoding image tokens"] == pytest.approx(seconds)


def picture(folder: Path) -> str:
    path = folder / "given.png"
    Image.new("RGB", (832, 480), (20, 90, 60)).save(path)
    return str(path)


def clip(folder: Path, frames: int) -> str:
    path = folder / f"given-{frames}.mkv"
    if not path.exists():
        chunk = np.zeros((frames, 3, 480, 832), dtype=np.float32)
        write_video(path, [chunk], 16)
    return str(path)


def test_channels_are_encoded_for_every_frame_and_a_clean_frame_alone(folder: Path) -> None:
    given = f'image = "{picture(folder)}"\nwidth = 832\nheight = 480\nframes = 33'
    beside = plan_with(FAMILY["wan2.2-i2v-a14b"], folder, stage=given)
    work = video_encoder_work(WAN21.config, 480, 832, 33, 4)
    assert tasks(beside)["encoding pictures"] == pytest.approx(flop(work) / 1e12)
    # of 5 B only the frame that is given, and its tokens are those of strides of 16
    given = given.replace("480", "512")
    clean = plan_with(FAMILY["wan2.2-ti2v-5b"], folder, stage=f"{given}\nsteps = 4\nguidance = 1.0")
    work = video_encoder_work(WAN22.config, 512, 832, 1, 4)
    assert tasks(clean)["encoding pictures"] == pytest.approx(flop(work) / 1e12)
    step = transformer_work(MIDDLE, 9 * 16 * 26, 4)
    assert tasks(clean)["sampling"] == pytest.approx(4 * flop(step) / 1e12)
    work = decoder_work(WAN22.config, 512, 832, 33, 4)
    assert tasks(clean)["decoding and writing"] == pytest.approx(flop(work) / 1e12)
    for plan, config, height in ((beside, WAN21.config, 480), (clean, WAN22.config, 512)):
        taken = encoder_memory(config, height, 832, item=4, on_cpu=True).peak
        assert phases(plan)["encoding"] == with_heap(taken)
        taken = decoder_memory(config, height, 832, item=4, on_cpu=True).peak
        assert phases(plan)["decoding"] == with_heap(taken)


def test_text_to_video_of_a_family_that_takes_pictures_encodes_nothing(folder: Path) -> None:
    plan = plan_with(FAMILY["wan2.2-ti2v-5b"], folder)
    assert list(phases(plan)) == ["text", "sampling", "decoding"]
    assert not [task for task in tasks(plan) if "encoding" in task]


def test_a_continued_video_stands_for_the_first_picture(folder: Path) -> None:
    stage = f'continues = "{clip(folder, 6)}"\noverlap = 5\nframes = 9'
    plan = plan_with(FAMILY["wan2.1-i2v-14b-480p"], folder, stage=stage)
    seconds = flop(clip_work(VIT_H, 1, 4)) / 1e12
    assert tasks(plan)["encoding image tokens"] == pytest.approx(seconds)
    work = video_encoder_work(WAN21.config, 480, 832, 9, 4)
    assert tasks(plan)["encoding pictures"] == pytest.approx(flop(work) / 1e12)


def test_a_last_picture_is_seen_by_models_that_were_made_for_it(folder: Path) -> None:
    given = f'image = "{picture(folder)}"\nlast_image = "{picture(folder)}"\n{SMALL}'
    of = {
        name: plan_with(FAMILY[name], folder, stage=given)
        for name in ("wan2.1-i2v-14b-480p", "wan2.1-flf2v-14b")
    }
    one, two = (phases(plan)["image tokens"] for plan in of.values())
    assert two == 2 * one
    rows = [257, 514]
    config = WanConfig(5120, 13824, 40, 40, in_dim=36, image_dim=1280)
    for plan, count in zip(of.values(), rows, strict=True):
        step = flop(transformer_work(config, 3 * 30 * 52, 4, image_rows=count))
        steps = plan.stages[0].needs.options.steps
        assert tasks(plan)["sampling"] == pytest.approx(2 * steps * step / 1e12)


def order(names: Sequence[str], *wanted: str) -> list[str]:
    return [name for name in names if name in wanted]


def test_a_changed_video_is_encoded_before_the_transformer_is_loaded(folder: Path) -> None:
    stage = f'video = "{clip(folder, 9)}"\nsteps = 10\nstrength = 0.5'
    plan = plan_with(FAMILY["wan2.1-t2v-1.3b"], folder, stage=stage)
    made = tasks(plan)
    work = video_encoder_work(WAN21.config, 480, 832, 9, 4)
    assert made["encoding video"] == pytest.approx(flop(work) / 1e12)
    wanted = ("loading vae", "encoding video", "loading transformer", "sampling")
    assert order(list(made), *wanted) == list(wanted)
    whole = tasks(plan_with(FAMILY["wan2.1-t2v-1.3b"], folder, stage=stage.replace("0.5", "1.0")))
    assert made["sampling"] == pytest.approx(whole["sampling"] * (10 - first_step(10, 0.5)) / 10)


def test_hints_take_memory_and_time(folder: Path) -> None:
    few = f"{SMALL}\nsteps = 2"
    asked = '\n[[stages.apply]]\nuse = "vace"'
    plain, unasked, hinted, twice = (
        plan_with(FAMILY[f"wan2.1-{name}-1.3b"], folder, stage=stage)
        for name, stage in (
            ("t2v", few),
            ("vace", few),
            ("vace", few + asked),
            ("vace", few + 2 * asked),
        )
    )
    stream = 3 * 30 * 52 * 1536 * 4
    # without a context there are no hints
    assert phases(unasked)["sampling"] == phases(plain)["sampling"]
    # three float32 streams: the context's, where it starts from, and the main one, which waits
    assert phases(hinted)["sampling"] - phases(plain)["sampling"] == 3 * stream
    assert phases(twice)["sampling"] - phases(hinted)["sampling"] == stream
    assert "encoding for vace" in tasks(hinted)
    assert tasks(twice)["encoding for vace"] == pytest.approx(
        2 * tasks(hinted)["encoding for vace"], rel=0.05
    )
    ratio = tasks(hinted)["sampling"] / tasks(plain)["sampling"]
    assert ratio == pytest.approx(1 + 15 / 30, rel=0.05)


@pytest.mark.parametrize(
    ("name", "tiny", "config"),
    [("wan2.2-t2v-a14b", "taew2_1", TAEW21), ("wan2.2-ti2v-5b", "taew2_2", TAEW22)],
)
def test_previews_of_a_tiny_vae_take_memory_beside_the_transformer(
    folder: Path, name: str, tiny: str, config: TaehvConfig
) -> None:
    plain = plan_with(FAMILY[name], folder)
    seen = plan_with(FAMILY[name], folder, preview_vae=tiny)
    assert seen.seconds == plain.seconds
    (added,) = [phase for phase in seen.phases if phase not in plain.phases]
    assert (added.part, added.slot) == ("previews", "preview_vae")
    model, size = seen.models["main"], seen.stages[0].needs.size
    transformer = max(model.resident_bytes(s) for s in model.family.slots("transformer"))
    assert added.weights == transformer + model.resident_bytes("preview_vae")
    assert size is not None
    assert added.activations == preview_decoding(config, size, 4)
    assert seen.headroom("generate", model, "preview_vae") == added.activations
    assert added.peak < max(phase.peak for phase in plain.phases)
