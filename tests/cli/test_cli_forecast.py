"""The time left of a whole run: predictions corrected by what has turned out."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from wan_core.cli.board import Board
from wan_core.cli.forecast import Forecast, Running
from wan_core.cli.live import LiveView
from wan_core.cli.text import about
from wan_core.cli.views import PlainLines
from wan_core.contract.events import Event, RunStarted, TaskFinished, TaskProgress, TaskStarted

PREDICTED = {
    "text / loading text encoder": 20.0,
    "text / encoding": 10.0,
    "generate / loading transformer": 30.0,
    "generate / sampling": 100.0,
    "generate / decoding and writing": 40.0,
}
START = RunStarted("w.toml", ("generate",), predicted=PREDICTED)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


def play(board: Board, *events: Event) -> None:
    for event in events:
        board.update(event)


def ran(stage: str, task: str, seconds: float) -> list[Event]:
    return [TaskStarted(stage, task), TaskFinished(stage, task, seconds)]


def test_before_anything_runs_the_prediction_is_all_there_is(board: Board) -> None:
    assert board.seconds_left() is None
    play(board, START)
    assert board.seconds_left() == 200


def test_a_running_task_without_pace_counts_down_from_its_prediction(
    board: Board, clock: Clock
) -> None:
    play(board, START, TaskStarted("text", "loading text encoder"))
    clock.now += 5
    assert board.seconds_left() == 195
    clock.now += 500
    assert board.seconds_left() == 180


def test_what_has_turned_out_scales_what_is_to_come(board: Board) -> None:
    play(board, START, *ran("text", "loading text encoder", 40.0))
    # 20 of 200 predicted seconds are known to have been half of the truth
    assert board.seconds_left() == pytest.approx(180 * (40 + 180) / 200)
    play(board, *ran("text", "encoding", 20.0), *ran("generate", "loading transformer", 60.0))
    play(board, *ran("generate", "sampling", 200.0))
    assert board.seconds_left() == pytest.approx(40 * (320 + 40) / (160 + 40))


def test_the_pace_of_sampling_goes_before_its_prediction(board: Board, clock: Clock) -> None:
    play(board, START, TaskStarted("generate", "sampling", 10, "step"))
    for done in (1, 2, 3, 4, 5):
        clock.now += 30
        play(board, TaskProgress("generate", "sampling", done))
    # half of sampling took 150 s, not 50; sampling's other half and decoding are open
    factor = (150 + 50 + 40) / (50 + 50 + 40)
    assert board.seconds_left() == pytest.approx(5 * 30 + 40 * factor)
    clock.now += 10
    assert board.seconds_left() == pytest.approx(5 * 30 - 10 + 40 * factor)


def test_tasks_that_were_not_needed_are_left_out(board: Board) -> None:
    play(board, START, TaskStarted("generate", "loading transformer"))
    assert board.seconds_left() == 170


def test_tasks_that_nobody_predicted_do_not_count(board: Board, clock: Clock) -> None:
    play(board, START, TaskStarted("generate", "watching", 10, "step"))
    clock.now += 50
    play(board, TaskProgress("generate", "watching", 1), *ran("generate", "upscaling", 500.0))
    assert board.seconds_left() == 200


def test_at_the_end_and_after_it_there_is_nothing_to_say(board: Board) -> None:
    play(board, START, TaskStarted("generate", "decoding and writing", 81, "frame"))
    assert board.whole_run() == "whole run: about 40 s left"
    play(board, TaskFinished("generate", "decoding and writing", 60.0))
    assert board.whole_run() is None
    play(board, START)
    board.clear()
    assert board.whole_run() is None


@pytest.mark.parametrize("predicted", [{}, {"generate / sampling": 3.0}])
def test_half_a_prediction_is_none(board: Board, predicted: dict[str, float]) -> None:
    play(board, RunStarted("w.toml", ("generate", "upscale"), predicted=predicted))
    assert board.seconds_left() is None
    assert not board.is_long


def test_a_task_that_runs_twice_counts_once_as_predicted() -> None:
    forecast = Forecast({"a / b": 10.0, "c / d": 10.0})
    for _ in range(2):
        forecast.started("a / b")
        forecast.finished("a / b", 10.0)
    assert forecast.factor() == pytest.approx((20 + 10) / 20)
    # and a third time
    factor = (20 + 20) / 30
    assert forecast.seconds_left([Running("a / b", 3.0)]) == pytest.approx(2 * 10 * factor - 3)


def test_predictions_of_nothing_give_no_error() -> None:
    forecast = Forecast({"a / b": 0.0})
    assert forecast.seconds_left() == 0
    forecast.finished("a / b", 5.0)
    assert forecast.factor([Running("a / b", 1.0, 2.0, 3.0)]) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "a few seconds"), (4.9, "a few seconds"), (7, "about 10 s"), (41, "about 40 s"),
        (54, "about 50 s"), (55, "about 1 min"), (125, "about 2 min"), (3540, "about 59 min"),
        (3600, "about 1 h 00 min"), (4790, "about 1 h 20 min"), (7800, "about 2 h 10 min"),
    ],
)  # fmt: skip
def test_estimates_are_told_roughly(seconds: float, text: str) -> None:
    assert about(seconds) == text


def test_the_live_view_ends_with_the_whole_run() -> None:
    view = LiveView(io.StringIO())
    for event in (START, TaskStarted("generate", "sampling", 10, "step")):
        view(event)
    console = Console(file=io.StringIO(), width=80)
    console.print(view._draw())
    drawn = console.file.getvalue().rstrip().splitlines()  # type: ignore[attr-defined]
    assert "generate: sampling 0/10 steps" in drawn[0]
    assert drawn[-1].strip() == "whole run: about 2 min left"
    view(TaskFinished("generate", "sampling", 100.0))
    console.print(view._draw())
    assert "whole run: about 40 s left" in console.file.getvalue()  # type: ignore[attr-defined]


def test_plain_lines_tell_it_of_long_runs_only() -> None:
    def lines(factor: float) -> list[str]:
        stream = io.StringIO()
        view = PlainLines(stream)
        view(
            RunStarted("w", ("generate",), predicted={k: v * factor for k, v in PREDICTED.items()})
        )
        for event in ran("text", "loading text encoder", 20.0 * factor):
            view(event)
        return stream.getvalue().splitlines()

    assert lines(1) == ["text: loading text encoder, 20 s; whole run: about 3 min left"]
    assert lines(0.1) == ["text: loading text encoder, 2.0 s"]
