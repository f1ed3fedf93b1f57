"""Keeping what was made until it is safe: a run that is cut short loses neither its steps nor its latents."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.contract.events import Listener, Note
from wan_core.engine.identity import differences
from wan_core.engine.recoveries import Recoveries, read_recoveries
from wan_core.engine.safely import read_tensors, write_tensors
from wan_core.engine.unfinished import CARD, RUN, Card, Taken, is_own, locked
from wan_core.weights.safetensors_header import Header, read_header

if TYPE_CHECKING:
    from torch import Tensor


MOST_KEPT = 20
"""Runs whose results are kept; older ones make room."""

SHARE = 0.02
"""Of the time of a run, what writing states after its steps may take."""

MOST_CARDS = 1000
"""Runs of which nothing is left but what they are: as many as a sweep has."""

ALLOWANCE = 16 * 2**20


class Keepsakes:
    """A folder for what one run has made: states of sampling, and results of stages.

    It is there from the run's beginning, so that a process that is killed leaves it, and goes when the run has
    succeeded or there is nothing to lose. Its lock says that the run is going on. Trouble with the folder
    never stops a run: it is told as a note.

    Args:
        card: what the folder says of the run.
        taken: the run that goes on. From one with another plan only the results of stages are taken.
    """

    def __init__(self, cache: Path, emit: Listener, card: Card, taken: Taken | None = None) -> None:
        self._runs = cache / "runs"
        self._emit = emit
        self._card = card
        self._lock = taken.lock if taken else None
        self._going_on = taken is not None
        self._same = taken is not None and taken.run.card.plan == card.plan
        self._own = taken is None or self._same
        before = taken.run.card.facts if taken else card.facts
        self._difference = differences(before, card.facts)
        self._told: set[str] = set()
        self._last, self._cost = 0.0, 0.0
        self.folder: Path | None = taken.run.path if taken else None

    @property
    def continued(self) -> Path | None:
        """The folder with the states that the run goes on from, if it goes on from any."""
        return self.folder if self._same else None

    def open(self) -> None:
        """Make the folder, unless the run goes on in one."""
        if self._difference:
            self.tell(f"what is kept was made by another plan: {self._difference}")
        if self.folder:
            return
        try:
            self.folder = self._new_folder()
            self._lock = locked(self.folder)
            self._card.write(self.folder)
        except OSError as error:
            self._tell_once(
                "folder", f"this run can't be gone on with should it be cut short ({error})"
            )

    def keep(self, stage: str, tensors: Mapping[str, Tensor]) -> Path | None:
        """Write a stage's tensors to ``<folder>/<stage>.safetensors``, whole or not at all."""
        if self.folder is None:
            return None
        path = self.folder / f"{stage}.safetensors"
        try:
            write_tensors(path, tensors)
        except OSError as error:
            self._tell_once(stage, f"the latents of {stage} could not be kept ({error})")
            return None
        return path

    def kept(self, stage: str, shapes: Mapping[str, Sequence[int]]) -> Mapping[str, Tensor] | None:
        """What :meth:`keep` has written for a stage before the run was cut short.

        Args:
            shapes: name -> shape of the float32 tensors that are expected; anything else is left alone.

        Raises:
            WeightsError: they are all that is wanted of the run, and can't be used.
        """
        if not (self._going_on and self.folder):
            return None

        def fits(header: Header) -> bool:
            found = {n: (info.dtype, tuple(info.shape)) for n, info in header.tensors.items()}
            return found == {name: ("F32", tuple(shape)) for name, shape in shapes.items()}

        path = self.folder / f"{stage}.safetensors"
        if not os.path.lexists(path):
            return None
        try:
            _check_own(path)
            tensors = read_tensors(path, fits=fits)
        except WeightsError as error:
            if not self._same:
                raise
            self.tell(f"the kept latents of {stage} are of no use ({error.problem})")
            return None
        self.tell(f"the latents of {stage} are kept already", level="info")
        return tensors

    def keep_recoveries(self, recoveries: Recoveries) -> None:
        """Write what the run has recovered from; what another plan made stays as that has left it."""
        if self.folder is None or not self._own:
            return
        try:
            recoveries.write(self.folder)
        except OSError as error:
            self._tell_once("recoveries", f"how it has recovered could not be kept ({error})")

    def recoveries(self) -> Recoveries:
        """What the run had recovered from before it was cut short."""
        if not (self._going_on and self.folder):
            return Recoveries()
        try:
            found = read_recoveries(self.folder)
        except WeightsError as error:
            self.tell(f"how the run has recovered before is forgotten ({error.problem})")
            return Recoveries()
        return found if self._same else found.of_latents()

    def repeat(self) -> None:
        """A stage is repeated within the run: what it has stored serves it, unless another plan made it."""
        if self._own:
            self._going_on = self._same = True

    def states(self, stage: str, state_bytes: int) -> States:
        """Where the states of a stage's sampling are kept.

        Args:
            state_bytes: of its mutable states, as planned.
        """
        return States(self, stage, 2 * state_bytes + ALLOWANCE)

    def store(self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Write a state, whole or not at all."""
        if self.folder is None:
            return
        start = time.monotonic()
        try:
            write_tensors(self.folder / name, tensors, metadata)
        except OSError as error:
            self._tell_once("states", f"the state of sampling could not be kept ({error})")
        self._last = time.monotonic()
        self._cost = self._last - start

    def is_due(self) -> bool:
        """Whether another state may be written without taking more than its share of the time."""
        return (time.monotonic() - self._last) * SHARE >= self._cost

    def tell(self, text: str, *, level: str = "warning") -> None:
        """Say something to the user."""
        self._emit(Note(text, level))

    def finished(self, outputs: Sequence[Path]) -> None:
        """The run is over, the sweep that it belongs to is not: what is left says what it has written."""
        if self.folder is None:
            return
        self._card = attrs.evolve(self._card, outputs=tuple(map(str, outputs)))
        try:
            self._card.write(self.folder)
            for one in self.folder.glob("*.safetensors"):
                one.unlink(missing_ok=True)
        except OSError:
            self.discard()
        self.close()

    def discard(self) -> None:
        """Nothing needs keeping any more."""
        if self.folder:
            # a process that is killed on the way leaves no run that could go on
            with suppress(OSError):
                (self.folder / CARD).unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None
        self.close()

    def close(self) -> None:
        """Let go of the folder: others may go on in it, unless there is nothing in it."""
        if self.folder and not self._card.outputs and not _holds_tensors(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
        if self._lock:
            self._lock.release()
        self._lock = None

    def __str__(self) -> str:
        if not self.folder or not _holds_tensors(self.folder):
            return ""
        if command := self._card.command:
            return f"{command} goes on where it was"
        return f"what it has made is kept in {self.folder}"

    def _tell_once(self, about: str, text: str) -> None:
        if about not in self._told:
            self._told.add(about)
            self.tell(text)

    def _new_folder(self) -> Path:
        self._runs.mkdir(parents=True, exist_ok=True)
        old = sorted(one for one in self._runs.iterdir() if RUN.fullmatch(one.name))
        kept = [one for one in old if _holds_tensors(one)]
        cards = [one for one in old if one not in kept]
        for one in (*kept[: -MOST_KEPT + 1], *cards[: -MOST_CARDS + 1]):
            if (lock := locked(one)) is not None:  # else it is still going on
                shutil.rmtree(one, ignore_errors=True)
                lock.release()
        stamp = time.strftime("%Y%m%d-%H%M%S-")
        return Path(tempfile.mkdtemp(prefix=stamp, dir=self._runs))


@attrs.define(eq=False)
class States:
    """States of one stage's sampling, two of each call: when one is spoilt the other serves.

    This is the :class:`wan_core.sampling.Store` of a stage.
    """

    keepsakes: Keepsakes
    stage: str
    allowance: int
    _next: dict[int, int] = attrs.field(factory=dict, init=False)

    def stored(self, call: int, most: int) -> Iterator[Mapping[str, Tensor]]:
        """What is kept of a call, newest first."""
        found: list[tuple[int, int, Path]] = []
        for generation, path in enumerate(self._paths(call)):
            if os.path.lexists(path):
                with self._told():
                    _check_own(path)
                    found.append((int(read_header(path).metadata["step"]), generation, path))
        for _, generation, path in sorted(found, reverse=True):
            tensors: Mapping[str, Tensor] | None = None
            with self._told():
                tensors = read_tensors(path, most=most + self.allowance)
            if tensors is not None:
                self._next[call] = 1 - generation
                yield tensors

    def is_due(self) -> bool:
        """Whether it is time to keep the next state."""
        return self.keepsakes.is_due()

    def store(self, call: int, stored: Mapping[str, Tensor], step: int, steps: int) -> None:
        """Keep the state after a step in the place of the last but one."""
        generation = self._next.get(call, 0)
        self._next[call] = 1 - generation
        name = self._name(call, generation)
        self.keepsakes.store(name, stored, {"step": str(step), "steps": str(steps)})

    def tell(self, text: str, *, level: str = "warning") -> None:
        """Say something of this stage."""
        self.keepsakes.tell(f"{self.stage}: {text}", level=level)

    def _paths(self, call: int) -> list[Path]:
        folder = self.keepsakes.continued
        return [folder / self._name(call, n) for n in range(2)] if folder else []

    def _name(self, call: int, generation: int) -> str:
        return f"{self.stage}.{call}-{generation}.safetensors"

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (WeightsError, KeyError, ValueError) as error:
            why = error.problem if isinstance(error, WeightsError) else "it is damaged"
            self.tell(f"a kept state of sampling can't be used ({why})")


def _check_own(path: Path) -> None:
    """Refuse what :func:`is_own` refuses, before it is opened.

    Raises:
        WeightsError: it does.
    """
    if not is_own(path):
        raise WeightsError("is no plain file", where=path.name)


def _holds_tensors(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))
