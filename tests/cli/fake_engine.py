"""An engine that plays a script of events. Run as a program it is ``wan-core`` with that engine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np

import wan_core
from wan_core.contract.events import (
    Event,
    Note,
    Preview,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
    TaskFinished,
    TaskProgress,
    TaskStarted,
)
from wan_core.workflow.source import Source

ENGINE = Path(wan_core.__file__).parent / "engine"
SECONDS = {
    "text / encoding prompts": 0.5,
    "generate / loading transformer": 1.25,
    "generate / sampling": 75.0,
    "total": 77.0,
}


def usual_events() -> list[Event]:
    """A short run with everything that a view has to cope with."""
    return [
        RunStarted("hello.toml", ("generate",)),
        Note("the word dragon was never taught", "warning"),
        TaskStarted("text", "encoding prompts", 2, "prompt"),
        TaskProgress("text", "encoding prompts", 2),
        TaskFinished("text", "encoding prompts", 0.5),
        StageStarted("generate"),
        TaskStarted("generate", "loading transformer", None, "MB"),
        TaskStarted("generate", "sampling", 3, "step"),
        TaskFinished("generate", "loading transformer", 1.25),
        *(TaskProgress("generate", "sampling", done) for done in (1, 2, 3)),
        Preview("generate", 3, 3, 4.0, np.full((9, 12, 16, 3), (200, 100, 50), np.uint8)),
        TaskProgress("generate", "a task that never started", 1),
        TaskFinished("generate", "sampling", 75.0),
        StageFinished("generate", 76.25),
        Note("three steps are few"),
        RunFinished(("out.mp4",), SECONDS, 1_300_000_000),
    ]


@attrs.define
class Script:
    """What the engine will do.

    Attributes:
        events: sent one after another, ``pause`` seconds apart.
        error: raised after them, by the engine or (``at`` is "plan") while planning.
        prints: what a noisy plugin prints.
        asked: the calls that arrived.
    """

    events: Sequence[Event] = attrs.field(factory=usual_events)
    error: BaseException | None = None
    at: str = "run"
    pause: float = 0.0
    prints: str = ""
    asked: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Output:
    path: Path = Path("outputs/hello.mp4")
    overwrite: bool = False


@attrs.frozen
class Workflow:
    output: Output = Output()
    models: Mapping[str, object] = attrs.field(factory=lambda: {"main": None})
    source: Source = attrs.field(factory=Source)


@attrs.frozen
class Plan:
    workflow: Workflow

    @property
    def output(self) -> Path:
        return self.workflow.output.path

    def describe(self) -> list[tuple[str, list[str]]]:
        return [("Machine", ["CPU, 2 cores"]), ("Notes", ["one", "two"])]


@attrs.frozen
class Result:
    outputs: tuple[Path, ...]
    seconds: Mapping[str, float]
    peak_ram: int
    peak_vram: int | None
    predicted_peak: int = 0
    moved: int = 0
    hidden: float | None = None
    recoveries: tuple[Any, ...] = ()


def install(script: Script, set_item: Callable[[Any, str, ModuleType], None]) -> None:
    """Put the engine, the planner and the reader of workflows in the place of the real ones."""

    def load_workflows(
        path: str, overrides: Sequence[str] = (), *, plugins: Any
    ) -> tuple[Workflow, ...]:
        script.asked.update(path=path, overrides=overrides, plugins=plugins)
        return (Workflow(),)

    def make_plans(
        workflows: Sequence[Workflow],
        plugins: Any,
        *,
        device: str,
        library: Any,
        assume_files: bool,
    ) -> tuple[Plan, ...]:
        assert not assume_files
        (workflow,) = workflows
        script.asked.update(output=workflow.output.path, device=device)
        script.asked.update(where=workflow.source.where, overwrite=workflow.output.overwrite)
        if script.at == "plan" and script.error:
            raise script.error
        return (Plan(workflow),)

    class Session:
        def __init__(self, *, plugins: Any, device: str, arguments: Sequence[str]) -> None:
            script.asked.update(session_device=device, arguments=arguments)

        def __enter__(self) -> Session:
            return self

        def __exit__(self, *_: object) -> None:
            script.asked["closed"] = True

        def run(
            self,
            plan: Plan,
            *,
            listen: Callable[[Event], None],
            previews: bool = False,
            resume: bool = False,
        ) -> Result:
            script.asked.update(previews=previews, resume=resume)
            if script.prints:
                print(script.prints)
            for event in script.events:
                if previews or not isinstance(event, Preview):
                    listen(event)
                time.sleep(script.pause)
            if script.error:
                raise script.error
            return Result((Path("out.mp4").absolute(),), SECONDS, 1_300_000_000, None)

    for name, content in (
        (
            "wan_core.workflow",
            {"load_workflows": load_workflows, "to_toml": lambda _: "format = 1\n"},
        ),
        (
            "wan_core.planning",
            {"make_plans": make_plans, "configured": lambda *, confined: None, "confine": None},
        ),
        # what needs no engine is the real one
        ("wan_core.engine", {"Session": Session, "__path__": [str(ENGINE)]}),
    ):
        module = ModuleType(name)
        vars(module).update(content)
        set_item(sys.modules, name, module)


if __name__ == "__main__":
    from wan_core.cli import main

    playing = Script(pause=float(sys.argv[1]))
    install(playing, lambda modules, name, module: modules.__setitem__(name, module))
    code = main(sys.argv[2:])
    if "closed" in playing.asked:
        with suppress(OSError):
            print("session closed", file=sys.stderr)
    sys.exit(code)
