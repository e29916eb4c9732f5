"""dnsperf's statistics, recorded and spoilt."""

from __future__ import annotations

import pytest

from bench.probes.dns import parse_dnsperf
from bench.text import ParseError
from tests.bench.fakes import recorded, truncated


def test_a_recorded_run() -> None:
    load = parse_dnsperf(recorded("dnsperf-answers").stdout)
    assert load.rate == pytest.approx(load.sent, rel=0.15), "it ran for about a second"
    assert not load.failures


def test_lost_queries_are_failures_and_no_rate() -> None:
    load = parse_dnsperf(recorded("dnsperf-some-lost").stdout)
    assert load.sent == 3
    assert load.failures == {"lost": 2}
    assert load.rate == pytest.approx(1.0, rel=0.01)


def spoilt(old: str, new: str) -> str:
    text = recorded("dnsperf-answers").stdout
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("stdout", "reason"),
    [
        (recorded("dnsperf-lost").stdout, r"none of 2 queries was answered well \(lost \(2\)\)"),
        (recorded("dnsperf-broken").stdout, r"none of \d+ .* well \(SERVFAIL \(\d+\)"),
        (truncated(recorded("dnsperf-answers")).stdout, "no complete statistics"),
        ("", "no complete statistics; it said: connection refused"),
        (spoilt("Run time (s):         1", "Run time (s):         soon"), "'soon"),
        (spoilt("Queries sent:  ", "Queries seen:  "), "'Queries sent' is '', not a number"),
        (spoilt("NOERROR ", "NOERROR 1"), "queries completed in .* but response codes of 1"),
    ],
)
def test_what_is_no_measurement(stdout: str, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        parse_dnsperf(stdout, "connection refused")
