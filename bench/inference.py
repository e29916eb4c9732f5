"""One metric's samples of two results: which test they get, its p, and the shift with its interval.

Which test is decided by what was planned, never by what the samples look like, or the better one
of several would be picked:

- *several bring-ups of both sides*: the bring-up is the replicate. Interleaved, each gives the
  middle (:func:`bench.stats.middle`) of its pairs (b less a, of the same round and slice), and
  Student's t is over them. Not interleaved, each gives its middle, and Welch's t is over the two
  sets. What comes out holds for further bring-ups.
- *one bring-up, interleaved in slices*: a bootstrap over blocks of neighbouring slices, since what
  disturbs one slice disturbs the next.
- *one bring-up, rounds only*: rank tests. Rounds that are shared are tested by pairs as soon as
  their number lets a signed-rank test reach the corrected level (11 rounds for 45 metrics: pairs
  have only two ways to fall). With fewer, and for separate runs, Mann–Whitney's test serves; on
  interleaved rounds it is valid too and errs on the safe side, since a drift that both sides share
  adds to the spread within them and not to the difference between them.

Medians of latencies (``rtt_p50``) are compared by what operations take that nothing disturbs: the
10th percentile of each slice, and of a side's slices the lower half. A shared host has two states,
each for milliseconds to seconds: in one an operation took 20 to 40 µs, in the other 48 µs more,
whatever the operation and the side. Medians tell mostly how long the other state lasted. From some
seconds of turns to the next, differences of medians changed by 5 % (round trips), 3 % (requests)
and 12 % (connections), those of undisturbed operations by 1, 1 and 3 to 4 %. What slows down most
of a side's operations is in both; what slows down a few is in the higher percentiles. Likewise the
CPU time of an operation: the lower half of a side's slices, those in which agents did nothing else
(by the middle of pairs one comparison came out at ± 3 % in one matrix and ± 8 % in the next, by the
lower halves at ± 0.4 and 1.5 %).

The last two hold for this bring-up alone (``scope``): what a bring-up fixes by chance is in all of
its samples, and in no interval.

Differences are taken of logarithms, so that they are ratios: a machine that is slower for an hour
is slower for all that a side does. In one matrix connections to a Service took 69 µs in one
bring-up and 130 in another, and the overlay's 2.6 to 3.0 times as long in each. Transfers were
compared by the time that is added to each MB, for a while, since in one matrix an overlay had added
the same to transfers of 4.4 and of 7.0 ms. In three others ratios varied less from one bring-up to
the next: ± 1.0 to 2.1 % in place of 1.8 to 4.7 in two, ± 2.9 to 5.7 in place of 3.5 to 7.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from bench import stats
from bench.results import MetricResult, Place, grouped

Test = Literal["t", "welch", "bootstrap", "mann-whitney", "signed-rank"]
Scaled = Mapping[Place, float]

_BLOCK = 4
"""Slices, some 200 ms."""
_LEVEL = stats.TARGET_LEVEL
_FARTHEST = 1e6
"""In %: an interval over few bring-ups at a strict level may reach beyond a float's range."""


@dataclass(frozen=True)
class Samples:
    """One metric's samples of both sides, on the scale on which their shift is estimated.

    On the scale ``ratio`` they are natural logarithms. Where a sample is 0 (losses, errors) it has
    none, and samples are ``plain``. ``undisturbed``: they are of operations that nothing disturbed.
    """

    a: Scaled
    b: Scaled
    scale: Literal["ratio", "plain"]
    undisturbed: bool = False

    @cached_property
    def pairs(self) -> Scaled:
        """The differences b - a, where both sides have a sample."""
        return {place: self.b[place] - value for place, value in self.a.items() if place in self.b}

    @property
    def sliced(self) -> bool:
        """Rounds of both sides have slices."""
        return all(place.slice for place in (*self.a, *self.b))

    @property
    def constant(self) -> bool:
        """No sample differs from any other, so no test could tell the sides apart."""
        return len({*self.a.values(), *self.b.values()}) == 1

    def of_bring_up(self, values: Sequence[float]) -> float:
        """What one side's slices or rounds of a bring-up amount to."""
        return stats.lower_half(values) if self.undisturbed else stats.middle(values)

    def typical(self) -> float:
        """What all of a's samples amount to, in the metric's unit."""
        value = self.of_bring_up(list(self.a.values()))
        return math.exp(value) if self.scale == "ratio" else value

    def shifts(self) -> list[float]:
        """How much b lies above a, by bring-up, where both take turns."""
        if not self.undisturbed:
            return [stats.middle(each) for each in _by_bring_up(self.pairs)]
        a, b = (
            grouped({place: side[place] for place in self.pairs}, lambda place: place.bring_up)
            for side in (self.a, self.b)
        )
        return [self.of_bring_up(b[each]) - self.of_bring_up(values) for each, values in a.items()]

    def share(self, shift: float) -> float:
        """A shift or spread on this scale in % of a, or as it is where that is plain."""
        if self.scale == "plain":
            return shift
        return min(_FARTHEST, 100 * math.expm1(min(shift, math.log(_FARTHEST))))


def _by_bring_up(values: Scaled) -> list[list[float]]:
    """The values of each bring-up that has any."""
    return list(grouped(values, lambda place: place.bring_up).values())


def _by_round(values: Scaled) -> dict[tuple[int, int], float]:
    """The median of each round."""
    rounds = grouped(values, lambda place: (place.bring_up, place.round))
    return {round_: float(np.median(each)) for round_, each in rounds.items()}


def samples_of(a: Mapping[str, MetricResult], b: Mapping[str, MetricResult], name: str) -> Samples:
    """Put side by side what decides differences of a metric.

    :param a: one side's results by metric.
    """
    decider = a[name].decided_by
    if decider and decider in a and decider in b and decider == b[name].decided_by:
        return _samples(a[decider], b[decider], undisturbed=True)
    return _samples(a[name], b[name], undisturbed=False)


def _samples(a: MetricResult, b: MetricResult, *, undisturbed: bool) -> Samples:
    scaled: Callable[[float], float] = float
    scale: Literal["ratio", "plain"] = "plain"
    if all(value > 0 for value in (*a.samples, *b.samples)):
        scaled, scale = math.log, "ratio"
    first, second = (
        {place: scaled(value) for place, value in side.by_place().items()} for side in (a, b)
    )
    return Samples(first, second, scale, undisturbed)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a metric's test says; shifts and spreads are on the samples' scale.

    ``upwards``: b's samples are the larger ones, on that scale.
    """

    samples: Samples
    test: Test
    n: tuple[int, int]
    p: float
    upwards: bool
    smallest_p: float
    """The smallest that it could have had with so many samples."""
    shift: stats.Shift
    smallest: float | None
    within: float | None
    between: float | None = None

    def share(self, spread: float | None) -> float | None:
        """As :meth:`Samples.share`."""
        return None if spread is None else self.samples.share(spread)


def outcome_of(samples: Samples, level: float, *, several: bool, interleaved: bool) -> Outcome:
    if several and interleaved and samples.pairs:
        return _by_bring_ups(samples, level)
    if several:
        return _by_sets_of_bring_ups(samples, level)
    if interleaved and samples.sliced and samples.pairs:
        return _by_slices(samples, level)
    return _by_rounds(samples, level, interleaved=interleaved)


def _by_bring_ups(samples: Samples, level: float) -> Outcome:
    within = _by_bring_up(samples.pairs)
    effects = samples.shifts()
    found = stats.mean_shift(effects, _LEVEL)
    between = _spread(effects)
    n = len(effects)
    return Outcome(
        samples=samples,
        test="t",
        n=(n, n),
        p=found.p,
        upwards=found.shift.value > 0,
        smallest_p=0.0 if n > 1 else 1.0,
        shift=found.shift,
        smallest=_times(stats.detectable_by_t(n, level), between),
        within=_spread(*within),
        between=between,
    )


def _by_sets_of_bring_ups(samples: Samples, level: float) -> Outcome:
    within_a, within_b = _by_bring_up(samples.a), _by_bring_up(samples.b)
    a, b = ([samples.of_bring_up(each) for each in side] for side in (within_a, within_b))
    found = stats.difference_of_means(a, b, _LEVEL)
    between = _spread(a, b)
    return Outcome(
        samples=samples,
        test="welch",
        n=(len(a), len(b)),
        p=found.p,
        upwards=found.shift.value > 0,
        smallest_p=0.0 if min(len(a), len(b)) > 1 else 1.0,
        shift=found.shift,
        smallest=_times(stats.detectable_by_welch(len(a), len(b), level), between),
        within=_spread(*within_a, *within_b),
        between=between,
    )


def _by_slices(samples: Samples, level: float) -> Outcome:
    blocks = grouped(samples.pairs, lambda place: (place.round, (place.slice - 1) // _BLOCK))
    pairs = [stats.middle(each) for each in blocks.values()]
    found = stats.bootstrapped_shift(pairs, _LEVEL)
    return Outcome(
        samples=samples,
        test="bootstrap",
        n=(len(pairs), len(pairs)),
        p=found.p,
        upwards=found.shift.value > 0,
        smallest_p=stats.smallest_paired_p(len(pairs)),
        shift=found.shift,
        smallest=_times(stats.detectable_by_bootstrap(len(pairs), level), found.error),
        within=_spread(list(samples.pairs.values())),
    )


def _by_rounds(samples: Samples, level: float, *, interleaved: bool) -> Outcome:
    """By ranks of rounds; of slices, a round has their median."""
    a, b = _by_round(samples.a), _by_round(samples.b)
    pairs = [b[round_] - value for round_, value in a.items() if round_ in b]
    if interleaved and len(pairs) > 1 and stats.smallest_paired_p(len(pairs)) <= level:
        test: Test = "signed-rank"
        sides: tuple[Sequence[float], ...] = (pairs,)
        ranks, shift = stats.signed_rank(pairs), stats.shift_of_pairs(pairs, _LEVEL)
        smallest_p = stats.smallest_paired_p(len(pairs))
        needed = stats.detectable_by_pairs(len(pairs), level)
    else:
        test = "mann-whitney"
        sides = (list(a.values()), list(b.values()))
        ranks, shift = stats.mann_whitney(*sides), stats.shift_between(*sides, _LEVEL)
        smallest_p = stats.smallest_p(len(a), len(b))
        needed = stats.detectable(len(a), len(b), level)
    spread = _spread(*sides)
    return Outcome(
        samples=samples,
        test=test,
        n=(len(a), len(b)),
        p=ranks.p,
        upwards=ranks.superiority > 0.5,
        smallest_p=smallest_p,
        shift=shift,
        smallest=_times(needed, spread),
        within=spread,
    )


def _spread(*sides: Sequence[float]) -> float | None:
    """The standard deviation within the sides; None where none has two values."""
    if all(len(side) < 2 for side in sides):
        return None
    return stats.pooled_deviation(*sides)


def _times(deviations: float | None, spread: float | None) -> float | None:
    return None if deviations is None or spread is None else deviations * spread
