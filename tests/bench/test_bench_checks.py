"""Preconditions: each fails by name, with its evidence, and stops the run unless it is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.checks import Check, ClockReading, Gate, PreconditionError, check_cluster
from bench.interleave import run_benchmark
from bench.limits import Load, Observation
from bench.plan import ALLOWABLE, PROFILES, Plan
from bench.probes.base import Bench
from bench.readiness import (
    WINDOW_SECONDS,
    Calibrations,
    Readiness,
    Window,
    near_limit,
    others_at_rest,
    quiet,
    settled,
)
from bench.results import CalibrationResult
from bench.session import CommandResult, ComponentUsage, Health, resolve_targets
from cni.dataplane import Setting
from tests.bench.fakes import PLAN, FakeSession, failing, instead


def bench_of(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def check(session: FakeSession, *allow: str) -> dict[str, Check]:
    gate = Gate(allow)
    check_cluster(bench_of(session), gate)
    return {item.name: item for item in gate.checks}


def calibrated(session: FakeSession, plan: Plan, gate: Gate) -> CalibrationResult | None:
    bench = bench_of(session)
    readiness = Readiness(bench, gate)
    (found,) = quiet([bench], plan.settle_seconds)
    return readiness.require(found, plan, Calibrations(), version="")


def ready(session: FakeSession, *allow: str, plan: Plan = PLAN) -> dict[str, Check]:
    gate = Gate(allow)
    calibrated(session, plan, gate)
    return {item.name: item for item in gate.checks}


def test_all_hold_and_say_why(session: FakeSession) -> None:
    gate = Gate()
    versions = check_cluster(bench_of(session), gate)
    evidence = {item.name: item.evidence for item in gate.checks}
    assert all(item.passed for item in gate.checks)
    assert "fortio-client on node-1" in evidence["placement"]
    assert evidence["tool iperf3"] == "3.12"
    assert evidence["httpbin Service answers"].endswith(" requests, none failed")
    assert evidence["DNS answers kubernetes.default.svc.cluster.local."].startswith("answered in")
    assert evidence["health"] == "2 processes, all at work"
    assert evidence["configuration"] == "routing native"
    assert evidence["congestion-control"] == (
        "a transfer's sockets have cubic (client) and cubic (server); pods say cubic"
    )
    assert evidence["softirqs"] == (
        "receive softirqs during 200 round trips: 300 on node-1's, 300 on node-2's CPUs"
    )
    assert evidence["bpf-statistics"] == "kernel.bpf_stats_enabled: 0 on node-1, 0 on node-2"
    assert evidence["mtu"].startswith("1500 bytes: ")
    assert "Cilium at the socket 20, Cilium per packet 0" in evidence["service-path"]
    assert "node-2 is +0.0 ms ± 0.0 ms from node-1" in evidence["clocks"]
    assert versions["fortio"] == "1.65.0"
    assert ready(session)["quiet-agents"].passed


def test_every_allowable_precondition_exists(session: FakeSession) -> None:
    assert set(ALLOWABLE) < check(session).keys() | ready(session).keys()


def test_clients_and_servers_on_one_node_are_refused(session: FakeSession) -> None:
    session.nodes["server"] = "node-1"
    with pytest.raises(PreconditionError, match="clients and servers share node-1") as info:
        check(session)
    assert info.value.checks[-1].name == "placement"
    assert "--allow placement" in str(info.value)
    assert session.calls == []


def test_what_is_allowed_to_fail_is_marked_in_the_results(session: FakeSession) -> None:
    session.nodes["server"] = "node-1"
    plan = replace(PLAN, allow=("placement",))
    lines: list[str] = []
    results = run_benchmark(session, plan, progress=lines.append, clock=session.time.clock())
    marked = [item for item in results.checks if item.allowed]
    assert [(item.name, item.passed) for item in marked] == [("placement", False)]
    assert any(
        text.startswith("precondition 'placement' does not hold and was allowed: clients and")
        for text in results.warnings
    )
    at = lines.index("20 preconditions hold, placement allowed to fail")
    assert lines[at + 1].startswith("MARKED: precondition 'placement' does not hold")
    assert results.plan["allow"] == ["placement"]


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("fortio-version", failing("no fortio in the pod"), "'tool fortio' failed: no fortio in"),
        ("dig-version", lambda r: replace(r, stdout="", stderr="what?"), "no version in: what?"),
        ("fortio-tcp", instead("fortio-all-failed"), "'echo answers' failed: .*refused"),
        ("fortio-http-max", instead("fortio-http-refused"), "'httpbin Service answers' failed"),
        ("iperf3-tcp", instead("iperf3-busy"), "'iperf3 answers' failed: .*busy"),
        ("dig-one", instead("dig-refused"), "'DNS answers .*' failed"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_named(
    session: FakeSession, name: str, spoil: Callable[..., object], reason: str
) -> None:
    session.spoil[name] = [spoil]  # type: ignore[list-item]
    with pytest.raises(PreconditionError, match=reason) as info:
        check(session)
    failed = info.value.checks[-1]
    assert not failed.passed
    assert "-client-0 on node-1: " in failed.evidence
    assert "--allow" not in str(info.value), "there is nothing to measure then"


def test_one_failed_request_is_enough(session: FakeSession) -> None:
    session.spoil["fortio-http-max"] = [instead("fortio-some-errors")]
    with pytest.raises(PreconditionError, match="requests failed"):
        check(session)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (
            Setting("routing", "native", "tunnel vxlan"),
            "routing is tunnel vxlan, native was asked for",
        ),
        (
            Setting("socket load-balancing", "on", None),
            "socket load-balancing is nothing that any node reports, on was asked for",
        ),
        (
            Setting("masquerading", "bpf", "bpf, iptables"),
            "masquerading is bpf, iptables, bpf was asked for",
        ),
    ],
)
def test_another_configuration_than_the_requested_one_is_refused(
    session: FakeSession, setting: Setting, reason: str
) -> None:
    session.settings.append(setting)
    with pytest.raises(PreconditionError, match=f"'configuration' failed: {reason}"):
        check(session)
    assert not check(session, "configuration")["configuration"].passed


def sent_by(sender: str | None, receiver: str) -> Callable[[CommandResult], CommandResult]:
    """A transfer whose sockets have these congestion controls."""

    def changed(result: CommandResult) -> CommandResult:
        report = json.loads(result.stdout)
        report["end"] |= {"sender_tcp_congestion": sender, "receiver_tcp_congestion": receiver}
        return replace(result, stdout=json.dumps(report))

    return changed


@pytest.mark.parametrize(
    ("sender", "receiver", "pods", "agents", "holds"),
    [
        ("cubic", "cubic", "cubic", None, True),
        ("bbr", "bbr", "bbr", "bbr", True),
        ("cubic", "cubic", None, None, True),
        ("cubic", "cubic", "cubic", "None", True),
        ("bbr", "bbr", "cubic", None, False),
        ("cubic", "bbr", "cubic", None, False),
        ("cubic", "bbr", None, None, False),
        # The agents have set it on the nodes, but the pods were there before.
        ("cubic", "cubic", "cubic", "bbr", False),
        ("cubic", "cubic", "cubic", ["bbr", "cubic"], False),
        (None, "cubic", "cubic", None, False),
    ],
)
def test_sockets_have_the_congestion_control_that_is_told(
    session: FakeSession,
    sender: str | None,
    receiver: str,
    pods: str | None,
    agents: str | list[str] | None,
    holds: bool,
) -> None:
    session.congestion_control = pods
    session.agents_say = {} if agents is None else {"congestion_control": agents}
    session.spoil["iperf3-tcp"] = [sent_by(sender, receiver)]
    found = check(session, "congestion-control")["congestion-control"]
    assert found.passed is holds, found.evidence
    assert f"{sender} (client) and {receiver} (server)" in found.evidence


@pytest.mark.parametrize(
    ("told", "holds", "end"),
    [
        ("0", True, "0 on node-1, 0 on node-2"),
        ("No such file or directory", True, "unknown on node-1, unknown on node-2"),
        ("1", False, "Fix: sysctl -w kernel.bpf_stats_enabled=0 on node-1 and node-2"),
        ("Permission denied", False, "bpf_stats_enabled: Permission denied"),
    ],
)
def test_nodes_that_time_every_run_of_a_bpf_program_are_refused(
    session: FakeSession, told: str, holds: bool, end: str
) -> None:
    session.bpf_statistics = told
    found = check(session, "bpf-statistics")["bpf-statistics"]
    assert found.passed is holds and found.evidence.endswith(end), found.evidence


@pytest.mark.parametrize("received", [[40, 300], [300, 40]])
def test_packets_that_are_received_on_other_cpus_are_told(
    session: FakeSession, received: list[int]
) -> None:
    session.received_per_read = received
    with pytest.raises(PreconditionError, match=r"'softirqs' failed: .* 40 on node-"):
        check(session)
    assert not check(session, "softirqs")["softirqs"].passed


def test_without_cpus_of_its_own_for_each_node_there_is_nothing_to_expect(
    session: FakeSession,
) -> None:
    session.cpus = {}
    assert "softirqs" not in check(session)


def shrunk_to_1400(result: CommandResult) -> CommandResult:
    route = json.loads(result.stdout)
    route[0]["metrics"] = [{"mtu": 1400}]
    return replace(result, stdout=json.dumps(route))


def test_the_mtu_is_that_of_the_route_where_it_is_smaller_than_the_devices(
    session: FakeSession,
) -> None:
    session.spoil["ip-route"] = [shrunk_to_1400]
    assert check(session)["mtu"].evidence.startswith("1400 bytes: ")
    sizes = [argv[argv.index("-l") + 1] for name, argv, _ in session.calls if "unfrag" in name]
    assert sizes == ["1372"], "less IPv4's and UDP's headers"


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("iperf3-unfragmented", instead("iperf3-too-large"), "1500 bytes, .*Message too long"),
        ("iperf3-unfragmented", instead("iperf3-refused"), "1500 bytes, the client's MTU, arrived"),
        ("ip-route", lambda r: replace(r, stdout="[]"), "ip: nothing listed"),
        ("ip-route", lambda r: replace(r, stdout='[{"dst": "x"}]'), "ip: no route in"),
        ("ip-link", lambda r: replace(r, stdout="Device does not exist"), "ip: no JSON: Device"),
        ("ip-link", lambda r: replace(r, stdout='[{"mtu": "big"}]'), "ip: no MTU in"),
    ],
)
def test_a_path_that_does_not_carry_the_mtu_is_refused(
    session: FakeSession, name: str, spoil: Callable[..., object], reason: str
) -> None:
    session.spoil[name] = [spoil]  # type: ignore[list-item]
    with pytest.raises(PreconditionError, match=f"'mtu' failed: .*{reason}"):
        check(session)


def few_arrived(result: CommandResult) -> CommandResult:
    report = json.loads(result.stdout)
    # The last one and two others: iperf3's "packets" counts those that were lost, too.
    report["end"]["sum_received"] |= {"packets": 20, "lost_packets": 17}
    return replace(result, stdout=json.dumps(report))


def half_arrived(result: CommandResult) -> CommandResult:
    report = json.loads(result.stdout)
    report["end"]["sum_received"] |= {"packets": 20, "lost_packets": 10}
    return replace(result, stdout=json.dumps(report))


@pytest.mark.parametrize(("spoil", "arrived"), [(few_arrived, 3), (half_arrived, 10)])
def test_a_path_that_loses_large_packets_is_refused(
    session: FakeSession, spoil: Callable[[CommandResult], CommandResult], arrived: int
) -> None:
    session.spoil["iperf3-unfragmented"] = [spoil]
    words = f"only {arrived} of 20 packets of 1500 bytes arrived"
    with pytest.raises(PreconditionError, match=words):
        check(session)


def test_allowance_counters_that_cannot_be_read_are_not_none(session: FakeSession) -> None:
    session.held_back["node-2"] = {}
    with pytest.raises(PreconditionError, match="node-2: the counters cannot be read"):
        ready(session)


def test_a_clock_is_corrected_by_as_much_as_is_certain() -> None:
    behind = ClockReading("node-1", -0.5, 0.1, "tsc")
    assert behind.certain == pytest.approx(-0.4)
    assert ClockReading("node-1", 0.02, 0.05, "tsc").certain == 0
    told = behind.doubts({"slow": 5e6, "quick": 8_000.0})
    assert list(told) == ["quick"]
    assert told["quick"][0].text() == (
        "from one machine's clock to another's, which are known to 100,000 µs only"
    )


def test_a_component_that_has_ended_is_refused(session: FakeSession) -> None:
    session.agent = Health("node-1-cilium-agent", "1", "has ended")
    with pytest.raises(PreconditionError, match="'health' failed: node-1-cilium-agent has ended"):
        check(session)


def test_a_service_path_other_than_the_one_asked_for_is_refused(session: FakeSession) -> None:
    session.path = "Cilium per packet"
    with pytest.raises(PreconditionError) as info:
        check(session)
    assert "'service-path' failed" in str(info.value)
    assert "Cilium at the socket 0, Cilium per packet 20" in str(info.value)
    assert "expected: Cilium at the socket" in str(info.value)


def test_a_service_without_a_connection_has_no_path(session: FakeSession) -> None:
    session.lacking.add("connection")
    with pytest.raises(PreconditionError, match="'service-path' failed: no connection: refused"):
        check(session)


def test_connections_led_by_two_mechanisms_are_refused(session: FakeSession) -> None:
    both = session.service_path

    def doubled(*given: object) -> object:
        found = both(*given)  # type: ignore[arg-type]
        return replace(found, translated=dict.fromkeys(found.translated, session._connections))

    session.service_path = doubled  # type: ignore[assignment]
    with pytest.raises(PreconditionError, match="socket 20, Cilium per packet 20; expected"):
        check(session)


def test_clocks_apart_are_refused(session: FakeSession) -> None:
    session.skew["iperf3-server"] = 0.25
    with pytest.raises(PreconditionError, match=r"'clocks' failed: node-2 is \+250.0 ms"):
        check(session)


def test_a_clock_source_that_is_slow_to_read_is_refused(session: FakeSession) -> None:
    session.clock_source = "hpet"
    with pytest.raises(PreconditionError, match="hpet on node-1 is slow to read"):
        check(session)


def test_no_time_is_no_clock(session: FakeSession) -> None:
    session.clock_source = ""
    with pytest.raises(PreconditionError, match="no time and clock source from iperf3-client"):
        check(session)


# -- readiness ----------------------------------------------------------------------------------


def test_the_generator_is_calibrated_against_a_null_server(session: FakeSession) -> None:
    gate = Gate()
    found = calibrated(session, PLAN, gate)
    assert found is not None
    assert (found.generator, found.wanted) == ("fortio", 100)
    assert found.rate > 5_000
    assert found.command[-1] == "http://10.0.0.1:8079/"
    assert "times the highest fixed rate" in gate.checks[-1].evidence


def test_the_generator_is_calibrated_once_the_machine_is_quiet(session: FakeSession) -> None:
    assert list(ready(session)) == ["quiet-agents", "quiet-machine", "allowances", "generator"]
    busy = FakeSession()
    busy.at_rest["node-1"] = 0.4
    with pytest.raises(PreconditionError, match="'quiet-machine' failed"):
        ready(busy)
    assert busy.calls == [], "not before"


@pytest.mark.parametrize("profile", ["standard", "published"])
def test_a_profile_that_is_published_refuses_what_quick_marks(
    session: FakeSession, profile: str
) -> None:
    session.at_rest["node-1"] = 0.4
    plan = PROFILES[profile]
    with pytest.raises(PreconditionError, match="'quiet-machine' failed"):
        ready(session, *plan.allow, plan=plan)
    marked = ready(FakeSession(), *PROFILES["quick"].allow, plan=PROFILES["quick"])
    assert marked["quiet-machine"].passed
    quick = ready(session, *PROFILES["quick"].allow, plan=PROFILES["quick"])
    assert not quick["quiet-machine"].passed


def test_a_generator_without_headroom_is_refused(session: FakeSession) -> None:
    plan = replace(PLAN, http_rates=(100, 900_000))
    with pytest.raises(PreconditionError, match="'generator' failed: fortio reaches"):
        ready(session, plan=plan)
    assert not ready(session, "generator", plan=plan)["generator"].passed


def test_a_generator_that_cannot_be_calibrated_is_refused(session: FakeSession) -> None:
    session.spoil["fortio-null"] = [instead("fortio-http-refused")]
    with pytest.raises(PreconditionError, match=r"'generator' failed: .*requests failed"):
        ready(session)


def test_a_full_speed_near_the_generators_own_is_warned_of() -> None:
    own = CalibrationResult(generator="fortio", command=[], rate=10_000, wanted=100)
    assert near_limit(own, 7_900) is None
    assert "http_max: 8,100 requests/s is near what fortio" in str(near_limit(own, 8_100))
    assert near_limit(None, 8_100) is near_limit(own, None) is None


class Settling(FakeSession):
    """Agents that use 400 millicores for some seconds, then 8, or for ever."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.until = seconds

    def cni_usage(self) -> list[ComponentUsage]:
        """See ``bench.session.Session``."""
        now = self.time.seconds
        used = 0.4 * min(now, self.until) + 0.008 * max(0.0, now - self.until)
        return [ComponentUsage("node-1", "cilium-agent", used, 1)]


def test_agents_that_are_busy_at_first_are_waited_for() -> None:
    session = Settling(8.0)
    found = ready(session)["quiet-agents"]
    assert found.passed
    assert "use 8 millicores per node after" in found.evidence
    assert "(at first 400)" in found.evidence
    calibration = session.seconds_per_command
    assert session.time.seconds == pytest.approx(8.0 + WINDOW_SECONDS + calibration)


def test_agents_that_never_settle_are_refused_after_a_bounded_time() -> None:
    session = FakeSession()
    usages = iter(range(10_000))
    # More with every window: no idle state.
    session.cni_usage = lambda: [  # type: ignore[method-assign]
        ComponentUsage("node-1", "cilium-agent", 1.1 ** next(usages), 1)
    ]
    with pytest.raises(PreconditionError, match=r"'quiet-agents' failed: .* after 30 s"):
        ready(session)


def test_a_steady_idle_use_is_an_idle_state_however_high() -> None:
    def windows(*millicores: float) -> list[Window]:
        return [Window(each, {}) for each in millicores]

    assert settled(windows(8))
    assert not settled(windows(*[100.0] * 9))
    assert settled(windows(*[100.0, 110.0] * 5))
    assert settled(windows(400, *[100.0] * 10))
    assert not settled(windows(400, *[100.0] * 9))


def test_other_load_is_refused_with_its_size(session: FakeSession) -> None:
    session.at_rest["node-1"] = 0.4
    with pytest.raises(PreconditionError, match=r"'quiet-machine' failed: .*40 % of node-1's"):
        ready(session)
    assert session.time.seconds >= PLAN.settle_seconds, "it was waited for"


def test_what_is_measured_is_no_other_load_however_much_it_uses_at_rest() -> None:
    session = Settling(1e9)
    session.busy, session.at_rest = {"node-1": 0.4}, {"node-1": 0.1}
    checks = ready(session, "quiet-agents")
    assert checks["quiet-machine"].passed
    assert "10 % of node-1's CPUs (40 % with idle CNIs" in checks["quiet-machine"].evidence


def test_where_nobody_tells_others_they_are_all_but_the_agents() -> None:
    load = Load("node-1", used=0.8, available=4)
    seen = Observation(2.0, (load,), {"node-1": ("node-1",)}, {}, 0.0, {})
    assert others_at_rest(seen, 400) == {"node-1": pytest.approx(0.1)}


@pytest.mark.parametrize("lacking", ["usage", "machines"])
def test_what_cannot_be_told_is_not_taken_for_quiet(session: FakeSession, lacking: str) -> None:
    session.lacking.add(lacking)
    with pytest.raises(PreconditionError, match=r"'quiet-agents' failed: .* today"):
        ready(session)


def test_traffic_held_back_while_idle_is_refused(session: FakeSession) -> None:
    session.held_back = {
        "node-1": {"bw_in_allowance_exceeded": 5},
        "node-2": {"pps_allowance_exceeded": 0},
    }
    assert "no counter of node-1, node-2 grew" in ready(session)["allowances"].evidence
    slept = session.time.sleep

    def sleep(seconds: float) -> None:
        session.held_back["node-1"]["bw_in_allowance_exceeded"] += 3
        slept(seconds)

    session.time.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(PreconditionError, match=r"node-1: bw_in_allowance_exceeded \(3\)"):
        ready(session)
