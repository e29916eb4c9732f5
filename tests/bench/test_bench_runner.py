"""Rounds, retries, missing samples, bounds, progress and what comes out at the end."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bench.checks import PreconditionError
from bench.environment import NetworkLimits
from bench.interleave import BenchmarkError, run_benchmark, time_bound
from bench.plan import Plan
from bench.probes import build_probes
from bench.results import Results, from_json
from bench.session import CommandResult
from tests.bench.fakes import PLAN, FakeSession, failing, instead, truncated
from tests.bench.turns_output import TURNS

PROBES = [
    *TURNS, "idle", "dig", "fortio_rtt", "fortio_connect", "http_100", "connect_max",
    "dns_capacity", "http_max", "loaded_rtt", "tcp", "udp_search", "udp",
]  # fmt: skip


def run(session: FakeSession, plan: Plan = PLAN, lines: list[str] | None = None) -> Results:
    said = lines if lines is not None else []
    return run_benchmark(session, plan, progress=said.append, clock=session.time.clock())


def test_rounds_are_interleaved_after_a_discarded_warm_up(session: FakeSession) -> None:
    run(session)
    names = [name for name, _, _ in session.calls]
    checks = ["fortio-version", "iperf3-version", "dig-version", "dnsperf-version",
              "fortio-tcp", "fortio-http-max", "dig-one", "iperf3-tcp",
              "ip-route", "ip-link", "iperf3-unfragmented", "fortio-echo"]  # fmt: skip
    warmup = ["fortio-http-max", "iperf3-tcp"]
    calibration = ["fortio-null"]
    before = [*checks, *warmup, *calibration]
    begun = len(checks)
    names[begun : begun + len(warmup)] = sorted(names[begun : begun + len(warmup)])  # at once
    assert names[: len(before)] == before
    turns = [f"turns-{name}" for name in ("roundtrip", "connect", "http", "dns", "transfer",
             "datagram", "burst", "burst", "burst")]  # fmt: skip
    one = [*turns, "dig-answers", "fortio-tcp", "fortio-connect", "fortio-http-100",
           "fortio-connect-max", "dnsperf-answers", "fortio-http-max", "fortio-tcp",
           "iperf3-stream", "iperf3-tcp", "iperf3-udp", *["iperf3-udp-slow"] * 5,
           "iperf3-udp"]  # fmt: skip
    # The two commands of a loaded round trip run at once, so in any order.
    starts = range(len(before), len(names), len(one))
    rounds = [sorted(names[start : start + len(one)]) for start in starts]
    assert rounds == [sorted(one)] * 3


def test_progress_names_run_probe_and_result(session: FakeSession) -> None:
    lines: list[str] = []
    run(session, lines=lines)
    assert lines[0] == "checking preconditions"
    assert lines[1].startswith("warming up")
    assert lines[2] == "21 preconditions hold"
    steps = lines[3:]
    assert len(steps) == 63
    assert steps[0].startswith("[1/63] run 1 of 3: rtt … ")
    assert re.match(r"\[35/63\] run 2 of 3: http_100 … \d+ QPS, p99 [\d.]+ .s, CNI ", steps[34])
    assert steps[-1].startswith("[63/63] run 3 of 3: udp … ")
    assert steps[-1].endswith("% lost")


def test_results_hold_everything_that_is_needed_to_judge_them(session: FakeSession) -> None:
    results = run(session)
    assert not results.warnings
    assert not results.errors
    assert list(results.probes) == PROBES
    parts = ("cilium-agent", "cilium-operator")
    names = {metric.name for probe in build_probes(PLAN, parts) for metric in probe.metrics}
    assert set(results.metrics) == names
    assert {"cni_cpu_cilium_agent", "cni_cpu_cilium_operator", "tcp_cpu_per_gb"} < names
    metric = results.metrics["tcp_streams_throughput"]
    assert metric.n == len(metric.samples) == 3
    assert metric.ci_level == 0.75
    assert metric.ci[0] <= metric.median <= metric.ci[1]
    assert (metric.unit, metric.better, metric.probe) == ("Gbit/s", "higher", "tcp")
    turns = results.metrics["tcp_throughput"]
    assert (turns.n, len(turns.samples), turns.slices) == (3, 3, []), "nobody else took turns"
    assert results.metrics["udp_loss"].at_equal == "udp_sender_rate"
    assert results.tools == {
        "fortio": "1.65.0", "iperf3": "3.12", "dig": results.tools["dig"],
        "dnsperf": "2.10.0",
    }  # fmt: skip
    assert results.probes["dig"].repeat_last == 10
    assert results.probes["tcp"].argv[:3] == ["iperf3", "-c", "10.0.0.1"]
    assert results.probes["idle"].argv == []
    assert results.environment.kernel == "6.1.0"
    assert {place.node for place in results.placement if place.side == "server"} == {"node-2"}
    assert len([place for place in results.placement if place.role == "httpbin"]) == 2
    assert all(check.passed for check in results.checks)
    assert results.started == "2026-01-02T03:04:05+00:00"
    assert from_json(results.to_json()) == results


def test_a_failed_attempt_is_tried_again_and_told(session: FakeSession) -> None:
    # The first answer goes to the precondition, the second to the warm-up.
    good = instead("iperf3-tcp")
    session.spoil["iperf3-tcp"] = [good, good, instead("iperf3-busy"), truncated]
    lines: list[str] = []
    results = run(session, lines=lines)
    assert results.metrics["tcp_streams_throughput"].n == 3
    assert len(results.probes["tcp"].failures) == 2
    assert "server is busy" in results.probes["tcp"].failures[0]
    assert any(line.endswith("(after 2 failed)") for line in lines)
    assert any(text.startswith("tcp: 2 failed attempts") for text in results.warnings)
    assert session.time.slept.count(0.5) == 2


def test_a_sample_that_never_comes_is_missing_with_its_reason_and_not_zero(
    session: FakeSession,
) -> None:
    good = instead("iperf3-udp")  # the search's first trial
    session.spoil["iperf3-udp"] = [good, *[instead("iperf3-refused")] * PLAN.attempts]
    lines: list[str] = []
    results = run(session, lines=lines)
    metric = results.metrics["udp_goodput"]
    assert metric.n == 2
    assert 0 not in metric.samples
    assert metric.ci_level == 0.5
    assert "run 1: iperf3: unable to connect" in metric.missing[0].text()
    assert any(text.startswith("udp_goodput: 2 of 3 samples (run 1:") for text in results.warnings)
    assert any("udp … missing: iperf3: unable to connect" in line for line in lines)
    assert len([name for name, _, _ in session.calls if name == "iperf3-udp"]) == 3 + 5


def test_a_metric_without_any_sample_fails_the_run_and_keeps_the_others(
    session: FakeSession,
) -> None:
    session.spoil["dig-answers"] = [failing("dns-client-0 did not answer")] * 100
    with pytest.raises(BenchmarkError, match="no number for dig_p50: no sample in 3 runs") as info:
        run(session)
    results = info.value.results
    assert {each.metric for each in results.errors} == {"dig_p50", "dig_p99", "dig_failures"}
    assert "did not answer" in results.errors[0].reason
    assert "dig_p50" not in results.metrics
    assert results.metrics["tcp_streams_throughput"].n == 3
    assert len(results.probes["dig"].failures) == PLAN.runs * PLAN.attempts
    assert from_json(results.to_json()).errors == results.errors


def test_a_cloud_that_bounds_one_flow_is_told_of_and_measured_with_several(
    session: FakeSession,
) -> None:
    session.network = NetworkLimits(
        sustained_gbit=1e-4, burst_gbit=12.5, flow_gbit=5, placement_group=False
    )
    results = run(session)
    kinds = {
        name: {note.kind for note in metric.notes} & {"one-flow", "burst"}
        for name, metric in results.metrics.items()
    }
    assert kinds["udp_goodput"] == kinds["udp_max_goodput"] == {"one-flow", "burst"}
    assert kinds["udp_loss"] == {"one-flow"}
    assert kinds["tcp_streams_throughput"] == kinds["udp_flows_goodput"] == {"burst"}
    assert kinds["udp_sender_rate"] == kinds["http_100_p99"] == set()
    assert any(
        "bounds at 5 Gbit/s here" in text for text in results.metrics["udp_goodput"].note_texts()
    )
    assert results.metrics["udp_flows_goodput"].n == PLAN.runs
    assert " -u -b 1250000000 -P 8 " in " ".join(results.probes["udp_flows"].argv)


def test_elsewhere_no_flow_is_bounded(session: FakeSession) -> None:
    results = run(session)
    assert "udp_flows" not in results.probes
    assert not {"one-flow", "burst"} & {
        note.kind for metric in results.metrics.values() for note in metric.notes
    }


def test_a_cluster_that_is_far_away_has_a_longer_bound(session: FakeSession) -> None:
    session.latency = 8.0
    results = run(session)
    assert [each for metric in results.metrics.values() for each in metric.missing] == []
    assert session.time.seconds > time_bound(PLAN, build_probes(PLAN))


def test_the_whole_benchmark_is_bounded(session: FakeSession) -> None:
    bound = time_bound(PLAN, build_probes(PLAN))
    session.seconds_per_command = bound / 30
    with pytest.raises(BenchmarkError) as info:
        run(session)
    assert session.time.seconds <= bound * 1.1
    assert "the benchmark's time was over" in " ".join(
        each.text() for each in info.value.results.errors
    )


def test_one_metric_missing_everywhere_does_not_take_its_probe_along(session: FakeSession) -> None:
    session.lacking.add("usage")
    with pytest.raises(BenchmarkError) as info:
        run(session, replace(PLAN, allow=("quiet-agents", "quiet-machine")))
    results = info.value.results
    assert {each.metric for each in results.errors} == {
        "cni_cpu_idle",
        "cni_cpu",
        "cni_memory",
    }
    assert results.metrics["http_100_p99"].n == 3


def test_notes_of_every_run_are_said_once_and_others_with_their_run(session: FakeSession) -> None:
    session.spoil["fortio-http-100"] = [instead("fortio-some-errors")]
    results = run(session, replace(PLAN, http_rates=(100,)))
    texts = results.metrics["http_100_p99"].note_texts()
    assert "run 1: some requests failed" in texts
    assert any(text.startswith("http_100, run 1: ") for text in results.warnings)
    always = run(FakeSession(), replace(PLAN, http_rates=(100, 200)))
    notes = always.metrics["http_200_p99"].notes
    assert len({note.kind for note in notes}) == len(notes)
    assert notes[0].text().startswith("only ")


def test_nothing_is_measured_when_workloads_are_not_there(session: FakeSession) -> None:
    session.lacking.add("httpbin")
    with pytest.raises(PreconditionError, match="role httpbin has 0 ready pods, 2 wanted"):
        run(session)
    assert session.calls == []


@pytest.mark.parametrize(("nodes", "told"), [(["node-2", "node-3"], 0), (["node-1", "node-3"], 1)])
def test_dns_beside_the_clients_is_warned_of(
    session: FakeSession, nodes: list[str], told: int
) -> None:
    session.dns_nodes = nodes
    results = run(session)
    warnings = [text for text in results.warnings if "cluster's DNS" in text]
    assert len(warnings) == told
    assert all(text.startswith("1 of 2 pods") for text in warnings)
    assert results.environment.dns_nodes == nodes
    assert results.dns_place == f"2, {told} with clients, {1 - told} with servers"


def test_pods_that_change_meanwhile_are_warned_of(session: FakeSession) -> None:
    def move(result: CommandResult) -> CommandResult:
        session.nodes["server"] = "node-3"
        return result

    session.spoil["iperf3-udp"] = [move]
    assert any("pods changed during" in text for text in run(session).warnings)


def test_pods_that_go_meanwhile_are_warned_of(session: FakeSession) -> None:
    def leave(result: CommandResult) -> CommandResult:
        session.lacking.add("httpbin")
        return result

    session.spoil["iperf3-udp"] = [leave]
    assert any("did not last until the end" in text for text in run(session).warnings)
