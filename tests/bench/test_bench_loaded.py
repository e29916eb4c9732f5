"""Round trips during a bulk transfer, and the published study's own figure beside them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.plan import plan_for
from bench.probes.base import Bench, Reading, SampleError
from bench.probes.rtt import loaded_probe
from bench.session import CommandResult, resolve_targets
from tests.bench.fakes import PLAN, FakeSession, instead, truncated


def measure(session: FakeSession) -> Reading:
    bench = Bench(session, resolve_targets(session), session.time.clock())
    return loaded_probe(PLAN).measure(bench)


def test_both_figures_come_from_one_transfer(session: FakeSession) -> None:
    reading = measure(session)
    assert 1 < reading.values["loaded_rtt_p50"] < reading.values["loaded_rtt_p99"] < 1e6
    stream = json.loads(instead("iperf3-stream")(CommandResult((), 0, "", "", 0)).stdout)
    mean = stream["end"]["streams"][0]["sender"]["mean_rtt"]
    assert reading.values["bulk_mean_rtt"] == mean > 0
    assert {name for name, _, _ in session.calls} == {"fortio-tcp", "iperf3-stream"}
    assert " -P 1 " in str(reading.facts["transfer"])
    assert loaded_probe(PLAN).summary(reading).endswith(" µs")


def test_the_transfer_outlasts_the_round_trips_and_is_read_often() -> None:
    for profile, transfer, interval in (("quick", 2, "0.2"), ("published", 30, "1")):
        probe = loaded_probe(plan_for(profile))
        assert probe.seconds == transfer > probe.echo_seconds
        session = FakeSession()
        bench = Bench(session, resolve_targets(session), session.time.clock())
        reading = probe.measure(bench)
        assert f"-t {transfer} -P 1 -i {interval} " in str(reading.facts["transfer"])


def slow(result: CommandResult) -> CommandResult:
    return replace(result, seconds=9.0)


def without_rtt(result: CommandResult) -> CommandResult:
    report = json.loads(result.stdout)
    for stream in report["end"]["streams"]:
        del stream["sender"]["mean_rtt"]
    return replace(result, stdout=json.dumps(report))


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("iperf3-stream", instead("iperf3-busy"), "server is busy"),
        ("iperf3-stream", truncated, "no complete JSON report"),
        ("iperf3-stream", without_rtt, "no round-trip time on this system"),
        ("fortio-tcp", instead("fortio-all-failed"), "requests failed"),
        ("fortio-tcp", slow, "took 9.0 s and may have outlasted the transfer"),
    ],
)
def test_one_half_alone_is_no_sample(
    session: FakeSession, name: str, spoil: object, reason: str
) -> None:
    session.spoil[name] = [spoil]  # type: ignore[list-item]
    with pytest.raises(SampleError, match=reason):
        measure(session)
