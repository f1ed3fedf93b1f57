"""The pace of tasks and the time that is left."""

from __future__ import annotations

import pytest

from wan_core.cli.board import Board
from wan_core.cli.text import columns, counted, duration
from wan_core.contract.events import TaskFinished, TaskProgress, TaskStarted


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


def progress(board: Board, clock: Clock, done: int, after: float) -> float | None:
    clock.now += after
    board.update(TaskProgress("s", "t", done))
    return board.running[0].seconds_left(clock.now)


def test_the_first_step_with_its_warm_up_does_not_count(board: Board, clock: Clock) -> None:
    board.update(TaskStarted("s", "t", 10, "step"))
    assert board.running[0].seconds_left(clock.now) is None
    assert progress(board, clock, 1, after=20) == pytest.approx(9 * 20)
    assert progress(board, clock, 2, after=2) == pytest.approx(8 * 2)
    assert progress(board, clock, 3, after=2) == pytest.approx(7 * 2)
    clock.now += 1.5
    assert board.running[0].seconds_left(clock.now) == pytest.approx(7 * 2 - 1.5)
    assert board.running[0].sentence(clock.now) == "s: t 3/10 steps, 12 s left"


def test_the_pace_follows_a_change(board: Board, clock: Clock) -> None:
    board.update(TaskStarted("s", "t", 100, "step"))
    for done in range(1, 31):
        progress(board, clock, done, after=1)
    for done in range(31, 61):
        left = progress(board, clock, done, after=3)
    assert left == pytest.approx(40 * 3)


def test_updates_of_several_units(board: Board, clock: Clock) -> None:
    board.update(TaskStarted("s", "t", 81, "frame"))
    progress(board, clock, 1, after=5)
    progress(board, clock, 5, after=2)
    assert progress(board, clock, 9, after=2) == pytest.approx((81 - 9) / 4 * 2)


def test_a_late_update_makes_the_estimate_grow(board: Board, clock: Clock) -> None:
    board.update(TaskStarted("s", "t", 5, "step"))
    progress(board, clock, 1, after=1)
    progress(board, clock, 2, after=1)
    task = board.running[0]
    clock.now += 1
    assert task.seconds_left(clock.now) == pytest.approx(2)
    clock.now += 9
    assert task.seconds_left(clock.now) == pytest.approx(10 * 3 - 10)
    progress(board, clock, 4, after=0)
    clock.now += 50
    assert task.seconds_left(clock.now) == 0


def test_unknown_totals_show_what_is_done_or_how_long_it_takes(board: Board, clock: Clock) -> None:
    board.update(TaskStarted("generate", "loading", None, "MB"))
    clock.now += 4.2
    assert board.running[0].sentence(clock.now) == "generate: loading, 4.2 s"
    board.update(TaskProgress("generate", "loading", 700))
    assert board.running[0].sentence(clock.now) == "generate: loading 700 MB"


def test_tasks_run_inside_each_other(board: Board, clock: Clock) -> None:
    board.update(TaskStarted("g", "writing", 8, "frame"))
    board.update(TaskStarted("g", "decoding", 8, "frame"))
    clock.now += 1
    board.update(TaskProgress("g", "decoding", 4))
    assert [t.done for t in board.running] == [0, 4]
    assert board.update(TaskFinished("g", "decoding", 2.0)) == "g: decoding, 4 frames, 2.0 s"
    assert [t.task for t in board.running] == ["writing"]
    assert board.update(TaskFinished("g", "unheard of", 2.0)) == "g: unheard of, 2.0 s"


def test_a_task_that_starts_again_begins_anew(board: Board, clock: Clock) -> None:
    board.update(TaskStarted("g", "sampling", 30, "step"))
    board.update(TaskProgress("g", "sampling", 12))
    board.update(TaskStarted("g", "sampling", 30, "step"))
    (task,) = board.running
    assert (task.done, task.seconds_left(clock.now)) == (0, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
        (125, "2 min 05 s"), (3599.6, "1 h 00 min"), (4350, "1 h 12 min"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts() -> None:
    assert counted(12, 30, "step") == "12/30 steps"
    assert counted(1, 1, "prompt") == "1/1 prompt"
    assert counted(1, None, "frame") == "1 frame"
    assert counted(7, 9, "MB") == "7/9 MB"
    assert counted(7, 9, "") == "7/9"


def test_columns_line_up() -> None:
    assert columns([("a", "bb", "long text"), ("ccc", "d", "")], indent=1) == [
        " a    bb  long text",
        " ccc  d",
    ]
    assert columns([]) == []
