"""No coordinated omission: a stalled server delays the requests that fall due meanwhile, all of
them, and the results have to say so. With the real load generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.plan import plan_for
from bench.probes.fortio import PERCENTILES, Schedule, parse_load
from tests.bench.netns import NetnsSession, lacking
from tests.bench.stall import STALL_SECONDS, stalled

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(lacking() is not None, reason=f"needs real programs: {lacking()}"),
]

RATE = 1_000
SECONDS = 3
DUE = RATE * STALL_SECONDS
PLAN = replace(plan_for("quick"), http_seconds=SECONDS)


@pytest.fixture(scope="module")
def session() -> Iterator[NetnsSession]:
    with NetnsSession() as started:
        yield started


def test_every_request_that_falls_due_in_a_stall_is_slow(session: NetnsSession) -> None:
    result = stalled(session, PLAN, RATE, after=1.0)
    schedule = Schedule.of(RATE, SECONDS, PLAN.http_connections)
    load = parse_load(result.stdout, percentiles=PERCENTILES, request_log=True, schedule=schedule)
    assert load.schedule is not None
    latency = load.schedule.latency
    assert len(latency) == load.requests >= 0.95 * RATE * SECONDS
    # They wait for the rest of the stall: evenly for nothing up to all of it.
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        longer = sum(each >= share * STALL_SECONDS * 1e6 for each in latency)
        assert longer == pytest.approx((1 - share) * DUE, rel=0.25, abs=20), share
    assert latency[-1] >= 0.9 * STALL_SECONDS * 1e6
    assert load.schedule.waited >= 0.8 * DUE

    # The same run as the study would have read it: a sixth of all were slow, and p90 hides it.
    plain = parse_load(result.stdout, percentiles=PERCENTILES, request_log=True)
    assert load.latency[90.0].value > 100_000 > plain.latency[90.0].value
