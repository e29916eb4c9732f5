"""Whether verdicts hold: equal clusters are not told apart, and a small delay is found.

All is judged by the default comparison (:func:`bench.compare.compare` over bring-ups, the primary
metrics as one family).

A validation has more bring-ups than a comparison, which has :data:`COMPARED` of them, so that the
spread between bring-ups is known better: they are cut into comparisons, one after the other.

A/A. Three equal clusters make three pairs. The shift of the median over all bring-ups has to stay
below 1 %, and the comparisons' uncorrected p-values of 0.05 or less may not be more than chance
makes of 5 %. Pairs share clusters, so three of them count as two. Metrics of one bring-up share its
machine, but not their turns, and count as independent. Verdicts are looked at as a report gives
them, whose advice rests on nothing else: of all pairs as one family, in which a false one may be by
chance once in twenty times.

Sensitivity. What a delay has to do to the turns is arithmetic: bring-up by bring-up, the difference
between what turns saw and that has an interval that covers 0.
Power is that of Student's t, with the spread between bring-ups of the equal pairs: once with the
spread as estimated, once with its upper bound, by which the check is decided. The level is what
Holm's correction leaves for one of as many metrics as are primary.

Turns. The same delay has to have the same effect with batches of another length and with another
number of clusters in turns.

Several of these checks have an interval that misses 0 by chance once in so many times. It is taken
at 99 %, so that a validation seldom fails by chance. Where it is wider than what it is about, it
says nothing, and the check fails, too.

benchstat: the same samples by other people's code. What slices of one bring-up give is taken for
rounds, as the rank tests of a plain benchmark would. benchstat tests each metric by itself at 0.05
and corrects for nothing, so p-values are compared before the correction. It prints three decimals.
Where samples tie it has the exact distribution up to 25 a side and a normal approximation beyond
(``MannWhitneyTiesExactLimit``, ``internal/stats/utest.go`` of golang.org/x/perf), so that no more
are compared.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import cast

import numpy as np
from scipy import stats as distributions

from bench import stats
from bench.benchstat import benchstat
from bench.compare import (
    ALPHA,
    Comparison,
    MetricComparison,
    Pair,
    compare,
    compare_together,
)
from bench.inference import samples_of
from bench.merge import merge
from bench.metrics import PRIMARY
from bench.results import Results
from bench.text import number
from studies.validate.bringups import (
    BASELINE,
    DELAYED,
    IMPOSED,
    USUAL,
    WAYS,
    WIDE,
    BringUp,
    Imposed,
    Sides,
    own_share,
)
from studies.validate.model import Agreement, Check, Equality, Sensitivity
from studies.validate.testbed import LABELS, MissingSampleError, with_samples

FEWEST = 2
"""Bring-ups: with one there is no spread between them."""
COMPARED = 5
"""Those of a comparison: a matrix in the lab has so many, where nobody says."""
MOST_SHIFT_PERCENT = 1.0
MOST_OWN_US = 3.0
WANTED_POWER = 0.9
CHANCE = 0.01
"""Of a check to fail where nothing is wrong."""
_SIZES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)


@dataclass(frozen=True, slots=True)
class Judged:
    """All that is concluded from bring-ups."""

    checks: list[Check]
    p_values: list[float]
    equalities: list[Equality]
    sensitivities: list[Sensitivity]


def judge(bring_ups: Sequence[BringUp]) -> Judged:
    """Everything but benchstat.

    :raises MissingSampleError: fewer than two bring-ups, or they do not vary at all.
    """
    if len(bring_ups) < FEWEST:
        raise MissingSampleError(
            f"{len(bring_ups)} of the bring-ups gave all samples, and {FEWEST} are the fewest"
        )
    p_values = equal_p_values(bring_ups)
    checks, equalities = judge_equal(bring_ups)
    checks.append(judge_p_values(p_values, len(list(combinations(LABELS, 2)))))
    checks.append(judge_false_verdicts(bring_ups))
    found: list[Sensitivity] = []
    for imposed in IMPOSED:
        made, sensitivity = judge_delay(bring_ups, imposed)
        checks += made
        found.append(sensitivity)
    checks += judge_ways([each.ways for each in bring_ups])
    checks.append(judge_own_share(own_share(bring_ups)))
    return Judged(checks, p_values, equalities, found)


def over_bring_ups(parts: Sequence[Sides]) -> dict[str, Results]:
    """One result of each side."""
    return {
        label: merge({f"bring-up {n}": sides[label] for n, sides in enumerate(parts, 1)})
        for label in parts[0]
    }


def effects(a: Results, b: Results, metric: str) -> list[float]:
    """How much longer b takes than a, bring-up by bring-up, in % of a."""
    samples = samples_of(a.metrics, b.metrics, metric)
    longer = -1 if a.metrics[metric].better == "higher" else 1
    return [samples.share(longer * shift) for shift in samples.shifts()]


def _compared(a: str, b: str, sides: Sides) -> Comparison:
    return compare(sides[a], sides[b], labels=(a, b), interleaved=True, metrics=PRIMARY)


def comparisons(bring_ups: Sequence[BringUp]) -> list[Sequence[BringUp]]:
    """As many bring-ups as one comparison has, again and again; all, where there are fewer."""
    size = min(COMPARED, len(bring_ups))
    starts = range(0, len(bring_ups) - size + 1, size)
    return [bring_ups[start : start + size] for start in starts]


def judge_equal(bring_ups: Sequence[BringUp]) -> tuple[list[Check], list[Equality]]:
    """A/A: every pair of equal clusters and primary metric."""
    equal = over_bring_ups([each.equal for each in bring_ups])
    compared = {
        f"{b} against {a}": _compared(a, b, equal).metrics for a, b in combinations(equal, 2)
    }
    found = [
        Equality(
            pair=pair,
            metric=name,
            value=metric.effect.value,
            low=metric.effect.low,
            high=metric.effect.high,
            p=metric.p,
            within=metric.effect.spread_within,
            between=metric.effect.spread_between or 0.0,
        )
        for name in PRIMARY
        for pair, metrics in compared.items()
        if (metric := metrics.get(name))
    ]
    checks = [_shift(name, [each for each in found if each.metric == name]) for name in PRIMARY]
    return checks, found


def equal_p_values(bring_ups: Sequence[BringUp]) -> list[float]:
    """Uncorrected, of every comparison of two equal clusters and every primary metric."""
    return [
        metric.p
        for block in comparisons(bring_ups)
        for equal in [over_bring_ups([each.equal for each in block])]
        for a, b in combinations(equal, 2)
        for metric in _compared(a, b, equal).metrics.values()
    ]


def _shift(metric: str, found: Sequence[Equality]) -> Check:
    worst = max(found, key=lambda each: abs(each.value))
    return Check(
        part="A/A",
        name=f"{metric} of equal clusters",
        expectation=f"a shift below {MOST_SHIFT_PERCENT:g} %, in each of {len(found)} pairs",
        measured=f"{worst.value:+.2f} % at most ({worst.pair})",
        interval=f"{worst.low:+.2f} to {worst.high:+.2f} %",
        passed=abs(worst.value) < MOST_SHIFT_PERCENT,
    )


def judge_p_values(p_values: Sequence[float], pairs: int) -> Check:
    """Whether small ones are no more than chance makes of 5 %.

    :param pairs: of clusters; of three that share clusters, two count.
    """
    hits = sum(p <= ALPHA for p in p_values)
    units = len(p_values) * (len(LABELS) - 1) // pairs
    counted = round(hits * units / len(p_values))
    chance = float(distributions.binom.sf(counted - 1, units, ALPHA))
    return Check(
        part="A/A",
        name="p-values of 0.05 or less, uncorrected",
        expectation=f"no more than chance makes of {100 * ALPHA:g} % (binomial, one-sided "
        f"{100 * CHANCE:g} %)",
        measured=f"{hits} of {len(p_values)}",
        interval=f"so many or more by chance: {100 * chance:.3g} % ({counted} of {units} that "
        "count as independent)",
        passed=chance > CHANCE,
    )


def judge_false_verdicts(bring_ups: Sequence[BringUp]) -> Check:
    """Whether comparisons of equal clusters, each with its pairs as one family, have false verdicts
    no more often than chance makes of 5 %."""
    found = []
    blocks = comparisons(bring_ups)
    for block in blocks:
        equal = over_bring_ups([each.equal for each in block])
        pairs = [Pair(equal[a], equal[b], (a, b), True) for a, b in combinations(equal, 2)]
        found.append(
            [
                f"{name} of {' and '.join(each.labels)}"
                for each in compare_together(pairs, metrics=PRIMARY)
                for name in each.verdicts("better", "worse")
            ]
        )
    false = sum(map(bool, found))
    chance = float(distributions.binom.sf(false - 1, len(blocks), ALPHA))
    return Check(
        part="A/A",
        name="false verdicts, all pairs as one family",
        expectation=f"none in {100 * (1 - ALPHA):g} % of comparisons (binomial, one-sided "
        f"{100 * CHANCE:g} %)",
        measured=f"some in {false} of {len(blocks)}",
        interval=f"so many or more by chance: {100 * chance:.3g} %",
        passed=chance > CHANCE,
        remarks=[text for each in found for text in each],
    )


def judge_delay(bring_ups: Sequence[BringUp], imposed: Imposed) -> tuple[list[Check], Sensitivity]:
    """Whether what was imposed is found, as large as it is, and how surely.

    :raises MissingSampleError: equal clusters do not vary at all.
    """
    metric = imposed.metric
    equal = over_bring_ups([each.equal for each in bring_ups])
    delayed = over_bring_ups([each.delayed[metric] for each in bring_ups])
    blocks = comparisons(bring_ups)
    verdicts = [_verdict(block, metric) for block in blocks]
    worse = sum(each.verdict == "worse" for each in verdicts)
    seen = effects(delayed[BASELINE], delayed[DELAYED], metric)
    expected = list(_expected(bring_ups, imposed))
    size = len(blocks[0])
    data = _sensitivity(equal, imposed, seen, expected, size)
    name = f"{imposed.percent:g} % of {metric}"
    found = Check(
        part="Sensitivity",
        name=f"{name}, found",
        expectation=f"worse in {100 * WANTED_POWER:.0f} % of comparisons of {size} bring-ups",
        measured=f"{worse} of {len(blocks)}: {'; '.join(e.change_text() for e in verdicts)}",
        interval=f"p after the correction for {len(PRIMARY)} metrics "
        + ", ".join(f"{each.corrected:.2g}" for each in verdicts),
        passed=worse >= max(1, math.floor(WANTED_POWER * len(blocks))),
    )
    truth = stats.mean_shift(expected, 0.95).shift.value
    as_large = covers(
        "Sensitivity",
        f"{name}, as large as imposed",
        [mine - theirs for mine, theirs in zip(seen, expected, strict=True)],
        imposed.percent,
        f"{truth:+.2f} %, by arithmetic",
    )
    return [found, as_large, _power_check(data, size)], data


def _verdict(bring_ups: Sequence[BringUp], metric: str) -> MetricComparison:
    """Of the delayed, as in a whole comparison: with all primary metrics, one of which differs."""
    delayed = over_bring_ups([each.delayed[metric] for each in bring_ups])
    whole = {
        label: side.model_copy(
            # With what decides it, which is a metric of the same turns.
            update={"metrics": {**side.metrics, **delayed[label].metrics}}
        )
        for label, side in over_bring_ups([each.equal for each in bring_ups]).items()
    }
    return _compared(BASELINE, DELAYED, whole).metrics[metric]


def _expected(bring_ups: Sequence[BringUp], imposed: Imposed) -> Iterator[float]:
    """What the imposed has to do, in % of an operation."""
    for each in bring_ups:
        usual = each.delayed[imposed.metric][BASELINE].metrics
        typical = imposed.path.microseconds(samples_of(usual, usual, imposed.metric).typical())
        yield 100 * each.added[imposed.metric] / typical


def _sensitivity(
    equal: Sides,
    imposed: Imposed,
    seen: Sequence[float],
    expected: Sequence[float],
    compared: int,
) -> Sensitivity:
    """:param compared: bring-ups of one comparison."""
    squares = [
        float(np.var(effects(equal[a], equal[b], imposed.metric), ddof=1))
        for a, b in combinations(equal, 2)
    ]
    spread = math.sqrt(float(np.mean(squares)))
    if spread == 0:
        raise MissingSampleError(f"{imposed.metric} of equal clusters does not vary at all")
    # Three clusters have two independent differences.
    bound = stats.spread_bound(spread, (len(equal) - 1) * (len(seen) - 1))
    level = ALPHA / len(PRIMARY)

    def power(percent: float) -> tuple[float, float]:
        at = [stats.power_of_t(percent, each, compared, level) for each in (spread, bound)]
        return cast("tuple[float, float]", tuple(at))

    return Sensitivity(
        metric=imposed.metric,
        percent=imposed.percent,
        effects=list(seen),
        expected=list(expected),
        spread=spread,
        bound=bound,
        level=level,
        compared=compared,
        power={size: power(size) for size in _SIZES},
    )


def _power_check(data: Sensitivity, count: int) -> Check:
    power, at_bound = data.power[data.percent]
    surely = [size for size, (_, lower) in data.power.items() if lower >= WANTED_POWER]
    return Check(
        part="Sensitivity",
        name=f"{data.percent:g} % of {data.metric}, power",
        expectation=f"{100 * WANTED_POWER:.0f} % or more with {count} bring-ups at p ≤ "
        f"{data.level:.4f} ({ALPHA:g} over {len(PRIMARY)} metrics)",
        measured=f"{100 * power:.1f} %, with a spread between bring-ups of {data.spread:.2f} %",
        interval=f"{100 * at_bound:.1f} % with the spread's upper bound (95 %), {data.bound:.2f} %",
        passed=at_bound >= WANTED_POWER,
        remarks=[
            f"{number(surely[0])} % and more are found that surely"
            if surely
            else "No size that was looked at is found that surely"
        ],
    )


def judge_ways(ways: Sequence[Mapping[str, Sides]]) -> list[Check]:
    """Whether one delay has the same effect in every way of taking turns."""
    by_way = {way.name: over_bring_ups([each[way.name] for each in ways]) for way in (USUAL, *WAYS)}
    seen = {
        name: effects(sides[BASELINE], sides[DELAYED], WIDE.metric)
        for name, sides in by_way.items()
    }
    usual = seen[USUAL.name]
    typical = float(np.mean(usual))
    return [
        covers(
            "Turns",
            f"{WIDE.metric}, {way.name}",
            [mine - other for mine, other in zip(seen[way.name], usual, strict=True)],
            WIDE.percent / 4,
            f"the effect of the same delay as usual, {typical:+.1f} %",
        )
        for way in WAYS
    ]


def judge_own_share(microseconds: float) -> Check:
    """Whether the generator leaves the path's time as it is."""
    return Check(
        part="Turns",
        name="own share of the generator in a round trip",
        expectation=f"{MOST_OWN_US:g} µs or less",
        measured=f"{microseconds:.2f} µs of CPU time outside the kernel",
        interval="the largest of all bring-ups and clusters",
        passed=microseconds <= MOST_OWN_US,
    )


def covers(
    part: str, name: str, differences: Sequence[float], widest: float, expectation: str
) -> Check:
    """Whether independent differences, in %, lie around 0.

    :param widest: half an interval, in %, beyond which nothing could be seen.
    """
    shift = stats.mean_shift(differences, 1 - CHANCE).shift
    value, low, high = shift.value, shift.low, shift.high
    narrow = (high - low) / 2 <= widest
    return Check.model_validate(
        {
            "part": part,
            "name": name,
            "expectation": expectation,
            "measured": f"{value:+.2f} % from it",
            "interval": f"{low:+.2f} to {high:+.2f} % ({100 * (1 - CHANCE):.0f} %, "
            f"{len(differences)} bring-ups)",
            "passed": low <= 0 <= high and narrow,
            "remarks": [] if narrow else [f"wider than ± {widest:g} %: nothing could be seen"],
        }
    )


def for_benchstat(first: BringUp) -> dict[str, "Rounds"]:
    """Slices of one bring-up as rounds: of equal clusters, and of one that is delayed."""
    found = {"equal": (first.equal[LABELS[0]], first.equal[LABELS[1]])}
    for metric, sides in first.delayed.items():
        found[f"{metric} delayed"] = (sides[BASELINE], sides[DELAYED])
    return {name: (_as_rounds(a), _as_rounds(b)) for name, (a, b) in found.items()}


def _as_rounds(side: Results) -> Results:
    samples = {
        name: metric.samples[:_EXACT_ROUNDS]
        for name, metric in side.metrics.items()
        if metric.slices
    }
    return with_samples(side, samples)


_SAME_MEDIAN = 5e-6
"""Relative: results keep their medians to six significant digits (:mod:`bench.sampling`)."""
_SAME_P = 0.00051
_EXACT_ROUNDS = 25

Rounds = tuple[Results, Results]


def agree(program: Path, compared: Mapping[str, Rounds]) -> tuple[list[Check], list[Agreement]]:
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


def _rows(program: Path, name: str, sides: Rounds) -> list[Agreement]:
    sides = (_by_own_samples(sides[0]), _by_own_samples(sides[1]))
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


def _by_own_samples(side: Results) -> Results:
    """Each metric compared by its own samples, as benchstat does."""
    metrics = {n: m.model_copy(update={"decided_by": None}) for n, m in side.metrics.items()}
    return side.model_copy(update={"metrics": metrics})


def _significant(p: float) -> bool:
    return round(p, 3) <= ALPHA
