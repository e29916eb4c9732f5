"""Sensitivity: whether a cut of 5 % is found, at the default number of rounds.

Both sides go through a token bucket, of the whole rate and of 95 % of it, in turn. So the noise is
the instrument's and not the machine's, and the difference is known. The metric has to hold its own
in a whole comparison: its p-value is measured against what the correction leaves for one of as many
metrics as a benchmark has.

Power is the share of comparisons of the default size, drawn with replacement from all samples,
that find the cut. Its interval is a bootstrap's: the samples are drawn anew, and the power with
them, since the drawn comparisons share the same few samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from bench.compare import ALPHA, DEFAULT_ROUNDS
from bench.compare.ranks import Floats, rank_sum_null
from bench.interleave import Side, abba, interleave
from bench.plan import Plan
from bench.probes.base import Bench
from bench.results import Results
from bench.stats import summarise
from bench.text import number
from studies.validate.faults import Faults
from studies.validate.model import Check, Sensitivity
from studies.validate.readings import MissingSampleError, by_round, probe_named

RATE = 500_000_000
CUT_PERCENT = 5.0
WANTED_POWER = 0.9

_ROUNDS = 2 * DEFAULT_ROUNDS
_SECONDS = 1
_DRAWN = 2_000
_BOOTSTRAPS = 400
_SEED = 5
_CUTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)

Progress = Callable[[str], None]


def measure_cut(
    bench: Bench, faults: Faults, plan: Plan, family: int, say: Progress
) -> tuple[Check, Sensitivity, tuple[Results, Results]]:
    """Measure the cut and how surely it is found; with the results of both sides.

    :param family: metrics of a whole comparison.
    :raises MissingSampleError: a side has no samples.
    """
    plan = replace(plan, runs=_ROUNDS, bulk_seconds=_SECONDS)
    rates = (RATE, round(RATE * (1 - CUT_PERCENT / 100)))
    probes = (probe_named("tcp", plan),)
    sides = [
        Side(f"{rate / 1e6:g}", bench, probes, lambda rate=rate: faults.rate_limit(rate))  # type: ignore[misc]
        for rate in rates
    ]
    order = abba([side.label for side in sides], plan.runs)
    results = interleave(sides, plan, order, watch=by_round(say))
    try:
        whole, cut = (results[side.label].metrics["tcp_throughput"].samples for side in sides)
    except KeyError:
        errors = [error for side in results.values() for error in side.errors]
        raise MissingSampleError("; ".join(error.text() for error in errors)) from None
    check, data = judge_cut(whole, cut, family)
    first, second = (results[side.label] for side in sides)
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
    draw = np.random.default_rng(_SEED)
    return _share_detected(
        draw.choice(a, (_DRAWN, DEFAULT_ROUNDS)), draw.choice(b, (_DRAWN, DEFAULT_ROUNDS)), level
    )


def _bootstrapped(a: Floats, b: Floats, level: float) -> tuple[float, float]:
    draw = np.random.default_rng(_SEED)
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
