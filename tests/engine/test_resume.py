"""Going on with runs that were cut short: the same bits, or one sentence; and nothing of others is touched."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from wan_core import Session
from wan_core.contract.errors import Cancelled, ResourceError, WanCoreError, WorkflowError
from wan_core.contract.events import Event, Note, TaskProgress, TaskStarted
from wan_core.engine import RunResult, keep
from wan_core.engine.identity import differences
from wan_core.engine.unfinished import Card, locked, read_card, unfinished
from wan_core.media import read_frames
from wan_core.planning import make_plans
from wan_core.weights.safetensors_header import read_header
from wan_core.workflow import Workflow, parse_workflows

Make = Callable[..., Workflow]
Stop = Callable[[Event], None]
STEPS = 5
MORE = f"steps = {STEPS}"
TWO = """steps = 3
[[stages]]
use = "generate"
name = "second"
video = "generate.video"
strength = 0.6
prompt = "a square"
steps = 5"""


@pytest.fixture(autouse=True)
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "SHARE", float("inf"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def session(cache: Path) -> Iterator[Session]:
    with Session(cache=cache) as session:
        yield session


def frames(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path)))


def steps_of(events: list[Event], stage: str = "generate") -> list[int]:
    progress = [e for e in events if isinstance(e, TaskProgress) and e.stage == stage]
    return [e.done for e in progress if e.task == "sampling"]


def notes(events: list[Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, Note)]


@pytest.mark.parametrize("done", range(1, STEPS + 1))
def test_a_killed_run_goes_on_with_the_same_bits(
    done: int, make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    workflow = make(MORE)
    whole = frames(session.run(workflow).outputs[0])
    killed(workflow, "sampling", done)
    events: list[Event] = []
    result = session.run(workflow, listen=events.append, resume=True)
    assert np.array_equal(frames(result.outputs[0]), whole)
    # the state of the last step is not kept before the result is
    assert steps_of(events) == list(range(min(done, STEPS - 1) + 1, STEPS + 1))
    assert f"generate: sampling goes on after step {min(done, STEPS - 1)} of 5" in notes(events)
    assert unfinished(cache) == []


def test_what_was_sampled_is_only_decoded(
    make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    workflow = make(MORE)
    whole = frames(session.run(workflow).outputs[0])
    killed(workflow, "decoding and writing", 1)
    (run,) = unfinished(cache)
    assert (run.kept(), run.progress()) == (("generate",), "generate sampled")
    events: list[Event] = []
    with Session(cache=cache) as fresh:
        result = fresh.run(workflow, listen=events.append, resume=True)
    assert np.array_equal(frames(result.outputs[0]), whole)
    tasks = [event.task for event in events if isinstance(event, TaskStarted)]
    assert not {"sampling", "loading transformer"} & set(tasks)
    assert tasks[-2:] == ["loading vae", "decoding and writing"]


@pytest.mark.parametrize(("stage", "done"), [("generate", 2), ("second", 2)])
def test_stages_that_are_over_are_not_sampled_again(
    stage: str, done: int, make: Make, session: Session, killed: Callable[..., None]
) -> None:
    workflow = make(TWO)
    whole = frames(session.run(workflow).outputs[0])
    killed(workflow, "sampling", done, stage)
    events: list[Event] = []
    result = session.run(workflow, listen=events.append, resume=True)
    assert np.array_equal(frames(result.outputs[0]), whole)
    assert steps_of(events, "generate") == ([3] if stage == "generate" else [])
    assert steps_of(events, "second") == ([1, 2, 3, 4] if stage == "generate" else [3, 4])


def test_stopped_twice_and_in_between_killed(
    make: Make, session: Session, cache: Path, killed: Callable[..., None]
) -> None:
    workflow = make("steps = 9")
    whole = frames(session.run(workflow).outputs[0])
    killed(workflow, "sampling", 2)
    for done in (4, 7):

        def stop(event: Event, done: int = done) -> None:
            if isinstance(event, TaskProgress) and (event.task, event.done) == ("sampling", done):
                raise KeyboardInterrupt

        with pytest.raises(Cancelled, match="what it has made is kept in"):
            session.run(workflow, listen=stop, resume=True)
        (run,) = unfinished(cache)
        assert run.progress() == f"generate: step {done} of 9"
    assert np.array_equal(frames(session.run(workflow, resume=True).outputs[0]), whole)


def test_nothing_to_go_on_with_is_one_sentence(make: Make, session: Session) -> None:
    with pytest.raises(WorkflowError) as caught:
        session.run(make(), resume=True)
    assert str(caught.value) == (
        '--resume: there is no unfinished run of "test.toml"; run it without --resume.'
    )


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ("steps = 6", "stages.0.steps was 5, is now 6"),
        (f"{MORE}\nseed = 3", "stages.0.seed was 0, is now 3"),
        ('steps = 6\nseed = 3\nshift = 2\nnegative_prompt = "x"', "and 1 more"),
    ],
)
def test_another_plan_is_refused_with_what_differs(
    now: str, says: str, make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    killed(make(MORE), "sampling", 2)
    with pytest.raises(WorkflowError) as caught:
        session.run(make(now), resume=True)
    sentence = str(caught.value)
    assert sentence.startswith('--resume: the unfinished run of "test.toml" had another plan: ')
    said = sentence.split("plan: ")[1].split("; ")[0]
    assert said.endswith(says)
    assert said.count(" was ") == (3 if "more" in says else 1)
    assert len(unfinished(cache)) == 1


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ('ram="4GB"', 'ram="3GB"'),
        ("", "blocks_to_swap=1\nprefetch_blocks=0\nblock_swap_debug=true"),
        ("offload_txt_emb=true", "offload_txt_emb=false"),
        ("", "offload_img_emb=false"),
    ],
)
def test_what_changes_no_bit_does_not_keep_a_run_from_going_on(
    make: Make,
    session: Session,
    killed: Callable[..., None],
    tmp_path: Path,
    before: str,
    now: str,
) -> None:
    text = (
        'format=1\n[model]\nfamily="tiny-t2v"\n[[stages]]\nuse="generate"\nprompt="x"\n'
        "width=32\nheight=32\nframes=5\n"
        'steps=4\n[memory]\n{memory}\n[output]\npath="{path}"\noverwrite=true'
    )
    killed(make(text=text.replace("{memory}", before).replace("{path}", "a.mp4")), "sampling", 2)
    other = make(text=text.replace("{memory}", now).replace("{path}", "b.mkv"))
    assert session.run(other, resume=True).outputs == (tmp_path / "b.mkv",)


def test_an_input_that_changed_is_named(
    make: Make, session: Session, killed: Callable[..., None], tmp_path: Path
) -> None:
    first = session.run(make("seed = 1")).outputs[0].rename(tmp_path / "given.mp4")
    more = 'steps = 4\nvideo = "given.mp4"\nstrength = 0.9'
    killed(make(more), "sampling", 2)
    session.run(make("seed = 2")).outputs[0].replace(first)
    with pytest.raises(WorkflowError, match=r"plan: the file of stages\.0\.video is another;"):
        session.run(make(more), resume=True)


def test_two_processes_of_one_workflow_leave_each_other_alone(
    make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    workflow = make(MORE)
    whole = frames(session.run(workflow).outputs[0])
    inside: list[str] = []

    def another(event: Event) -> None:
        if isinstance(event, TaskProgress) and (event.task, event.done) == ("sampling", 2):
            with Session(cache=cache) as other:
                with pytest.raises(ResourceError) as caught:
                    other.run(workflow, resume=True)
                inside.append(str(caught.value))
                other.run(workflow)  # in a folder of its own
            assert len(unfinished(cache)) == 1

    assert np.array_equal(frames(session.run(workflow, listen=another).outputs[0]), whole)
    assert inside == [
        'the run of "test.toml" to go on with is still going on, in another process; wait for it, '
        "or stop it."
    ]
    killed(workflow, "sampling", 3)
    (run,) = unfinished(cache)
    lock = locked(run.path)
    assert lock is not None
    with pytest.raises(ResourceError, match="still going on"):
        session.run(workflow, resume=True)
    lock.release()
    session.run(workflow, resume=True)


def test_running_runs_are_not_cleared_away_for_new_ones(
    make: Make, session: Session, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "MOST_KEPT", 2)

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "sampling":
            raise KeyboardInterrupt

    for seed in range(4):
        with pytest.raises(Cancelled):
            session.run(make(f"seed = {seed}"), listen=stop)
    assert len(unfinished(cache)) == 2
    oldest = unfinished(cache)[-1]
    lock = locked(oldest.path)
    assert lock is not None
    for seed in range(4):
        with pytest.raises(Cancelled):
            session.run(make(f"seed = {seed}"), listen=stop)
    assert oldest.name in [run.name for run in unfinished(cache)]
    lock.release()


def _step(path: Path) -> int:
    # dates of files that are written within a tick of the clock are the same
    return int(read_header(path).metadata["step"])


def _lie(path: Path) -> None:
    """A header that promises far more than there is."""
    header = json.dumps(
        {"latents.video": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def _forge(path: Path) -> None:
    """Other tensors under our name, with no digest."""
    save_file(load_file(path), path, {"step": "4", "steps": "5"})


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "a bit": _flip,
    "a pickle": lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch ran'\ntR."),
    "a lie": _lie,
    "no digest": _forge,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def step_of(path: Path) -> int:
    """After which a state was kept; the clock of files may be too coarse to tell two apart."""
    return int(read_header(path).metadata["step"])


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_state_gives_way_to_the_older_one(
    how: str, make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    workflow = make(MORE)
    whole = frames(session.run(workflow).outputs[0])
    killed(workflow, "sampling", 4)
    (run,) = unfinished(cache)
    states = sorted(run.path.glob("generate.0-*.safetensors"), key=_step)
    assert len(states) == 2
    SPOILT[how](states[-1])
    events: list[Event] = []
    result = session.run(workflow, listen=events.append, resume=True)
    assert np.array_equal(frames(result.outputs[0]), whole)
    assert steps_of(events) == [4, 5]
    told = [text for text in notes(events) if "a kept state of sampling can't be used" in text]
    assert len(told) == 1
    assert not Path("ran").exists()


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_latents_give_way_to_sampling(
    how: str, make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    workflow = make(MORE)
    whole = frames(session.run(workflow).outputs[0])
    killed(workflow, "decoding and writing", 1)
    (run,) = unfinished(cache)
    for path in run.path.glob("*.safetensors"):
        SPOILT[how](path)
    events: list[Event] = []
    result = session.run(workflow, listen=events.append, resume=True)
    assert np.array_equal(frames(result.outputs[0]), whole)
    assert steps_of(events) == [1, 2, 3, 4, 5]
    assert any("the kept latents of generate are of no use" in text for text in notes(events))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format": 1}', '{"format": 2}', "[" * 100_000, "\x00", "9" * 5_000_000],
)
def test_a_card_that_is_none_is_no_run(
    text: str, make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    killed(make(MORE), "sampling", 2)
    (run,) = unfinished(cache)
    (run.path / "run.json").write_text(text)
    assert unfinished(cache) == []
    with pytest.raises(WorkflowError, match="there is no unfinished run"):
        session.run(make(MORE), resume=True)


def test_pipes_links_and_folders_of_others_are_not_waited_for_or_believed(
    make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    killed(make(MORE), "sampling", 3)
    (run,) = unfinished(cache)
    for name in ("\x1b[31mevil", "20260131-235959-a\nb", "notes"):
        shutil.copytree(run.path, run.path.with_name(name))
    (cache / "runs" / "20260131-235959-link").symlink_to(run.path)
    assert unfinished(cache) == [run]
    states = sorted(run.path.glob("*.safetensors"))
    assert len(states) == 2
    for state in states:
        state.unlink()
        os.mkfifo(state)
    assert run.progress() == "nothing sampled yet"
    events: list[Event] = []
    session.run(make(MORE), listen=events.append, resume=True)
    assert steps_of(events)[0] == 1  # from the beginning, without waiting
    assert sum("can't be used (is no plain file)" in text for text in notes(events)) == 2
    killed(make(MORE), "sampling", 3)
    (run,) = unfinished(cache)
    (run.path / "run.json").unlink()
    os.mkfifo(run.path / "run.json")
    assert unfinished(cache) == []


def test_a_card_that_contradicts_itself_is_refused_in_words(
    make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    killed(make(MORE), "sampling", 2)
    (run,) = unfinished(cache)
    attrs.evolve(run.card, plan="0" * 64).write(run.path)
    with pytest.raises(WorkflowError, match="another plan: what it says of itself is damaged;"):
        session.run(make(MORE), resume=True)


@pytest.mark.parametrize("key", ["workflow", "folder", "label", "plan", "arguments", "outputs"])
def test_a_card_with_control_characters_is_no_run(key: str, tmp_path: Path) -> None:
    Card("w.toml", "/here", "", ("w.toml",), "0" * 64, {"seed": "1"}).write(tmp_path)
    assert read_card(tmp_path) is not None
    fields = json.loads((tmp_path / "run.json").read_text())
    fields[key] = ["\x1b]0;x\x07"] if isinstance(fields[key], list) else "\x1b[2J"
    (tmp_path / "run.json").write_text(json.dumps(fields))
    assert read_card(tmp_path) is None


def test_a_full_disk_costs_a_note_and_no_state_that_there_was(
    make: Make, session: Session, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    import safetensors.torch as st

    workflow = make(MORE)
    whole = frames(session.run(workflow).outputs[0])
    save, count = st.save_file, iter(range(100))

    def full(*arguments: object) -> None:
        if next(count) in (1, 2):
            Path(str(arguments[1])).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(st, "save_file", full)
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, TaskProgress) and (event.task, event.done) == ("sampling", 3):
            (run,) = unfinished(cache)
            assert run.progress() == "generate: step 1 of 5"
            assert not list(run.path.glob("*.partial"))

    result = session.run(workflow, listen=listen)
    assert np.array_equal(frames(result.outputs[0]), whole)
    assert notes(events) == [
        "the state of sampling could not be kept ([Errno 28] No space left on device)"
    ]


SWEEP = """
format = 1
model = { family = "tiny-random" }
output = { path = "clip.mkv" }
[[stages]]
use = "generate"
prompt = "a circle"
seed = [1, 2, 3]
steps = 4
"""


def test_a_sweep_goes_on_where_it_was(session: Session, cache: Path, tmp_path: Path) -> None:
    def plans() -> tuple:  # type: ignore[type-arg]
        workflows = parse_workflows(SWEEP, name="s.toml", folder=tmp_path, plugins=session.plugins)
        return make_plans(workflows, session.plugins)

    with pytest.raises(WorkflowError, match=r'there is no unfinished run of "s\.toml"'):
        session.sweep(plans(), resume=True)
    planned = plans()
    whole = [frames(one.outputs[0]) for one in made(session.sweep(planned))]
    assert unfinished(cache) == []
    for path in tmp_path.glob("clip-*"):
        path.unlink()
    seen = iter(range(100))

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "sampling" and next(seen) == 5:
            raise KeyboardInterrupt  # in the second run, after two of its steps

    with pytest.raises(Cancelled):
        session.sweep(planned, listen=stop)
    labels = {run.card.label: bool(run.card.outputs) for run in unfinished(cache)}
    assert labels == {"seed 1": True, "seed 2": False}
    first = (tmp_path / "clip-1.mkv").stat().st_mtime_ns
    events: list[Event] = []
    result = session.sweep(planned, listen=events.append, resume=True)
    assert all(
        np.array_equal(frames(one.outputs[0]), w)
        for one, w in zip(made(result), whole, strict=True)
    )
    assert (tmp_path / "clip-1.mkv").stat().st_mtime_ns == first
    assert steps_of(events) == [3, 4, 1, 2, 3, 4]
    assert "run 1 of 3 (seed 1) is there already" in notes(events)
    assert unfinished(cache) == []


def made(result: object) -> list[RunResult]:
    outcomes = result.outcomes  # type: ignore[attr-defined]
    assert all(isinstance(one, RunResult) for one in outcomes)
    return list(outcomes)


def test_latents_of_another_plan_are_decoded_when_that_is_wanted(
    make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    workflow = make(MORE)
    whole = frames(session.run(workflow).outputs[0])
    killed(workflow, "decoding and writing", 1)
    (run,) = unfinished(cache)
    events: list[Event] = []
    result = session.run(make("steps = 6"), listen=events.append, resume=run)
    assert np.array_equal(frames(result.outputs[0]), whole)
    assert steps_of(events) == []
    assert "what is kept was made by another plan: stages.0.steps was 5, is now 6" in notes(events)


def test_latents_that_do_not_fit_are_refused_when_they_are_all_that_is_wanted(
    make: Make, session: Session, killed: Callable[..., None], cache: Path
) -> None:
    killed(make(MORE), "decoding and writing", 1)
    (run,) = unfinished(cache)
    with pytest.raises(WanCoreError, match=r"generate\.safetensors: is not what this run"):
        session.run(make("frames = 9"), resume=run)
    assert [one.kept() for one in unfinished(cache)] == [("generate",)]


def test_of_lists_the_first_numbers_that_differ_are_said() -> None:
    for before, now, said in (
        ("[1, 0.5, 0.2]", "[1, 0.4, 0.3]", "a.1 was 0.5, is now 0.4"),
        ("[1]", "[1, 0]", "a was a list of 1, is now a list of 2"),
        ("[1]", "[1.0]", "a was a list of 1, is now a list of 1"),
        ("1", "null", "a was 1, is now nothing"),
    ):
        assert differences({"a": before}, {"a": now}) == said
