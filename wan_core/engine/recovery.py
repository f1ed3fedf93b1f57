"""Going on after memory has run out: make room, and do the same once more.

Where a step of sampling fails, it is repeated from the latents before it. Where anything else of a stage fails,
the stage is repeated: what it has sampled is there. Where decoding fails, the file is written anew. What is
learned in a run is forgotten with it: the next one is planned as always. Only a run that goes on where it was
cut short takes it up again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
import torch

from wan_core.contract.errors import ResourceError
from wan_core.contract.events import Listener, Note, Recovered
from wan_core.contract.placement import RESIDENT, Placement
from wan_core.contract.text import slot_in_words
from wan_core.engine.ladder import Rung, next_rung
from wan_core.engine.recoveries import Recoveries, smaller
from wan_core.kernels import as_shortage
from wan_core.memory import Ledger, Residency, gigabytes, give_back, let_go
from wan_core.planning import Plan
from wan_core.planning.sharing import components_once, key_of

if TYPE_CHECKING:
    from wan_core.engine.components import ModelComponents

T = TypeVar("T")

HELP = "close what else uses it, or use a smaller size, fewer frames or a smaller precision"


@attrs.define(eq=False)
class Recovery:
    """What one run does when memory runs out.

    Attributes:
        keep: is handed all of it whenever there is more.
        placements: of components that are others than planned, by the component's key
            (:func:`wan_core.planning.sharing.key_of`): models that share one share what it has learned.
        made: what has been done so far, before the run was cut short, too.
    """

    emit: Listener
    ledger: Ledger
    plan: Plan
    keep: Callable[[Recoveries], None] = lambda recoveries: None
    placements: dict[Hashable, Placement] = attrs.field(factory=dict, init=False)
    made: list[Recovered] = attrs.field(factory=list, init=False)
    _before: tuple[Recovered, ...] = attrs.field(default=(), init=False)
    _left: set[str] = attrs.field(factory=set, init=False)
    _visitors: list[tuple[Residency, Hashable]] = attrs.field(factory=list, init=False)

    @property
    def allows_inexact(self) -> bool:
        """Whether the user lets the picture change."""
        return bool(self.plan.workflow.memory.allow_inexact)

    @property
    def changed(self) -> list[str]:
        """What has changed bits, in plain words."""
        return [f"{one.what}: {one.how}" for one in self.made if not one.exact]

    def take_up(self, before: Recoveries) -> None:
        """Go on as small as the run was when it was cut short."""
        for (name, slot), kept in before.placements.items():
            model = self.plan.models.get(name)
            if model is None or slot not in model.family.components:
                continue
            if kept.device and slot in model.family.slots("transformer"):
                continue  # these stay where they were planned
            sizes = model.sizes.get(slot)
            self.placements[key_of(model, slot)] = smaller(
                model.placements.get(slot, RESIDENT),
                kept,
                units=(*sizes.units, *sizes.parts) if sizes else (),
                allow_inexact=self.allows_inexact,
            )
        self._before = before.made
        self.made.extend(before.made)
        for one in before.made:
            self.emit(Note(f"before it was cut short: {one}"))

    def persist(
        self,
        call: Callable[[], T],
        components: Sequence[ModelComponents],
        slot: str = "",
        again: Callable[[], None] | None = None,
    ) -> T:
        """Call ``call`` until it does not run out of memory.

        Args:
            components: of which something may leave or become smaller.
            slot: the component of the last of them that is about to be loaded, if one is.
            again: called before each repetition; None in it, and elsewhere, = nothing.

        Raises:
            ResourceError: no room is left to be made.
        """
        while True:
            try:
                with as_shortage():
                    return call()
            except torch.OutOfMemoryError as error:
                let_go(error)
            self.make_room(components, slot)
            if again:
                again()

    def make_room(self, components: Sequence[ModelComponents], slot: str = "") -> None:
        """Do the next thing that may help.

        Raises:
            ResourceError: nothing is left that could be done.
        """
        stage, task = self.ledger.failed()
        give_back()
        idle = {title for one in components for title in one.drop_idle()}
        # what a repeated stage loads and lets go again is no news, and no help
        if new := sorted(idle - self._left):
            self._left |= idle
            self.report(stage, task, "out of memory", f"{', '.join(new)} left the device")
            return
        # whatever has been used last: nothing changes bits while something else could make room without
        for exact in (True, False):
            for use, name in _in_use(components, slot):
                if self._made_smaller(use, name, (stage, task), exact=exact):
                    return
        self._keep()
        raise self.given_up(stage, task)

    def _made_smaller(
        self, use: ModelComponents, slot: str, place: tuple[str, str], *, exact: bool
    ) -> bool:
        """Whether a component has been made smaller, and there was room for that.

        Args:
            place: the stage and the task that ran out of memory.
            exact: only by what changes no bit.
        """
        while rung := next_rung(use.placement(slot), use.abilities(slot)):
            if exact and not rung.exact:
                break
            found_room = self._take(use, slot, rung)
            # what changes bits counts from now on, also where something else has to make room
            if found_room or not rung.exact:
                how = f"{slot_in_words(slot)}: {rung.how}"
                self.report(*place, "out of memory", how, exact=rung.exact)
            if found_room:
                return True
        return False

    def report(self, stage: str, task: str, what: str, how: str, *, exact: bool = True) -> None:
        """Tell of a recovery, and remember it for the end of the run."""
        one = Recovered(stage, task, what, how, exact)
        if one not in self._before:  # else it has failed once more, and is the same line
            self.made.append(one)
        self._keep()
        self.emit(one)

    def until_the_end(self, residency: Residency, key: Hashable) -> None:
        """A component is there because of a recovery, and leaves with the run."""
        self._visitors.append((residency, key))

    def forget(self) -> None:
        """The run is over: what comes next is planned anew."""
        for residency, key in self._visitors:
            residency.drop(key)
        self._visitors.clear()
        self.placements.clear()

    def given_up(self, stage: str, task: str) -> ResourceError:
        """The error of a run that ends because of memory, in a task of a stage."""
        tried = list(dict.fromkeys(one.how for one in self.made if one.what == "out of memory"))
        place = " / ".join(filter(None, (stage, task)))
        text = f"{self.plan.machine.title} ran out of memory" + (f" in {place}" if place else "")
        if self.plan.peak:
            text += f"; the plan predicted {gigabytes(self.plan.peak)}"
        if tried:
            text += f"; tried before that: {'; '.join(tried)}"
        return ResourceError(text, remedy=HELP)

    def _keep(self) -> None:
        placed = {
            (model.name, slot): self.placements[key]
            for model, slot, _ in components_once(self.plan.models)
            if (key := key_of(model, slot)) in self.placements
        }
        self.keep(Recoveries(tuple(self.made), placed))

    def _take(self, use: ModelComponents, slot: str, rung: Rung) -> bool:
        """Whether there was room for changing to a smaller placement; else a still smaller one may do."""
        try:
            with as_shortage():
                use.place(slot, rung.placement)
        except torch.OutOfMemoryError as error:
            let_go(error)
        else:
            return True
        give_back()
        return False


def _in_use(
    components: Sequence[ModelComponents], slot: str
) -> Iterator[tuple[ModelComponents, str]]:
    """What may become smaller, the latest used first."""
    if slot:
        yield components[-1], slot
    for use in reversed(components):
        for name in use.in_use:
            yield use, name
