"""Every known flaw of the published study, fed to the check that the docs name for it.

Each test makes the study's situation, with its own figures where it has some, and sees the check
fail or say what the study did not. The table in docs/numbers.md is read, too: a check that it names
and that does not exist fails here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.checks import PreconditionError
from bench.compare import Comparison, MetricComparison, compare
from bench.interleave import run_benchmark
from bench.plan import ALLOWABLE, PROFILES
from bench.probes import build_probes
from bench.probes.base import Bench
from bench.probes.rtt import loaded_probe
from bench.probes.udp import udp_probe
from bench.results import MetricResult, ProbeResult, Results
from bench.session import CommandResult, resolve_targets
from cni.cilium.values import chart_keys, unknown_values
from cni.dataplane import configuration
from cni.decisions import decide, verify
from cni.platform import Kernel, lab_facts
from cni.registry import DATAPLANES, TOGGLES
from cni.scenario import Scenario
from tests.bench.fakes import PLAN, FakeSession, recorded
from tests.bench.sample_results import metric, results
from tests.cni.stackfiles import recorded_agents, stack_scenario

DOCS = Path(__file__).parents[2] / "docs" / "numbers.md"
HEADING = "## What the published study got wrong"
P99_US = {"a": 10_920.0, "d": 8_750.0, "e": 9_890.0}
"""HTTP p99 at 1,000 requests/s, as published."""


def run(session: FakeSession, **changes: object) -> Results:
    plan = replace(PLAN, **changes)  # type: ignore[arg-type]
    return run_benchmark(session, plan, clock=session.time.clock())


def refused(session: FakeSession) -> str:
    with pytest.raises(PreconditionError) as info:
        run(session)
    return info.value.checks[-1].name


def scenario(label: str, runs: int) -> Results:
    """The published p99 of a scenario, with runs that scatter by 1 % around it."""
    noise = np.random.default_rng(ord(label)).normal(scale=0.01, size=runs)
    samples = [float(P99_US[label] * value) for value in np.exp(noise - np.median(noise))]
    return results({"http_1000_p99": metric(samples)})


# -- the flaws, in the order of the table -------------------------------------------------------


def test_a_gain_computed_with_another_scenarios_number() -> None:
    """-20 % was D's; a comparison has the two results that it names, and E's own -9.4 %."""
    sides = {label: scenario(label, runs=8) for label in P99_US}
    found = compare(sides["a"], sides["e"], labels=("scenario-a", "scenario-e"))
    p99 = found.metrics["http_1000_p99"]
    assert found.labels == ("scenario-a", "scenario-e")
    assert p99.effect.value == pytest.approx(-9.4, abs=1)
    assert not p99.effect.low <= -20 <= p99.effect.high
    assert p99.verdict == "better"
    other = compare(sides["a"], sides["d"]).metrics["http_1000_p99"]
    assert other.effect.low <= -20 <= other.effect.high


def test_single_runs_called_medians_of_three() -> None:
    single = run(FakeSession(), runs=1)
    for name, found in single.metrics.items():
        assert {place.round for place in found.places} == {1}, name
        if not found.slices:
            assert (found.n, len(found.samples), found.ci_level) == (1, 1, 0.0), name
    p99 = compare(scenario("a", runs=1), scenario("e", runs=1)).metrics["http_1000_p99"]
    assert p99.verdict == "too few runs"
    assert PROFILES["published"].runs == 3


def sent(gbps: float, lost_percent: float) -> FakeSession:
    """A session in which iperf3 put out so much UDP, of which a share was lost."""

    def answer(result: CommandResult) -> CommandResult:
        report = json.loads(result.stdout)
        end = report["end"]
        end["sum_sent"]["bits_per_second"] = end["sum"]["bits_per_second"] = gbps * 1e9
        received = gbps * (1 - lost_percent / 100) * 1e9
        end["sum_received"] |= {"bits_per_second": received, "lost_percent": lost_percent}
        return replace(result, stdout=json.dumps(report))

    session = FakeSession()
    session.spoil["iperf3-udp"] = [answer]
    return session


def test_the_senders_rate_called_throughput() -> None:
    """10.00 against 7.92 Gbit/s were published of A and B; 7.96 and 7.85 arrived."""
    found = []
    for gbps, lost in ((10.00, 20.39), (7.92, 0.94)):
        session = sent(gbps, lost)
        bench = Bench(session, resolve_targets(session), session.time.clock())
        values = udp_probe(PLAN).measure(bench).values
        assert values["udp_sender_rate"] == pytest.approx(gbps)
        assert values["udp_loss"] == pytest.approx(lost)
        found.append(values["udp_goodput"])
    assert found == pytest.approx([7.96, 7.85], abs=0.005)


def test_the_mean_under_load_printed_as_p50_and_p99(session: FakeSession) -> None:
    probe = loaded_probe(PLAN)
    reading = probe.measure(Bench(session, resolve_targets(session), session.time.clock()))
    values = reading.values
    bulk = json.loads(recorded("iperf3-stream").stdout)["end"]["streams"][0]["sender"]
    assert values["bulk_mean_rtt"] == bulk["mean_rtt"]
    assert values["loaded_rtt_p50"] < values["loaded_rtt_p99"], "percentiles of single round trips"
    names = {each.name: each for probe in build_probes(PLAN) for each in probe.metrics}
    assert not any(name.startswith("bulk_mean_rtt_p") for name in names)
    assert names["rtt_p99"].group == "Latency without load"
    assert names["loaded_rtt_p99"].group == names["bulk_mean_rtt"].group == "Latency under load"


def test_http_that_measures_the_server(session: FakeSession) -> None:
    session.pod_limit = 0.3  # what the recorded server uses
    found = run(session, http_rates=(100, 5_000))
    for name in ("http_5000", "http_max"):
        assert {limit.by for limit in found.probes[name].limits} == {"server"}
    of_server = "the server's CPUs were the limit, not the network"
    assert of_server in found.metrics["http_max_p99"].note_texts()
    notes = " ".join(found.metrics["http_5000_p99"].note_texts())
    assert of_server in notes
    assert "of 5,000 requests/s were reached: latency of a saturated path" in notes


def test_a_generator_that_is_the_limit(session: FakeSession) -> None:
    with pytest.raises(PreconditionError, match="'generator' failed"):
        run(session, http_rates=(500_000,))


def test_loss_credited_to_a_bandwidth_manager_that_is_off(session: FakeSession) -> None:
    agents = recorded_agents("scenario-b")
    facts = lab_facts(
        kernel=Kernel(6, 1), arch="x86_64", vcpus=4, memory_mib=16_000, lacks=frozenset()
    )
    b = Scenario.model_validate(stack_scenario("scenario-b"), by_alias=True, by_name=False)
    states = {state.toggle: state for state in verify(decide(b, facts), agents)}
    state = states["bandwidthManager"]
    assert not (state.requested or state.applied or state.verified)
    # And where it is asked for while the agents have it off, nothing is measured.
    values = {"bandwidthManager": {"enabled": True}, "tunnelProtocol": "vxlan"}
    session.settings = list(
        configuration(DATAPLANES["cilium"], values, agents, kube_proxy=("iptables", "iptables"))
    )
    with pytest.raises(PreconditionError, match="Bandwidth Manager is off, on was asked for"):
        run(session)
    assert refused(session) == "configuration"


def test_client_and_server_on_one_node(session: FakeSession) -> None:
    session.nodes["server"] = session.nodes["client"]
    assert refused(session) == "placement"


def test_burst_credit_that_runs_out(session: FakeSession) -> None:
    session.held_back = {"node-1": {"bw_in_allowance_exceeded": 0}}
    # The credit is used up in the second round.
    session.throttle["iperf3-tcp"] = [0, 0, 0, 42, 99]
    found = run(session)
    assert found.metrics["tcp_streams_throughput"].throttled == 2
    assert any("held traffic back" in text for text in found.warnings)
    spent = FakeSession()
    spent.held_back = {"node-1": {"bw_in_allowance_exceeded": 0}}
    slept = spent.time.sleep

    def sleep(seconds: float) -> None:
        spent.held_back["node-1"]["bw_in_allowance_exceeded"] += 1
        slept(seconds)

    spent.time.sleep = sleep  # type: ignore[method-assign]
    assert refused(spent) == "allowances"


def test_helm_values_that_do_not_exist(session: FakeSession) -> None:
    values = {"bpf": {"ctGlobalAnyMax": 524_288, "ctGlobalTcpMax": 1_048_576}}
    assert unknown_values(values, chart_keys()) == [
        "bpf.ctGlobalAnyMax: not a value of this chart (did you mean bpf.ctAnyMax?)",
        "bpf.ctGlobalTcpMax: not a value of this chart (did you mean bpf.ctTcpMax?)",
    ]
    # Had they been let through: the maps have the sizes of scenario D, which asks for none.
    wanted = {
        "routingMode": "native", "kubeProxyReplacement": True,
        "extraConfig": {"bpf-ct-global-tcp-max": "1048576"},
    }  # fmt: skip
    session.settings = list(
        configuration(
            DATAPLANES["cilium"], wanted, recorded_agents("scenario-d"), kube_proxy=("none", "none")
        )
    )
    assert refused(session) == "configuration"


def test_claims_without_a_measurement() -> None:
    measured = scenario("a", runs=8)
    more = {**measured.metrics, "services_5000_connect_p50": metric([190.0] * 8)}
    found = compare(measured, results(more))
    assert found.not_compared == {"services_5000_connect_p50": "a has no samples of it"}
    assert "services_5000_connect_p50" not in found.metrics


# -- the table ----------------------------------------------------------------------------------

TESTED: Sequence[tuple[str, tuple[str, ...]]] = (
    ("computed with D's number", ("verdict", "effect", "labels")),
    ("were single runs", ("n", "samples", "ci_level", "too few runs")),
    ("is the sender's rate", ("udp_goodput", "udp_sender_rate", "udp_max_goodput")),
    ("printed as p50 and p99", ("rtt_p99", "loaded_rtt_p99", "bulk_mean_rtt")),
    ("measures the HTTP server", ("limits", "notes", "generator")),
    ("Bandwidth Manager that is off", ("configuration", "toggles.bandwidthManager")),
    ("may have shared a node", ("placement",)),
    ("Burst credit", ("allowances", "throttled")),
    ("Helm values do not exist", ("scenario.values", "configuration")),
    ("without a measurement", ("not_compared",)),
)
"""A part of each flaw in the table, and the names that its row must have, all of which are fed
above."""


def test_the_table_names_for_each_flaw_the_checks_that_are_tested_here() -> None:
    section = DOCS.read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    rows = re.findall(r"^\| (?!flaw|---)(.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    assert len(rows) == len(TESTED) == 10
    for (flaw, named, _), (about, names) in zip(rows, TESTED, strict=True):
        assert about in flaw
        assert tuple(re.findall(r"`([^`]+)`", named)) == names, flaw


def test_every_named_check_exists() -> None:
    known = {
        *ALLOWABLE,
        *(each.name for probe in build_probes(PROFILES["standard"]) for each in probe.metrics),
        *MetricResult.model_fields,
        *ProbeResult.model_fields,
        *Comparison.model_fields,
        *MetricComparison.model_fields,
        "too few runs",
        "scenario.values",
        *(f"toggles.{name}" for name in TOGGLES),
    }
    assert {name for _, names in TESTED for name in names} <= known
