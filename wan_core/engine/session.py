"""A session plans and runs workflows and keeps their components between runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch

from wan_core.config import cache_folder
from wan_core.contract.errors import Cancelled, ResourceError, WanCoreError, WeightsError
from wan_core.contract.events import (
    Listener,
    Note,
    RunFailed,
    RunFinished,
    RunStarted,
    SweepFinished,
)
from wan_core.engine.events import Broadcast
from wan_core.engine.keep import Keepsakes
from wan_core.engine.recovery import Recovery
from wan_core.engine.results import RunResult, SweepResult
from wan_core.engine.resume import card_of, refuse, runs_of, take_same
from wan_core.engine.run import Run
from wan_core.engine.swapping import HostComponents
from wan_core.engine.sweep import SweepKept, make_sheet, title, with_all_texts
from wan_core.engine.unfinished import Card, Taken, Unfinished, still_going_on, take
from wan_core.kernels import as_shortage
from wan_core.memory import (
    Ledger,
    Residency,
    bound,
    empty_allocator,
    gigabytes,
    let_segments_grow,
    pinnable_bytes,
)
from wan_core.planning import Library, Plan, look, make_plans
from wan_core.planning.machine import whole_ram
from wan_core.plugins import Plugins
from wan_core.workflow import Workflow


class Session:
    """Plans and runs workflows. Components stay loaded between runs while there is room.

    ::

        with Session() as session:
            result = session.run(load_workflow("hello.toml"))
        print(result.outputs)

    Args:
        plugins: what is installed; None = discover.
        device: ``"auto"`` leaves it to the workflow; ``"cpu"``, ``"cuda"``, ``"cuda:1"`` overrule it.
        cache: folder for text embeddings and kept latents.
        library: where weight files are looked for; None = where the configuration says.
        arguments: of ``wan-core run`` where that runs the workflows, with full paths: what is said of a run
            that was cut short names the command that goes on with it.
    """

    def __init__(
        self,
        *,
        plugins: Plugins | None = None,
        device: str = "auto",
        cache: Path | str | None = None,
        library: Library | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        let_segments_grow()
        self.plugins = plugins or Plugins.discover()
        self.device = device
        self.cache = Path(cache or cache_folder())
        self.library = library
        self.arguments = tuple(arguments)
        self._residencies = {"cpu": Residency(on_leave=empty_allocator)}
        self._bounded: set[str] = set()
        self._host = HostComponents(self.cache, self._residencies["cpu"])

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let all components go, and with them the bounds of memory."""
        for residency in (*self._residencies.values(), self._host.residency):
            residency.clear()
        for device in self._bounded:
            bound(device, None)
        self._bounded.clear()

    def plan(self, workflow: Workflow) -> Plan:
        """Check the workflow and work out what a run will do.

        Raises:
            WanCoreError: for everything that can't work, before any weight is read.
        """
        return self._make_plans([workflow])[0]

    def _plans(self, what: Sequence[Workflow] | Sequence[Plan]) -> Sequence[Plan]:
        plans = [one for one in what if isinstance(one, Plan)]
        if len(plans) == len(what):
            return plans
        workflows = [one.workflow if isinstance(one, Plan) else one for one in what]
        # together, so that no two of them get one name
        return self._make_plans(workflows)

    def _make_plans(self, workflows: Sequence[Workflow]) -> Sequence[Plan]:
        """Plans that count what the session holds as free, as a run may have all of it."""
        return make_plans(
            workflows,
            self.plugins,
            device=self.device,
            library=self.library,
            held=self._residencies["cpu"].held,
        )

    def _residencies_for(self, plan: Plan) -> dict[str, Residency]:
        """What is resident on each device of the plan, with the budget that holds now."""
        # where a component may go when memory runs out
        for device in _devices(plan) | {"cpu"}:
            residency = self._residencies.setdefault(device, Residency(on_leave=empty_allocator))
            machine = look(device)
            # free now, and what our own components would give back, which of a GPU is counted already
            room = machine.ram + residency.held if machine.vram is None else machine.vram
            stated = plan.bounds.allocatable(machine) if plan.bounds else None
            residency.budget = room if stated is None else min(room, stated)
            if machine.vram is not None and (stated is not None or device in self._bounded):
                bound(device, stated)
                self._bounded.add(device)
        self._host.residency.budget = self._host_share(plan)
        return self._residencies

    def _host_share(self, plan: Plan) -> int:
        """What may lie in host memory to be swapped from there, in bytes."""
        if plan.bounds is None:
            return pinnable_bytes()
        # free when it was planned, and what lies there already: a later run finds it where it is
        share = plan.bounds.host + self._host.residency.bytes
        # beside what a user states, no more than may be pinned: files serve as well as memory that is not
        stated = plan.bounds.stated_ram
        return min(share, whole_ram() // 2 if stated is None else stated)

    def run(
        self,
        what: Workflow | Plan,
        *,
        listen: Listener | None = None,
        previews: bool = False,
        resume: bool | Unfinished = False,
    ) -> RunResult:
        """Run a workflow or a plan.

        Args:
            listen: gets every event as it happens.
            previews: the stages send :class:`~wan_core.contract.events.Preview` events, too, where they can.
            resume: go on with the newest unfinished run of the same plan, with the same bits. When a run is
                given, only the results that its stages have kept are taken from it, whatever its plan was.

        Raises:
            WanCoreError: one sentence for everything a user, a file or the machine can cause.
            Cancelled: on Ctrl-C; nothing half-written is left behind.
        """
        plan = what if isinstance(what, Plan) else self.plan(what)
        card = card_of(plan, self.plugins, self.arguments)
        if isinstance(resume, Unfinished):
            taken = take(resume)
            if taken is None:
                raise still_going_on(resume)
        elif resume:
            runs = runs_of(card, self.cache)
            taken = take_same(card, runs)
            if taken is None:
                raise refuse(card, runs)
        else:
            taken = None
        return self._run(plan, card, taken, listen, previews)

    def _run(
        self,
        plan: Plan,
        card: Card,
        taken: Taken | None,
        listen: Listener | None,
        previews: bool,
        *,
        in_sweep: bool = False,
    ) -> RunResult:
        _refuse_assumed(plan)
        emit = Broadcast(listen, self.plugins)
        each_unit = plan.workflow.memory.block_swap_debug
        ledger = Ledger(emit, torch.device(plan.machine.device), each_unit=each_unit)
        keepsakes = Keepsakes(self.cache, emit, card, taken)
        recovery = Recovery(emit, ledger, plan, keepsakes.keep_recoveries)
        start = time.perf_counter()
        try:
            outputs = self._execute(plan, emit, ledger, keepsakes, recovery, previews)
        except BaseException:
            keepsakes.close()
            raise
        if in_sweep:
            keepsakes.finished(outputs)
        else:
            keepsakes.discard()
        seconds = {**ledger.seconds, "total": time.perf_counter() - start}
        result = RunResult(
            outputs,
            seconds,
            ledger.peak_ram,
            ledger.peak_vram,
            plan.peak,
            ledger.traffic.bytes,
            ledger.traffic.hidden,
            tuple(recovery.made),
        )
        emit(
            RunFinished(
                tuple(map(str, outputs)),
                result.seconds,
                result.peak_ram,
                result.peak_vram,
                result.predicted_peak,
                result.moved,
                result.hidden,
            )
        )
        return result

    def _execute(
        self,
        plan: Plan,
        emit: Broadcast,
        ledger: Ledger,
        keepsakes: Keepsakes,
        recovery: Recovery,
        previews: bool,
    ) -> tuple[Path, ...]:
        """Run a plan; what goes wrong is told as an event, too."""
        source = plan.workflow.source
        try:
            # before anybody is told, so that what is killed from now on can go on
            keepsakes.open()
            names = tuple(s.name for s in plan.stages)
            emit(RunStarted(source.name, names, source.label, plan.seconds))
            recovery.take_up(keepsakes.recoveries())
            residencies = self._residencies_for(plan)
            _refuse_shortage(plan, residencies)
            with as_shortage():
                return Run(
                    plan,
                    self.plugins,
                    residencies,
                    self._host,
                    ledger,
                    keepsakes,
                    recovery,
                    emit,
                    self.cache,
                    previews,
                ).execute()
        except (KeyboardInterrupt, Cancelled) as error:
            cancelled = Cancelled(_and("stopped", keepsakes))
            emit(RunFailed(str(cancelled), cancelled.exit_code))
            raise cancelled from error
        except torch.OutOfMemoryError as error:
            short = recovery.given_up(*ledger.failed())
            short.remedy = _and(short.remedy, keepsakes)
            emit(RunFailed(str(short), short.exit_code))
            raise short from error
        except WanCoreError as error:
            error.remedy = _and(error.remedy, keepsakes)
            emit(RunFailed(str(error), error.exit_code))
            raise
        except Exception as error:
            problem = f"internal error: {type(error).__name__}: {error}"
            emit(RunFailed(_and(problem, keepsakes), 1))
            raise

    def sweep(
        self,
        what: Sequence[Workflow] | Sequence[Plan],
        *,
        listen: Listener | None = None,
        previews: bool = False,
        resume: bool = False,
    ) -> SweepResult:
        """Run several workflows or plans; one that fails does not stop the others.

        Args:
            what: as :func:`wan_core.workflow.load_workflows` reads them from a workflow with lists, or
                as :func:`wan_core.planning.make_plans` plans them.
            listen: gets every event as it happens.
            previews: as for :meth:`run`.
            resume: go on with a sweep that did not finish: runs that are over are not repeated, the one that
                was cut short goes on, those that had not begun begin.

        Raises:
            WanCoreError: a workflow can't be planned; nothing has run then.
            Cancelled: on Ctrl-C, which stops them all.
        """
        plans = self._plans(what)
        emit = Broadcast(listen, self.plugins)
        sweep = SweepKept.of(plans, self.plugins, self.arguments, self.cache)
        if resume:
            sweep.check()
        outcomes: list[RunResult | Exception] = []
        for number, plan in enumerate(with_all_texts(plans), 1):
            card = sweep.cards[number - 1]
            if resume and (made := sweep.made(card)):
                emit(Note(f"{title(number, plans)} is there already"))
                outcomes.append(made)
                continue
            emit(Note(title(number, plans)))
            try:
                taken = take_same(card, sweep.runs) if resume else None
                outcomes.append(self._run(plan, card, taken, listen, previews, in_sweep=True))
            except Cancelled as stop:
                done = sum(isinstance(one, RunResult) for one in outcomes)
                stop.problem += f" in run {number} of {len(plans)}; written before it: {done}"
                raise
            except Exception as error:
                emit(Note(f"{title(number, plans)} failed: {error}", "error"))
                outcomes.append(error)
        if not any(isinstance(one, Exception) for one in outcomes):
            sweep.forget()
        result = SweepResult(tuple(outcomes), make_sheet(plans, outcomes, emit))
        written = [path for one in outcomes if isinstance(one, RunResult) for path in one.outputs]
        sheet = str(result.sheet) if result.sheet else None
        emit(SweepFinished(tuple(map(str, written)), len(result.failures), sheet))
        return result


def _devices(plan: Plan) -> set[str]:
    """Where components of the plan compute."""
    models = plan.models.values()
    placed = [placement for model in models for placement in model.placements.values()]
    return {m.device for m in models} | {p.device for p in placed if p.device}


def _refuse_shortage(plan: Plan, residencies: Mapping[str, Residency]) -> None:
    """What can't fit is said before the first weight is read, and not when it is its turn."""
    residency = residencies.get(plan.machine.device)
    if residency is None or residency.budget is None:
        return
    for phase in plan.phases:
        if phase.allocated > residency.budget:
            raise ResourceError(
                f"{phase.name} is predicted to need {gigabytes(phase.allocated)}, of which "
                f"{plan.machine.title} has {gigabytes(residency.budget)}",
                remedy="use a smaller size, fewer frames or a smaller precision or model",
            )


def _and(text: str, keepsakes: Keepsakes) -> str:
    return "; ".join(filter(None, (text, str(keepsakes))))


def _refuse_assumed(plan: Plan) -> None:
    for model in plan.models.values():
        for slot, file in model.files.items():
            if file.assumed:
                raise WeightsError(
                    f"the {slot} of family {model.family.name} is not here, it was only planned with",
                    where=plan.workflow.source.where(f"models.{model.name}.{slot}"),
                    remedy=f"run wan-core models pull {model.family.name}",
                )
