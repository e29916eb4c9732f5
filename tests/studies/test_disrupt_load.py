"""What a load's log says, by recorded logs of real gaps and by made-up ones."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.probes.base import SampleError
from bench.text import ParseError
from studies.experiments.disrupt.load import (
    ALL,
    CONTROL,
    IN_TIME_MS,
    RATE,
    STREAMS,
    Log,
    Stream,
    impact,
    longest_gap,
    parse,
    plan,
    starved,
    together,
    whole_again,
)
from studies.experiments.disrupt.run import read
from tests.studies.blackout import FIXTURES, Told, aims

GAPS = ("load-gap-100ms", "load-gap-1s")


def recorded(name: str) -> Told:
    """A load in two network namespaces (tests/studies/blackout.py)."""
    return Told(**json.loads(Path(FIXTURES, f"{name}.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", GAPS)
def test_a_recorded_gap_is_read_within_5_percent(name: str) -> None:
    made = recorded(name)
    log = parse(made.output)
    assert starved(log, "client") is None
    found = impact(log, made.began)
    assert found.gaps[ALL] == pytest.approx(1e3 * made.seconds, rel=0.05)
    for stream in ("new", "dns", "udp"):  # each is known to 4 ms
        assert found.gaps[stream] == pytest.approx(1e3 * made.seconds, abs=10)
    requests = 3 * made.seconds * RATE  # but those that TCP sends again
    assert requests - 6 <= found.lost <= 4 * made.seconds * RATE + 6
    assert found.broken == 0
    # TCP sends again after 1.4 s what was lost for 1 s.
    kept = {"load-gap-100ms": (0, 300), "load-gap-1s": (1_000, 2_000)}[name]
    assert kept[0] <= found.gaps["kept"] <= kept[1]


def test_a_recorded_client_that_was_stopped_tells_nothing_of_the_network() -> None:
    made = recorded("load-stopped-200ms")
    why = starved(parse(made.output), "client")
    assert why is not None
    assert why.startswith("the client itself sent up to 2")
    with pytest.raises(SampleError, match=r"^the client itself sent up to 2.. ms late$"):
        read(made.output, made.output, made.began, 1.0)


def test_a_reading_has_what_the_event_did() -> None:
    made = recorded("load-gap-1s")
    reading = read(made.output, made.output, made.began, 2.5)
    assert reading.values["gap_new"] == pytest.approx(1_000, rel=0.05)
    assert reading.values["event"] == 2_500
    assert reading.values["connections_broken"] == 0
    assert reading.values["recovery"] >= reading.values["gap_kept"]
    assert not reading.missing
    assert 0 < float(reading.facts["client's CPU %"]) < 100


def test_what_was_not_well_before_does_not_count() -> None:
    made = recorded("load-gap-100ms")
    with pytest.raises(SampleError, match="before the event"):
        read(made.output, made.output, made.began + 0.3, 1.0)


def test_a_control_path_that_is_slow_tells_so() -> None:
    log = parse(recorded("load-gap-100ms").output)
    slow = log.streams[CONTROL].took.copy()
    slow[100:110] = IN_TIME_MS + 1
    streams = {**log.streams, CONTROL: replace(log.streams[CONTROL], took=slow)}
    why = starved(replace(log, streams=streams), "servers' node")
    assert why is not None
    assert "the control path at the servers' node" in why
    assert "for 40 ms" in why or "for 39 ms" in why or "for 41 ms" in why


def _stream(took: list[float]) -> Stream:
    due = np.arange(0.0, 4.0 * len(took), 4.0)
    return Stream(due, np.zeros(len(took)), np.array(took))


NONE = float("nan")


def test_gaps_go_from_the_first_that_is_not_in_time_to_the_next_that_is() -> None:
    assert longest_gap(_stream([1, 1, 1])) == 0
    assert longest_gap(_stream([1, NONE, 1])) == 4
    assert longest_gap(_stream([1, NONE, 1, NONE, 150, 1])) == 8
    assert longest_gap(_stream([1, 1, NONE])) == 2  # to the last one, for want of more
    late = replace(_stream([1, NONE, NONE, 1]), late=np.array([0.0, 3.0, 0.0, 0.0]))
    assert longest_gap(late) == 10 - 3.5
    assert longest_gap(_stream([])) == 0


def test_all_is_as_before_when_the_last_gap_is_over() -> None:
    assert whole_again(_stream([1, 1])) is None
    assert whole_again(_stream([1, NONE, 1, NONE, 1])) == 14
    with pytest.raises(ParseError, match="not all was as before"):
        whole_again(_stream([1, NONE]))


def test_late_answers_are_told_from_lost_ones() -> None:
    stream = _stream([1, IN_TIME_MS, IN_TIME_MS + 1, 1_000, 1_001, NONE])
    assert stream.in_time.tolist() == [True, True, False, False, False, False]
    assert stream.lost.tolist() == [False, False, False, False, True, True]


def test_streams_that_do_not_come_back_have_no_recovery() -> None:
    well = _stream([1.0] * 500)
    gone = _stream([1.0] * 300 + [NONE] * 200)
    log = Log(1_000.0, 0.1, {"kept": well, "new": well, "dns": well, "udp": gone})
    found = impact(log, 1_001.0)
    assert found.recovery is None
    assert found.gaps == {"kept": 0, "new": 0, "dns": 0, "udp": 798, ALL: 2}
    assert (found.lost, found.late) == (200, 0)
    assert found.requests == pytest.approx(4 * 250, abs=12)
    again = replace(gone, took=np.array([1.0] * 300 + [NONE] * 100 + [1.0] * 100))
    whole = impact(replace(log, streams={**log.streams, "udp": again}), 1_001.0)
    assert whole.recovery == 1_598 - 1_000


def test_only_connections_that_break_after_the_event_count() -> None:
    kept = replace(_stream([1.0] * 500), broken=(500.0, 1_500.0, 1_600.0))
    others = {name: _stream([1.0] * 500) for name in ("new", "dns", "udp")}
    streams = {**others, "kept": kept}
    assert impact(Log(1_000.0, 0.1, streams), 1_001.0).broken == 2


def test_requests_of_several_streams_come_in_the_order_of_their_due_times() -> None:
    one, other = _stream([1, 2]), _stream([3, 4])
    both = together([one, replace(other, due=other.due + 1)])
    assert both.took.tolist() == [1, 3, 2, 4]
    assert both.due.tolist() == [0, 1, 4, 5]


def test_a_plan_asks_for_1000_requests_a_second_and_a_control_beside_them() -> None:
    asked = json.loads(plan(aims(), seconds=2.5, cpu=-1))
    assert asked["milliseconds"] == 2_500
    rates = {each["name"]: each["rate"] for each in asked["streams"]}
    assert sum(rate for name, rate in rates.items() if name != CONTROL) == 1_000
    assert set(rates) == {*STREAMS, CONTROL}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [],
        lambda lines: ["{}", *lines[1:]],
        lambda lines: lines[:-1],
        lambda lines: [*lines[:-1], lines[-1][:-16]],
        lambda lines: [*lines[:-1], "?" + lines[-1][1:]],
        lambda lines: [*lines[:-1], base64.b64encode(b"12345").decode()],
    ],
)
def test_output_that_is_not_whole_is_refused(spoil: object) -> None:
    assert callable(spoil)
    lines = recorded("load-gap-100ms").output.splitlines()
    with pytest.raises(ParseError, match="turns load: "):
        parse("\n".join(spoil(lines)))
