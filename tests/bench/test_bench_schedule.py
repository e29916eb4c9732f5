"""Latency from when a request was due: by hand, and on a recorded run with a stalled server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.probes.fortio import (
    PERCENTILES,
    TIMER_US,
    Request,
    Schedule,
    against,
    load_of,
    load_reading,
    parse_load,
)
from tests.bench.fakes import PLAN, recorded
from tests.bench.sample_results import texts

SECOND = 1e6
TEN = Schedule(threads=1, calls=10, rate=10.0)


def calls(*pairs: tuple[float, float], thread: int = 0, start: float = 5e9) -> list[Request]:
    """Calls of one thread: (when it left after its due time, latency), in µs."""
    return [
        Request(thread, i, start + TEN.due(i) + late, latency, True)
        for i, (late, latency) in enumerate(pairs)
    ]


def test_the_schedule_is_fortios() -> None:
    schedule = Schedule.of(1000, 3, 32)
    assert (schedule.threads, schedule.calls, schedule.rate) == (32, 93, 31.25)
    assert schedule.due(0) == 0
    # The last call is due when the run ends: one step is as long as all calls' share of it.
    assert schedule.due(92) == pytest.approx(93 / 31.25 * SECOND)
    assert Schedule.of(1, 1, 1).due(0) == 0


def test_requests_on_time_keep_their_latency() -> None:
    run = against(TEN, calls(*[(0.0, 100.0 + i) for i in range(10)]))
    assert run.latency == tuple(100.0 + i for i in range(10))
    assert (run.waited, run.unsent) == (0, 0)
    assert run.lateness == (0.0,) * 10


def test_what_a_slow_answer_delays_counts_from_when_it_was_due() -> None:
    step = TEN.due(1)
    # Call 2 takes three and a half steps; 3, 4 and 5 are due meanwhile and leave right after it.
    slow = 3.5 * step
    run = against(
        TEN,
        calls((0, 50), (0, 50), (0, slow), (slow - step, 50), (slow - 2 * step + 50, 50),
              (slow - 3 * step + 100, 50), *[(0, 50)] * 4),
    )  # fmt: skip
    assert run.waited == 3
    expected = [slow, slow - step + 50, slow - 2 * step + 100, slow - 3 * step + 150]
    assert sorted(run.latency)[-4:] == pytest.approx(sorted(expected))
    assert sorted(run.latency)[:6] == [50] * 6


def test_a_late_timer_is_the_generators_and_not_the_servers() -> None:
    run = against(TEN, calls((0, 50), (900, 50), (30_000, 50), *[(0, 50)] * 7))
    assert run.latency == (50.0,) * 10
    assert run.waited == 0
    assert run.lateness[-2:] == pytest.approx((900, 30_000))


def test_what_a_punctual_generator_would_have_seen_has_two_bounds() -> None:
    step = TEN.due(1)
    # A pause of the generator: call 2 leaves two and a half steps late, 3 and 4 right after it.
    late = 2.5 * step
    run = against(
        TEN, calls((0, 50), (500, 50), (late, 50), (late - step + 50, 50),
                   (late - 2 * step + 100, 50), *[(0, 50)] * 5),
    )  # fmt: skip
    assert run.at_least == (50,) * 10, "nothing that the answers did held anything up"
    assert run.at_most[:7] == (50,) * 7, "half a millisecond is a timer's"
    assert run.at_most[-1] == pytest.approx(late + 50 - TIMER_US)
    # Held up by an answer instead, both bounds have it.
    slow = 3.5 * step
    run = against(TEN, calls((0, slow), (slow - step, 50), (slow - 2 * step + 50, 50),
                             (slow - 3 * step + 100, 50), *[(0, 50)] * 6))  # fmt: skip
    assert run.at_least == pytest.approx(run.latency)
    assert run.at_most == pytest.approx(run.latency)


def test_the_first_calls_may_be_left_out() -> None:
    cold = replace(TEN, dropped=2)
    run = against(cold, calls((0, 900), (0, 800), *[(0.0, 50.0)] * 8))
    assert run.latency == run.at_most == run.at_least == (50,) * 8
    assert run.unsent == 0, "they were sent"


def test_every_thread_has_its_own_start_and_its_own_omissions() -> None:
    schedule = Schedule(threads=3, calls=10, rate=10.0)
    first, second = calls(*[(0, 10)] * 10), calls(*[(0, 10)] * 7, thread=1, start=6e9)
    run = against(schedule, [*second, *first])
    assert len(run.latency) == 17
    assert run.unsent == 3 + 10, "a thread that never called has omitted all"


def test_a_failed_request_has_no_latency_but_delays_others() -> None:
    step = TEN.due(1)
    made = calls((0, 2.5 * step), (1.5 * step, 50), (0.5 * step + 50, 50), *[(0, 50)] * 7)
    failed = Request(0, 0, made[0].sent, made[0].latency, good=False)
    run = against(TEN, [failed, *made[1:]])
    assert len(run.latency) == 9
    assert run.waited == 2


STALLED = Schedule.of(100, 2, 4)


def test_a_recorded_stall_of_half_a_second_delays_fifty_requests() -> None:
    result = recorded("fortio-stalled")
    load = parse_load(result.stdout, percentiles=PERCENTILES, request_log=True, schedule=STALLED)
    plain = parse_load(result.stdout, percentiles=PERCENTILES, request_log=True)
    assert load.schedule is not None
    slow = sum(latency > 20_000 for latency in load.schedule.latency)
    assert slow == pytest.approx(50, abs=8)
    assert load.schedule.waited == pytest.approx(50, abs=8)
    assert load.latency[90.0].value > 100_000 > plain.latency[90.0].value
    assert load.requests == plain.requests == len(load.schedule.latency)


def test_a_run_that_is_over_before_all_were_sent_is_labelled() -> None:
    longer = Schedule.of(100, 3, 4)
    load = load_of(recorded("fortio-stalled"), request_log=True, schedule=longer)
    reading = load_reading("p", load, load.latency, PERCENTILES, wanted_rate=None)
    assert "had not left at the end" in texts(reading.notes["p_p50"])
    assert float(reading.facts["waited_percent"]) > 10


def test_a_generator_that_lags_is_labelled() -> None:
    result = recorded("fortio-http-100")
    healthy = Schedule.of(100, PLAN.http_seconds, 2)
    load = load_of(result, request_log=True, schedule=healthy)
    assert load.schedule is not None
    assert load.schedule.unsent == 0
    # Against twice the rate everything but the start is late.
    load = load_of(result, request_log=True, schedule=Schedule(2, 50, 100.0))
    reading = load_reading("p", load, load.latency, PERCENTILES)
    assert "by the generator's own fault" in texts(reading.notes["p_p99"])
