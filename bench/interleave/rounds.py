"""The rounds: in which order the sides follow each other, and the loop over their samples.

Within a round the sides are measured probe by probe, one right after the other, so that a drift of
the machine, which moves over minutes, meets all sides alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.interleave.sides import Entry, Side, assemble
from bench.plan import Plan
from bench.probes.base import Probe
from bench.results import Results, SharedRounds
from bench.sampling import BOUND_REASON, Outcome, sample

Order = tuple[tuple[str, ...], ...]
"""The sides' labels for every round."""

_AROUND_SECONDS = 0.5
"""What a probe takes beyond its planned time, as long as none has been timed."""
_HOPELESS = 10
"""A side with so many samples in a row without a number is given up."""


@dataclass(frozen=True, slots=True)
class Step:
    """One sample that begins (``outcome`` is None) or has ended.

    ``done`` of ``total`` samples have ended; ``seconds_left`` is what the others are expected to
    take.
    """

    round: int
    rounds: int
    label: str
    probe: Probe
    done: int
    total: int
    seconds_left: float
    outcome: Outcome | None = None

    def said(self) -> str:
        """What came out, in a few words."""
        if self.outcome is None:
            return "…"
        if self.outcome.reading is None:
            return f"missing: {self.outcome.failures[-1]}"
        failed = len(self.outcome.failures)
        again = f" (after {failed} failed)" if failed else ""
        return self.probe.summary(self.outcome.reading) + again


Keep = Callable[[Entry], None]
Watch = Callable[[Step], None]


def abba(labels: Sequence[str], rounds: int) -> Order:
    """Every other round the other way round, so that neither a drift nor the place within the
    round favours one of two sides."""
    there, back = tuple(labels), tuple(reversed(labels))
    return tuple(back if round_ % 2 else there for round_ in range(rounds))


def shuffled(labels: Sequence[str], rounds: int, seed: int) -> Order:
    """Every round in an order of its own, by chance: the same for the same seed."""
    chance = random.Random(seed)
    return tuple(tuple(chance.sample(list(labels), len(labels))) for _ in range(rounds))


def interleave(
    sides: Sequence[Side],
    plan: Plan,
    order: Order,
    *,
    known: Iterable[Entry] = (),
    keep: Keep = lambda entry: None,
    watch: Watch = lambda step: None,
    shared: SharedRounds | None = None,
    least: int = 0,
    end: float = math.inf,
) -> dict[str, Results]:
    """Measure every side in every round; results by label.

    Samples are tried again as in any benchmark. A metric without any sample is an error in its
    side's results. A side with ten of them in a row is given up, and the others go on.

    :param order: the sides' labels for every round; more than are ``sides`` are passed over.
    :param known: samples of an earlier part of the same rounds, which are not taken again; but for
        those that are missing for want of time.
    :param keep: gets every sample as soon as it is finished.
    :param watch: gets every sample's begin and end.
    :param shared: what these rounds are called, for the results.
    :param end: when the last round is over (of the clock's ``monotonic``), if there have been
        ``least`` rounds by then.
    """
    rounds = _Rounds({side.label: side for side in sides}, plan, order, known)
    clock = sides[0].bench.clock
    longest, finished = 0.0, 0
    for number in range(1, len(order) + 1):
        start = clock.monotonic()
        if number > least and start + longest > end:
            break
        for side, probe in rounds.left_of(number):
            watch(rounds.step(number, side, probe))
            began = clock.monotonic()
            with side.imposed():
                outcome = sample(probe, side.bench, attempts=plan.attempts)
            entry = Entry(number, side.label, probe.name, outcome, clock.monotonic() - began)
            rounds.add(entry)
            keep(entry)
            watch(rounds.step(number, side, probe, entry))
        longest = max(longest, clock.monotonic() - start)
        finished = number
    return {
        side.label: assemble(side, rounds.entries_of(side.label), finished, plan, shared)
        for side in sides
    }


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a sample belongs."""

    round: int
    label: str
    probe: str


class _Rounds:
    """What has been sampled and what is left."""

    def __init__(
        self, sides: dict[str, Side], plan: Plan, order: Order, known: Iterable[Entry]
    ) -> None:
        self._sides = sides
        self._order = order
        self._probes = {
            label: {probe.name: probe for probe in side.probes} for label, side in sides.items()
        }
        self._names = tuple(dict.fromkeys(name for each in self._probes.values() for name in each))
        self._made: dict[_Place, Entry] = {}
        self._took: dict[str, tuple[int, float]] = {}
        self._failed = dict.fromkeys(sides, 0)
        for entry in known:
            if entry.label in sides and not _late(entry.outcome):
                self.add(entry)

    def add(self, entry: Entry) -> None:
        self._made[_Place(entry.round, entry.label, entry.probe)] = entry
        count, seconds = self._took.get(entry.probe, (0, 0.0))
        self._took[entry.probe] = (count + 1, seconds + entry.seconds)
        if entry.outcome.reading is not None:
            self._failed[entry.label] = 0
        # Once the time is over there is nothing to be saved, and that reason is to be told.
        elif not _late(entry.outcome):
            self._failed[entry.label] += 1

    def entries_of(self, label: str) -> list[Entry]:
        return [entry for place, entry in self._made.items() if place.label == label]

    def left_of(self, number: int) -> Iterator[tuple[Side, Probe]]:
        """The samples of a round that are still to be taken, in order."""
        for place in self._places(number):
            if place not in self._made:
                yield self._sides[place.label], self._probes[place.label][place.probe]

    def _places(self, number: int) -> Iterator[_Place]:
        for name in self._names:
            for label in self._order[number - 1]:
                if name in self._probes.get(label, {}) and self._failed[label] < _HOPELESS:
                    yield _Place(number, label, name)

    def step(self, number: int, side: Side, probe: Probe, entry: Entry | None = None) -> Step:
        left = [
            place
            for later in range(number, len(self._order) + 1)
            for place in self._places(later)
            if place not in self._made
        ]
        return Step(
            round=number,
            rounds=len(self._order),
            label=side.label,
            probe=probe,
            done=len(self._made),
            total=len(self._made) + len(left),
            seconds_left=sum(map(self._expected, left)),
            outcome=entry.outcome if entry else None,
        )

    def _expected(self, place: _Place) -> float:
        if took := self._took.get(place.probe):
            count, seconds = took
            return seconds / count
        return self._probes[place.label][place.probe].seconds + _AROUND_SECONDS


def _late(outcome: Outcome) -> bool:
    """Missing only because the time was over."""
    return outcome.reading is None and outcome.failures[-1] == BOUND_REASON
