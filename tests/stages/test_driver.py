"""A stage of a plugin that samples with the standard loop: a few lines, and all that ``generate`` gets."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from wan_core import Session
from wan_core.contract import (
    CONTRACT_VERSION,
    ChunkSource,
    Description,
    Event,
    PlanContext,
    PublishedFile,
    Stage,
    StageContext,
    StageNeeds,
    TaskProgress,
    VideoSize,
    WorkflowError,
)
from wan_core.contract.options import text
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.models.families import TINY_RANDOM, TINY_T2V
from wan_core.planning import Plan, make_plan
from wan_core.planning.known import tokens
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.stages import (
    LatentVideo,
    SamplingOptions,
    encode_video,
    plan_sampling,
    sampled,
    text_conditioning,
)
from wan_core.workflow import parse_workflow

WAN_CORE_CONTRACT = CONTRACT_VERSION
GIVEN: list[tuple[str, Tensor | None]] = []
"""What each run of the stage was handed by its plan, and the latents that it encoded."""


@attrs.frozen
class AgainOptions(SamplingOptions):
    """The same as every other stage's, with words of its own."""

    mood: str = text(default="", help="put behind the prompt")


def plan(context: PlanContext) -> StageNeeds:
    options = context.options
    encodes = {"encoding grey": options.frames or 5} if options.mood else {}
    words = f"{options.prompt} {options.mood}".strip()
    needs = plan_sampling(context, options, ["again"], prompt=words, encodes=encodes)
    return attrs.evolve(needs, planned=words)


def run(context: StageContext) -> Mapping[str, ChunkSource]:
    assert context.components is not None

    def tell(shape: tuple[int, ...]) -> object:
        size = context.size
        assert size is not None
        nothing = repeat(torch.zeros(1, 3, 1, size.height, size.width), size.frames)
        latents = encode_video(context, "grey", nothing) if context.options.mood else None
        assert latents is None or latents.shape == (1, *shape)
        GIVEN.append((context.planned, latents))
        return text_conditioning(context, context.planned)

    latents = sampled(context, tell)  # type: ignore[arg-type]
    return {"video": context.post_process(LatentVideo(context.components, latents, context.emit))}


@hookimpl
def wan_register() -> Sequence[Description]:
    stages = ("generate", "again")
    return [
        attrs.evolve(TINY_RANDOM, name="random-again", stages=stages),
        attrs.evolve(TINY_T2V, name="tiny-again", stages=stages),
        attrs.evolve(
            TINY_T2V,
            name="other-again",
            stages=stages,
            components={
                **TINY_T2V.components,
                "vae": attrs.evolve(
                    TINY_T2V.components["vae"],
                    bundled=None,
                    published=(PublishedFile("some/one", "first.safetensors"),),
                    alternatives=(PublishedFile("any/body", "other.safetensors"),),
                ),
            },
        ),
        Stage("again", "", f"{__name__}:AgainOptions", f"{__name__}:run", plan=f"{__name__}:plan"),
    ]


PLUGINS = Plugins(
    [
        next(iter(installed_entry_points())),
        Found("again", "again", "1", lambda: sys.modules[__name__]),
    ]
)


def workflow_text(use: str, more: str = "", family: str = "random-again") -> str:
    return (
        f'format = 1\nmodel = {{ family = "{family}" }}\noutput = {{ path = "{use}.mkv", overwrite = '
        f'true }}\n[[stages]]\nuse = "{use}"\nprompt = "a circle"\nseed = 3\n{more}\n'
    )


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(plugins=PLUGINS, device="cpu") as session:
        yield session


def frames_of(session: Session, folder: Path, text: str, events: list[Event]) -> np.ndarray:
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return np.stack(list(read_frames(session.run(workflow, listen=events.append).outputs[0])))


@pytest.mark.parametrize("more", ["", "width = 48\nframes = 9\nsteps = 3", "end_step = 1"])
def test_a_stage_of_a_few_lines_is_generate(session: Session, tmp_path: Path, more: str) -> None:
    want = frames_of(session, tmp_path, workflow_text("generate", more), [])
    assert np.array_equal(frames_of(session, tmp_path, workflow_text("again", more), []), want)


def test_what_its_plan_found_reaches_its_run(session: Session, tmp_path: Path) -> None:
    events: list[Event] = []
    GIVEN.clear()
    text = workflow_text("again", 'mood = "at night"')
    frames = frames_of(session, tmp_path, text, events)
    ((planned, latents),) = GIVEN
    assert planned == "a circle at night" and latents is not None
    done = {event.task: event.done for event in events if isinstance(event, TaskProgress)}
    assert done["encoding grey"] == 5
    plain = text.replace('prompt = "a circle"', 'prompt = "a circle at night"').replace("mood", "#")
    assert np.array_equal(frames, frames_of(session, tmp_path, plain, []))


def planned(tmp_path: Path, more: str = "", family: str = "tiny-again") -> Plan:
    text = workflow_text("again", more, family)
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu")


def test_memory_is_predicted_for_what_it_encodes(tmp_path: Path) -> None:
    assert [p.part for p in planned(tmp_path).phases] == ["text", "sampling", "decoding"]
    more = planned(tmp_path, 'mood = "x"\nframes = 5')
    assert [p.part for p in more.phases] == ["text", "encoding", "sampling", "decoding"]
    assert "again" in more.stages[0].needs.notes


def test_latents_of_odd_size_make_whole_patches() -> None:
    assert tokens(VideoSize(96, 96, 5, 8)) == 2 * 6 * 6
    assert tokens(VideoSize(104, 88, 5, 8)) == 2 * 7 * 6


@pytest.mark.parametrize("here", [[], ["any/body/other"], ["any/body/other", "some/one/first"]])
def test_another_form_of_a_file_serves_when_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: list[str]
) -> None:
    import wan_core.models

    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("WAN_CORE_MODELS", str(models))
    tiny = Path(wan_core.models.__file__).parent / "tiny" / "vae.safetensors"
    files = [models / f"{name}.safetensors" for name in here]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(tiny.read_bytes())
    if not files:
        with pytest.raises(WorkflowError, match="needs a vae file"):
            planned(tmp_path, family="other-again")
        return
    (model,) = planned(tmp_path, family="other-again").models.values()
    # the makers' first choice comes first
    assert model.files["vae"].path == files[-1]
