"""Whether verdicts hold: a known cut is detected, equal sides are not told apart, benchstat agrees.

Sensitivity
-----------
Both sides go through a token bucket, of the whole rate and of 95 % of it, in turn. So the noise is
the instrument's and not the machine's, and the difference is known. The metric has to hold its own
in a whole comparison: its p-value is measured against what the correction leaves for one of as many
metrics as a benchmark has.

Power is the share of comparisons of the default size, drawn with replacement from all samples,
that detect the cut. Its interval is a bootstrap's: the samples are drawn anew, and the power with
them, since the drawn comparisons share the same few samples.

A/A: the same scenario against itself
-------------------------------------
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

benchstat: the same samples by other people's code
--------------------------------------------------
benchstat tests each metric by itself at 0.05 and corrects for nothing, so our p-values are compared
before the correction. It prints p to three decimals.

Where samples tie it has the exact distribution up to 25 a side and a normal approximation beyond
(``MannWhitneyTiesExactLimit``, ``internal/stats/utest.go`` of golang.org/x/perf): with the 26
rounds of one A/A it said 0.303 where the exact p is 0.485, of a metric whose samples were nearly
all 0. So no more are compared.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import stats

from bench.benchstat import benchstat
from bench.compare import ALPHA, DEFAULT_ROUNDS, Comparison, compare
from bench.interleave import Side, abba, interleave
from bench.plan import Plan
from bench.probes.base import Bench
from bench.results import MetricResult, Results, grouped
from bench.stats import Floats, rank_sum_null, summarise
from bench.text import number
from studies.validate.model import Agreement, Check, FalseAlarms, Sensitivity, Shift
from studies.validate.testbed import (
    Faults,
    MissingSampleError,
    Progress,
    probe_named,
    samples_of,
    say_rounds,
    with_samples,
)

CUT_RATE = 500_000_000
CUT_PERCENT = 5.0
WANTED_POWER = 0.9

_CUT_ROUNDS = 2 * DEFAULT_ROUNDS
_CUT_SECONDS = 1
_POWER_DRAWN = 2_000
_BOOTSTRAPS = 400
_POWER_SEED = 5
_CUTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)


def measure_cut(
    bench: Bench, faults: Faults, plan: Plan, family: int, say: Progress
) -> tuple[Check, Sensitivity, tuple[Results, Results]]:
    """Measure the cut and how surely it is found; with the results of both sides.

    :param family: metrics of a whole comparison.
    :raises MissingSampleError: a side has no samples.
    """
    plan = replace(plan, runs=_CUT_ROUNDS, bulk_seconds=_CUT_SECONDS)
    rates = (CUT_RATE, round(CUT_RATE * (1 - CUT_PERCENT / 100)))
    probes = (probe_named("tcp", plan),)
    sides = [
        Side(f"{rate / 1e6:g}", bench, probes, lambda rate=rate: faults.rate_limit(rate))  # type: ignore[misc]
        for rate in rates
    ]
    order = abba([side.label for side in sides], plan.runs)
    results = interleave(sides, plan, order, watch=say_rounds(say))
    whole, cut = (metric.samples for metric in samples_of(results, "tcp_streams_throughput"))
    check, data = judge_cut(whole, cut, family)
    first, second = results.values()
    return check, data, (first, second)


def judge_cut(
    whole: Sequence[float], cut: Sequence[float], family: int
) -> tuple[Check, Sensitivity]:
    """Power for the cut from samples of both sides in Gbit/s."""
    level = ALPHA / family
    a, b = np.asarray(whole), np.asarray(cut)
    power = _power(a, b, level)
    low, high = _bootstrapped(a, b, level)
    apart = [
        _share_detected(a[None, i : i + DEFAULT_ROUNDS], b[None, i : i + DEFAULT_ROUNDS], level) > 0
        for i in range(0, min(len(a), len(b)) - DEFAULT_ROUNDS + 1, DEFAULT_ROUNDS)
    ]
    shrunk = summarise([100 * (1 - y / x) for x, y in zip(whole, cut, strict=False)])
    check = Check(
        part="Sensitivity",
        name=f"a cut of {CUT_PERCENT:g} % in TCP throughput",
        expectation=f"found by {100 * WANTED_POWER:.0f} % of comparisons of {DEFAULT_ROUNDS} "
        f"rounds, at p ≤ {level:.5f} ({ALPHA:g} over {family} metrics)",
        measured=f"{100 * power:.1f} %; the cut is seen as {shrunk.median:.2f} %",
        interval=f"{100 * low:.1f} to {100 * high:.1f} % (bootstrap, {len(whole)} and {len(cut)} "
        f"runs); the cut {shrunk.low:.2f} to {shrunk.high:.2f} %",
        passed=low >= WANTED_POWER,
    )
    by_size = {size: _power(a, a * (1 - size / 100), level) for size in _CUTS}
    sensitivity = Sensitivity(
        whole=list(whole), cut=list(cut), cut_percent=CUT_PERCENT, level=level, power=by_size
    )
    check.remarks.append(
        f"{sum(apart)} of {len(apart)} comparisons that share no run find it. "
        "Cuts of other sizes, made by arithmetic from the samples without a cut: "
        + ", ".join(f"{size:g} % {number(100 * sensitivity.power[size])} %" for size in _CUTS)
    )
    return check, sensitivity


def _power(a: Floats, b: Floats, level: float) -> float:
    draw = np.random.default_rng(_POWER_SEED)
    shape = (_POWER_DRAWN, DEFAULT_ROUNDS)
    return _share_detected(draw.choice(a, shape), draw.choice(b, shape), level)


def _bootstrapped(a: Floats, b: Floats, level: float) -> tuple[float, float]:
    draw = np.random.default_rng(_POWER_SEED)
    powers = [
        _power(draw.choice(a, len(a)), draw.choice(b, len(b)), level) for _ in range(_BOOTSTRAPS)
    ]
    low, high = np.quantile(powers, [0.025, 0.975])
    return float(low), float(high)


def _share_detected(a: Floats, b: Floats, level: float) -> float:
    """The share of comparisons (rows) in which Mann–Whitney's test rejects at ``level``."""
    u = (a[:, :, None] > b[:, None, :]).sum(axis=(1, 2)) + 0.5 * (
        a[:, :, None] == b[:, None, :]
    ).sum(axis=(1, 2))
    tail = np.cumsum(rank_sum_null(a.shape[1], b.shape[1]))
    smaller = np.minimum(u, a.shape[1] * b.shape[1] - u)
    # Samples drawn twice tie within their side only, which changes no U; a half U comes from a tie
    # between the sides and is counted against the difference.
    return float(np.mean(2 * tail[np.ceil(smaller).astype(int)] <= level))


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
            values = (sides[side].get(place + 1) for side, place in runs)
            samples[name] = [value for value in values if value is not None]
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
    """The median of each round's slices, or its only sample."""
    rounds = grouped(metric.by_place(), lambda place: place.round)
    return {round_: float(np.median(values)) for round_, values in rounds.items()}


def analyse(rounds: Rounds) -> tuple[list[Check], FalseAlarms]:
    """All checks of A/A, and what the page shows of it.

    :raises MissingSampleError: fewer rounds than one comparison has, or none with samples.
    """
    if rounds.count < DEFAULT_ROUNDS:
        raise MissingSampleError(f"A/A needs {DEFAULT_ROUNDS} rounds, got {rounds.count}")
    blocks = rounds.blocks(DEFAULT_ROUNDS)
    scheduled = [compare(*block, interleaved=True) for block in blocks]
    whole = compare(rounds.a, rounds.b, interleaved=True, alpha=STRICT)
    p_values = [p for comparison in scheduled for p in _tested(comparison).values()]
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


def _alarms(comparison: Comparison) -> list[str]:
    return comparison.verdicts("better", "worse")


def _tested(comparison: Comparison) -> dict[str, float]:
    """Uncorrected p-values of the metrics that could differ at all (not all samples equal)."""
    return {n: m.p for n, m in comparison.metrics.items() if m.smallest is not None}


def _units(scheduled: Sequence[Comparison], rounds: Rounds) -> int:
    probes = {metric.probe for metric in rounds.a.metrics.values()}
    return len(scheduled) * len(probes)


def binomial_interval(share: float, units: int) -> tuple[float, float]:
    """Clopper & Pearson's 95 % interval of a share (0 to 1) seen in independent units, in %."""
    interval = stats.binomtest(round(share * units), units).proportion_ci(0.95, "exact")
    return 100 * float(interval.low), 100 * float(interval.high)


def _verdicts(scheduled: Sequence[Comparison], rounds: Rounds) -> Check:
    verdicts = sum(len(comparison.metrics) for comparison in scheduled)
    false = [name for comparison in scheduled for name in _alarms(comparison)]
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
    p_values = [p for comparison in scheduled for p in _tested(comparison).values()]
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


_SAME_MEDIAN = 5e-6
"""Relative: results keep their medians to six significant digits (:mod:`bench.sampling`)."""
_SAME_P = 0.00051
_EXACT_ROUNDS = 25

Sides = tuple[Results, Results]


def exact(rounds: int) -> range:
    """Of so many rounds, counted from 1, those with which benchstat's p-values are exact."""
    return range(1, min(rounds, _EXACT_ROUNDS) + 1)


def agree(program: Path, compared: Mapping[str, Sides]) -> tuple[list[Check], list[Agreement]]:
    """Compare pairs of results, by name, with benchstat and by ourselves.

    Sides must have as many samples as each other: see :class:`bench.benchstat.Row`.

    :raises BenchstatError: benchstat failed.
    """
    agreements = [row for name, sides in compared.items() for row in _rows(program, name, sides)]
    median = max(
        abs(mine - theirs) / abs(theirs) if theirs else abs(mine)
        for row in agreements
        for mine, theirs in zip(row.ours, row.theirs, strict=True)
    )
    p_value = max(abs(row.our_p - row.their_p) for row in agreements)
    differ = [
        row.metric for row in agreements if _significant(row.our_p) != _significant(row.their_p)
    ]
    seen = sum(_significant(row.their_p) for row in agreements)
    many = f"{len(agreements)} metrics of {len(compared)} comparisons"
    checks = [
        Check(
            part="benchstat", name="medians",
            expectation="equal to the six digits that results keep",
            measured=f"largest difference {100 * median:.2g} %", interval=f"exact, {many}",
            passed=median <= _SAME_MEDIAN,
        ),
        Check(
            part="benchstat", name="p-values before the correction",
            expectation="equal to the three decimals that benchstat prints",
            measured=f"largest difference {p_value:.5f}", interval=f"exact, {many}",
            passed=p_value <= _SAME_P,
        ),
        Check(
            part="benchstat", name=f"differences at p ≤ {ALPHA}",
            expectation="the same metrics",
            measured=f"{len(agreements) - len(differ)} of {len(agreements)} alike"
            + (f"; not {', '.join(differ)}" if differ else "")
            + f" ({seen} differ by benchstat)",
            interval=f"exact, {many}",
            passed=not differ,
        ),
    ]  # fmt: skip
    return checks, agreements


def _rows(program: Path, name: str, sides: Sides) -> list[Agreement]:
    ours = compare(*sides).metrics
    with tempfile.TemporaryDirectory() as folder:
        theirs = benchstat(program, *sides, Path(folder))
    return [
        Agreement(
            metric=f"{metric} ({name})",
            ours=ours[metric].medians,
            theirs=row.medians,
            our_p=ours[metric].p,
            their_p=row.p,
        )
        for metric, row in theirs.items()
    ]


def _significant(p: float) -> bool:
    return round(p, 3) <= ALPHA
