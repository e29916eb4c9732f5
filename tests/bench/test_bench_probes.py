"""Each probe's command and reading, with recorded outputs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.plan import plan_for
from bench.probes import build_probes, warmup_probes
from bench.probes.base import Bench, Probe, Reading, SampleError
from bench.probes.dns import dns_capacity_probe, dns_probe
from bench.probes.http import connect_max_probe, connect_probe, http_probe
from bench.probes.iperf import tcp_probe
from bench.probes.rtt import rtt_probe
from bench.probes.udp import SocketLoss, overflows, udp_probe
from bench.session import CommandResult, resolve_targets
from bench.text import ParseError
from tests.bench.fakes import PLAN, FakeSession, failing, instead, truncated
from tests.bench.sample_results import texts


def bench_of(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def read(probe: Probe, session: FakeSession) -> Reading:
    return probe.measure(bench_of(session))


@pytest.mark.parametrize("profile", ["quick", "published"])
def test_every_probe_reads_what_it_promises(profile: str) -> None:
    for probe in build_probes(plan_for(profile)):
        if probe.name == "idle":
            continue
        session = FakeSession()
        promised = {metric.name for metric in probe.metrics}
        plan = replace(PLAN, http_rates=(1000, 5000))
        same = next(other for other in build_probes(plan) if other.name == probe.name)
        reading = read(same, session)
        assert set(reading.values) | set(reading.missing) == promised
        assert probe.summary(reading)


def test_commands_run_on_the_clients_against_servers_and_services(session: FakeSession) -> None:
    targets = resolve_targets(session)
    plan = replace(plan_for("quick"), tool_latencies=True)
    probes = {probe.name: probe for probe in build_probes(plan)}
    lines = {}
    for name, probe in probes.items():
        invocation = probe.invocation(targets)
        if invocation is not None:
            assert invocation.role.endswith("-client")
            lines[name] = " ".join(invocation.full())
    assert lines["tcp"].startswith("iperf3 -c 10.0.0.1 -p 5201 -t 1 -P 8")
    assert lines["fortio_rtt"].endswith("-r 0.000001 -c 1 -qps 0 -t 1s tcp://10.0.0.1:8078")
    assert lines["http_1000"].endswith("-qps 1000 -t 1s -uniform http://10.100.0.10:80/get")
    assert lines["http_max"].endswith("-c 64 -qps 0 -t 1s http://10.100.0.10:80/get")
    assert "-keepalive=false" in lines["fortio_connect"]
    assert " -c 1 -qps 0 -n 1000 " in lines["fortio_connect"], "one at a time, and counted"
    assert " -c 16 -qps 0 -n 3000 " in lines["connect_max"]
    assert "yes 'kubernetes.default.svc.cluster.local. A' | dnsperf " in lines["dns_capacity"]
    assert lines["loaded_rtt"] == lines["fortio_rtt"]
    assert "-u -b 10000000000 -n 500000000" in lines["udp_search"]
    assert lines["dig"].count("kubernetes.default.svc.cluster.local.") == 100


def test_the_request_log_is_read_at_fixed_rates(session: FakeSession) -> None:
    targets = resolve_targets(session)
    for rate, logged in ((1000, True), (50_000, True), (None, False)):
        argv = http_probe(PLAN, rate).invocation(targets).argv
        assert ("-access-log-file" in argv) is logged
        assert ("-r" in argv) is not logged


def test_tcp_reads_gigabits_and_retransmits(session: FakeSession) -> None:
    reading = read(tcp_probe(PLAN), session)
    assert 0.1 < reading.values["tcp_streams_throughput"] < 100
    assert reading.facts["iperf3"] == "iperf 3.12"


def test_tcp_without_a_count_of_retransmits_has_it_missing(session: FakeSession) -> None:
    def without(result: CommandResult) -> CommandResult:
        document = json.loads(result.stdout)
        del document["end"]["sum_sent"]["retransmits"]
        return replace(result, stdout=json.dumps(document))

    session.spoil["iperf3-tcp"] = [without]
    probe = tcp_probe(PLAN)
    reading = read(probe, session)
    assert "tcp_retransmits" not in reading.values
    assert "does not count" in reading.missing["tcp_retransmits"]
    assert "retransmits" not in probe.summary(reading)


def test_udp_keeps_goodput_and_offered_rate_apart(session: FakeSession) -> None:
    reading = read(udp_probe(PLAN), session)
    values = reading.values
    assert values["udp_goodput"] < values["udp_sender_rate"]
    assert 0 < values["udp_loss"] < 100
    assert values["udp_jitter"] > 0
    assert reading.facts["datagram_bytes"] == 1448


def udp_with_overflows(session: FakeSession, count: int) -> Reading:
    session.overflow_per_read = count
    return read(SocketLoss(udp_probe(PLAN)), session)


def test_loss_at_the_receivers_socket_is_told_from_loss_on_the_way(session: FakeSession) -> None:
    """The recording has lost 17,839 datagrams."""
    reading = udp_with_overflows(session, 17_839)
    assert reading.facts["lost_datagrams"] == reading.facts["lost_at_the_socket"] == 17_839
    for name in ("udp_loss", "udp_goodput"):
        assert texts(reading.notes[name]).startswith(
            "100 % of the loss was at the receiver's full socket"
        )
    assert "udp_sender_rate" not in reading.notes
    on_the_way = udp_with_overflows(session, 100)
    assert on_the_way.facts["lost_at_the_socket"] == 100
    assert not on_the_way.notes


def test_socket_counters_that_cannot_be_read_cost_no_sample(session: FakeSession) -> None:
    session._count = failing("no cat in the pod")  # type: ignore[assignment]
    reading = read(SocketLoss(udp_probe(PLAN)), session)
    assert reading.values["udp_loss"] > 0
    assert "lost_at_the_socket" not in reading.facts
    for text in ("", "Udp: A B\nUdp: 1 2\n", "Udp: RcvbufErrors\n"):
        with pytest.raises(ParseError):
            overflows(text)
    assert overflows("Ip: X\nIp: 1\nUdp: InErrors RcvbufErrors\nUdp: 7 5\n") == 5


def test_rtt_and_connect_are_microseconds(session: FakeSession) -> None:
    rtt = read(rtt_probe(PLAN), session).values
    assert 1 < rtt["fortio_rtt_p50"] < rtt["fortio_rtt_p99"] < 1e6
    connect = read(connect_probe(PLAN), session).values
    assert 1 < connect["fortio_connect_p50"] <= connect["fortio_connect_p99"] < 1e6
    assert connect["fortio_connect_errors"] == 0


def test_a_rate_that_is_not_reached_is_warned_of_and_labels_the_latency(
    session: FakeSession,
) -> None:
    probe = http_probe(replace(PLAN, http_rates=(200,)), 200)  # the recording reached 100
    reading = read(probe, session)
    assert any("of 200 requests/s were reached" in text for text in reading.warnings)
    assert "saturated" in texts(reading.notes["http_200_p99"])
    assert "http_200_qps" not in reading.notes


def test_failed_requests_are_a_metric_a_warning_and_a_label(session: FakeSession) -> None:
    session.spoil["fortio-http-100"] = [instead("fortio-some-errors")]
    reading = read(http_probe(PLAN, 100), session)
    assert reading.values["http_100_errors"] > 0
    assert any("requests failed" in text for text in reading.warnings)
    assert "some requests failed" in texts(reading.notes["http_100_p99"])


def test_a_coarse_bucket_is_noted(session: FakeSession) -> None:
    def slow(result: CommandResult) -> CommandResult:
        document = json.loads(result.stdout)
        histogram = document["DurationHistogram"]
        histogram["Data"] = [{"Start": 0.001, "End": 0.002, "Percent": 100.0, "Count": 1}]
        for item in histogram["Percentiles"]:
            item["Value"] = 0.0015
        return replace(result, stdout=json.dumps(document, indent=1))

    session.spoil["fortio-tcp"] = [slow]
    reading = read(rtt_probe(PLAN), session)
    assert "between 1,000 and 2,000 µs" in texts(reading.notes["fortio_rtt_p99"])


def test_dns_counts_failures(session: FakeSession) -> None:
    plan = replace(PLAN, dns_queries=7)
    session.spoil["dig-answers"] = [instead("dig-mixed")]
    probe = dns_probe(plan)
    reading = read(probe, session)
    assert reading.values["dig_failures"] == pytest.approx(400 / 7)
    assert "timed out (1)" in reading.warnings[0]
    assert probe.summary(reading).endswith("57 % failed")


def test_dns_in_whole_milliseconds_says_so(session: FakeSession) -> None:
    session.spoil["dig-answers"] = [instead("dig-milliseconds")]
    reading = read(dns_probe(replace(PLAN, dns_queries=3)), session)
    assert "whole milliseconds" in texts(reading.notes["dig_p50"])


@pytest.mark.parametrize(
    ("name", "probe"),
    [
        ("iperf3-tcp", tcp_probe(PLAN)),
        ("iperf3-udp", udp_probe(PLAN)),
        ("fortio-tcp", rtt_probe(PLAN)),
        ("fortio-http-100", http_probe(PLAN, 100)),
        ("fortio-connect", connect_probe(PLAN)),
        ("fortio-connect-max", connect_max_probe(PLAN)),
        ("dnsperf-answers", dns_capacity_probe(PLAN)),
    ],
)
def test_half_an_output_or_no_run_is_a_failed_sample(name: str, probe: Probe) -> None:
    session = FakeSession()
    session.spoil[name] = [truncated, failing("no such pod")]
    with pytest.raises(SampleError, match=r"exit code 0"):
        read(probe, session)
    with pytest.raises(SampleError, match="no such pod"):
        read(probe, session)


def test_the_time_out_is_longer_than_the_run_and_shorter_than_what_is_left(
    session: FakeSession,
) -> None:
    probe = tcp_probe(replace(PLAN, bulk_seconds=30))
    targets = resolve_targets(session)
    probe.measure(Bench(session, targets))
    probe.measure(Bench(session, targets, session.time.clock(), deadline=13.0))
    assert [timeout for _, _, timeout in session.calls] == [75.0, 12.0]


def test_latency_metrics_say_how_the_load_is_offered() -> None:
    for probe in build_probes(plan_for("quick")):
        for metric in probe.metrics:
            if metric.unit == "µs" and metric.name != "udp_jitter":
                assert metric.load_model, metric.name
    metrics = {m.name: m for probe in build_probes(plan_for("published")) for m in probe.metrics}
    assert "all starting together" in str(metrics["http_1000_p99"].load_model)


def test_warm_up_is_short_and_touches_both_kinds_of_traffic() -> None:
    names = [probe.name for probe in warmup_probes(plan_for("quick"))]
    assert names == ["http_max", "tcp"]
