"""The time left of a whole run: what was predicted, corrected by what has turned out so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen
class Running:
    """A running task as the forecast sees it.

    Attributes:
        name: ``"stage / task"``.
        elapsed: seconds since it started.
        share: how much of it is done, 0 … 1; 0 while that isn't known.
        took: seconds that this share took.
        left: seconds left by its own pace; None while there is none.
    """

    name: str
    elapsed: float
    share: float = 0.0
    took: float = 0.0
    left: float | None = None


@attrs.define
class Forecast:
    """Predicted seconds by ``"stage / task"`` in the order of the run, and what became of them.

    A run counts as predicted when every stage has a predicted task: half a forecast would be told as if
    it were whole.
    """

    predicted: Mapping[str, float] = attrs.field(factory=dict)
    _to_come: list[str] = attrs.field(factory=list, init=False)
    _spent: dict[str, float] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, predicted: Mapping[str, float], stages: Sequence[str]) -> Forecast:
        """The forecast of a run with these stages; an empty one where a stage is not predicted."""
        known = {name.partition(" / ")[0] for name in predicted}
        return cls(predicted if known >= set(stages) else {})

    def __attrs_post_init__(self) -> None:
        self._to_come = list(self.predicted)

    @property
    def total(self) -> float:
        """What was predicted for the whole run, in seconds; 0 without a prediction."""
        return sum(self.predicted.values())

    def started(self, name: str) -> None:
        """A task starts; predicted ones before it that never did were not needed."""
        if name in self._to_come:
            del self._to_come[: self._to_come.index(name) + 1]

    def finished(self, name: str, seconds: float) -> None:
        """A task is over."""
        if name in self.predicted:
            self._spent[name] = self._spent.get(name, 0.0) + seconds

    def factor(self, running: Sequence[Running] = ()) -> float:
        """Real by predicted seconds, of what is done.

        What is still to come counts as if it had been predicted rightly, so that a first small task
        (a file that was in the cache) says little about the long ones.
        """
        now = [one for one in running if one.name in self.predicted]
        predicted = sum(self.predicted[name] for name in self._spent)
        predicted += sum(self.predicted[one.name] * one.share for one in now)
        real = sum(self._spent.values()) + sum(one.took for one in now)
        open_ = sum(self.predicted[name] for name in self._to_come)
        open_ += sum(self.predicted[one.name] * (1 - one.share) for one in now)
        return (real + open_) / (predicted + open_) if predicted + open_ > 0 else 1.0

    def seconds_left(self, running: Sequence[Running] = ()) -> float | None:
        """Seconds until the end of the run; None where they aren't known.

        A running task counts by its own pace, before there is one by its prediction. Tasks that were
        not predicted run inside others, or are short.
        """
        now = [one for one in running if one.name in self.predicted]
        if not (now or self._to_come):
            return None
        factor = self.factor(running)
        left = factor * sum(self.predicted[name] for name in self._to_come)
        for one in now:
            expected = factor * self.predicted[one.name] - one.elapsed
            left += max(0.0, expected) if one.left is None else one.left
        return left
