"""A/A: the same scenario against itself, and how often it is found to differ.

What is shown, and by what
--------------------------
*As scheduled.* The rounds are cut into comparisons of the default size, one after the other, with
the labels that they had when they were measured. A fault of the instrument (an order effect, a
carry-over, a drift that interleaving does not cancel) would show here. The independent units are
few: one comparison of one probe, since a probe's metrics are read off the same runs. Intervals are
Clopper & Pearson's for that many units.

*Relabelled.* Comparisons are drawn from the same rounds: which rounds of either side, and which of
them is called a, is left to chance. That cannot show a fault of the instrument, since chance made
the labels; it shows that test, correction and verdicts together keep their 5 % on samples as they
really are: skewed, tied, missing, and correlated between metrics. (All ways to part the drawn
rounds are alike, which is what Mann–Whitney's test assumes. To swap sides within rounds only would
not do: the share of false verdicts would then vary from one set of rounds to the next.)

*One after the other*, for contrast: the first rounds of one side against its last ones, which is
how scenarios are compared when their rounds are not interleaved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from bench.compare import ALPHA, DEFAULT_ROUNDS, Comparison, compare
from bench.results import MetricResult, Results
from bench.text import number
from studies.validate.model import Check, FalseAlarms, Shift
from studies.validate.readings import MissingSampleError, with_samples

STRICT = 0.01
"""Level of the one comparison over all rounds: at 5 %, one validation in twenty would fail."""

_DRAWN = 1_000
_SEED = 11
_LIMIT = 100 * ALPHA


@dataclass(frozen=True)
class Rounds:
    """Two equal sides of interleaved rounds."""

    a: Results
    b: Results

    @property
    def count(self) -> int:
        """Rounds of each side."""
        return int(self.a.plan["runs"])

    def paired(self, rounds: Sequence[int]) -> tuple[Results, Results]:
        """Both sides of some rounds (1 …); a sample whose counterpart is missing is left out."""
        first: dict[str, list[float]] = {}
        second: dict[str, list[float]] = {}
        for name, (a, b) in self._by_round.items():
            shared = [each for each in rounds if each in a and each in b]
            first[name] = [a[each] for each in shared]
            second[name] = [b[each] for each in shared]
        return with_samples(self.a, first), with_samples(self.b, second)

    def drawn(self, places: Sequence[int]) -> Results:
        """A side made of rounds of either: places 0 … are those of a, then those of b."""
        samples = {}
        for name, sides in self._by_round.items():
            runs = [divmod(place, self.count) for place in places]
            found = (sides[side].get(place + 1) for side, place in runs)
            samples[name] = [value for value in found if value is not None]
        return with_samples(self.a, samples)

    def blocks(self, size: int) -> list[tuple[Results, Results]]:
        """Comparisons of ``size`` rounds, one after the other, as they were measured."""
        starts = range(1, self.count - size + 2, size)
        return [self.paired(range(start, start + size)) for start in starts]

    @cached_property
    def _by_round(self) -> dict[str, tuple[dict[int, float], dict[int, float]]]:
        """Both sides' samples of one bring-up by round."""
        shared = (name for name in self.a.metrics if name in self.b.metrics)
        return {n: (_by_round(self.a.metrics[n]), _by_round(self.b.metrics[n])) for n in shared}


def _by_round(metric: MetricResult) -> dict[int, float]:
    return {place.round: value for place, value in metric.by_place().items()}


def analyse(rounds: Rounds) -> tuple[list[Check], FalseAlarms]:
    """All checks of A/A, and what the page shows of it.

    :raises MissingSampleError: fewer rounds than one comparison has, or none with samples.
    """
    if rounds.count < DEFAULT_ROUNDS:
        raise MissingSampleError(f"A/A needs {DEFAULT_ROUNDS} rounds, got {rounds.count}")
    blocks = rounds.blocks(DEFAULT_ROUNDS)
    scheduled = [compare(*block, interleaved=True) for block in blocks]
    whole = compare(rounds.a, rounds.b, interleaved=True, alpha=STRICT)
    p_values = [p for found in scheduled for p in _tested(found).values()]
    if not p_values:
        raise MissingSampleError("no metric has samples of both sides that differ at all")
    checks = [
        _verdicts(scheduled, rounds),
        _uncorrected(scheduled, rounds),
        _over_all(whole),
        _relabelled(rounds),
    ]
    shifts = [
        Shift(
            metric=name,
            unit=metric.unit,
            relative=metric.effect.relative,
            value=metric.effect.value,
            low=metric.effect.low,
            high=metric.effect.high,
            p=metric.p,
            smallest=scheduled[-1].metrics[name].smallest
            if name in scheduled[-1].metrics
            else None,
        )
        for name, metric in whole.metrics.items()
    ]
    return checks, FalseAlarms(rounds=rounds.count, p_values=p_values, shifts=shifts)


def _alarms(found: Comparison) -> list[str]:
    return found.verdicts("better", "worse")


def _tested(found: Comparison) -> dict[str, float]:
    """Uncorrected p-values of the metrics that could differ at all (not all samples equal)."""
    return {n: m.p for n, m in found.metrics.items() if m.smallest is not None}


def _units(scheduled: Sequence[Comparison], rounds: Rounds) -> int:
    probes = {metric.probe for metric in rounds.a.metrics.values()}
    return len(scheduled) * len(probes)


def binomial_interval(share: float, units: int) -> tuple[float, float]:
    """Clopper & Pearson's 95 % interval of a share (0 to 1) seen in independent units, in %."""
    interval = stats.binomtest(round(share * units), units).proportion_ci(0.95, "exact")
    return 100 * float(interval.low), 100 * float(interval.high)


def _verdicts(scheduled: Sequence[Comparison], rounds: Rounds) -> Check:
    verdicts = sum(len(found.metrics) for found in scheduled)
    false = [name for found in scheduled for name in _alarms(found)]
    share = len(false) / verdicts
    low, high = binomial_interval(share, _units(scheduled, rounds))
    sequential = _alarms(_one_after_the_other(rounds.a))
    return Check(
        part="A/A",
        name="false verdicts, as scheduled",
        expectation=f"at most {_LIMIT:.0f} % of verdicts",
        measured=f"{len(false)} of {verdicts} in {len(scheduled)} comparisons of "
        f"{DEFAULT_ROUNDS} rounds" + (f": {', '.join(false)}" if false else ""),
        interval=f"{number(low)} to {number(high)} % "
        f"({_units(scheduled, rounds)} independent units: probes in comparisons)",
        passed=100 * share <= _LIMIT,
        remarks=[
            f"The first {DEFAULT_ROUNDS} rounds of one side against its last, not interleaved: "
            f"{len(sequential)} false verdicts"
            + (f" ({', '.join(sequential)})" if sequential else "")
        ],
    )


def _one_after_the_other(side: Results) -> Comparison:
    samples = {name: metric.samples for name, metric in side.metrics.items()}
    first = {name: values[:DEFAULT_ROUNDS] for name, values in samples.items()}
    last = {name: values[-DEFAULT_ROUNDS:] for name, values in samples.items()}
    return compare(with_samples(side, first), with_samples(side, last))


def _uncorrected(scheduled: Sequence[Comparison], rounds: Rounds) -> Check:
    p_values = [p for found in scheduled for p in _tested(found).values()]
    hits = sum(p <= ALPHA for p in p_values)
    share = hits / len(p_values)
    low, high = binomial_interval(share, _units(scheduled, rounds))
    return Check(
        part="A/A",
        name="p-values of 0.05 or less before the correction, as scheduled",
        expectation=f"{_LIMIT:.0f} % or fewer (not significantly more)",
        measured=f"{number(100 * share)} % ({hits} of {len(p_values)})",
        interval=f"{number(low)} to {number(high)} %",
        passed=low <= _LIMIT,
    )


def _over_all(whole: Comparison) -> Check:
    false = _alarms(whole)
    rounds = max(metric.n[0] for metric in whole.metrics.values())
    lowest = min(whole.metrics, key=lambda name: whole.metrics[name].corrected)
    return Check(
        part="A/A",
        name=f"one comparison of all {rounds} rounds",
        expectation=f"no verdict at level {STRICT}",
        measured=f"{len(false)} verdicts" + (f": {', '.join(false)}" if false else ""),
        interval=f"smallest corrected p {whole.metrics[lowest].corrected:.3f} ({lowest})",
        passed=not false,
    )


def _relabelled(rounds: Rounds) -> Check:
    draw = np.random.default_rng(_SEED)
    false = 0
    for _ in range(_DRAWN):
        places = draw.choice(2 * rounds.count, 2 * DEFAULT_ROUNDS, replace=False).tolist()
        sides = (rounds.drawn(places[:DEFAULT_ROUNDS]), rounds.drawn(places[DEFAULT_ROUNDS:]))
        false += bool(_alarms(compare(*sides)))
    low, high = binomial_interval(false / _DRAWN, _DRAWN)
    return Check(
        part="A/A",
        name="comparisons with any false verdict, relabelled at random",
        expectation=f"{_LIMIT:.0f} % of comparisons or fewer (not significantly more)",
        measured=f"{number(100 * false / _DRAWN)} % ({false} of {_DRAWN:,} drawn)",
        interval=f"{number(low)} to {number(high)} % (of the drawing; all are drawn from the same "
        f"{rounds.count} rounds)",
        passed=low <= _LIMIT,
    )
