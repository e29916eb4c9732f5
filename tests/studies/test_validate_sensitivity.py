"""Whether a cut is found: power from samples."""

from __future__ import annotations

import numpy as np

from bench.compare import DEFAULT_ROUNDS
from bench.probes.base import Bench
from bench.session import resolve_targets
from bench.stats import mann_whitney
from studies.validate.testbed import LossCount
from studies.validate.verdicts import _share_detected, judge_cut, measure_cut
from tests.bench.fakes import PLAN, FakeSession
from tests.studies.test_validate_faults import Recorded

FAMILY = 45


def sides(spread: float, cut: float = 0.05, n: int = 16) -> tuple[list[float], list[float]]:
    draw = np.random.default_rng(7)
    whole = 0.5 * draw.lognormal(sigma=spread, size=n)
    less = 0.5 * (1 - cut) * draw.lognormal(sigma=spread, size=n)
    return whole.tolist(), less.tolist()


def test_a_cut_far_beyond_the_noise_is_always_found() -> None:
    check, found = judge_cut(*sides(0.002), FAMILY)
    assert check.passed
    assert "100.0 %; the cut is seen as 5.1" in check.measured
    assert "2 of 2 comparisons that share no run find it" in check.remarks[0]
    powers = [found.power[size] for size in sorted(found.power)]
    assert powers == sorted(powers)
    assert powers[0] < 0.9 < powers[-1]


def test_a_cut_within_the_noise_is_not_found() -> None:
    check, found = judge_cut(*sides(0.05), FAMILY)
    assert not check.passed
    assert found.power[5.0] < 0.5


def test_no_cut_is_found_where_there_is_none() -> None:
    check, _ = judge_cut(*sides(0.01, cut=0.0), FAMILY)
    assert not check.passed
    assert "0 of 2 comparisons" in check.remarks[0]


def test_the_fast_test_decides_as_the_exact_one() -> None:
    draw = np.random.default_rng(3)
    level = 0.05 / FAMILY
    decisions = set()
    for shift in np.linspace(0, 5, 60):
        a = draw.normal(size=DEFAULT_ROUNDS)
        b = draw.normal(size=DEFAULT_ROUNDS) + shift
        exact = mann_whitney(a.tolist(), b.tolist()).p <= level
        assert bool(_share_detected(a[None], b[None], level)) == exact
        decisions.add(exact)
    assert decisions == {True, False}


def test_both_sides_are_measured_under_their_own_limit(session: FakeSession) -> None:
    faults = Recorded(LossCount())
    bench = Bench(session, resolve_targets(session), session.time.clock())
    check, found, results = measure_cut(bench, faults, PLAN, FAMILY, lambda line: None)
    assert faults.limits == [500_000_000, 475_000_000, 475_000_000, 500_000_000] * 8
    assert len(found.whole) == len(found.cut) == 16
    assert results[0].metrics["tcp_throughput"].samples == found.whole
    # The recording knows of no limit: no difference, and the check says so.
    assert not check.passed
