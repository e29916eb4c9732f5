"""Chains of services: how they are built, where they run, what is measured of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.plan import PROFILES, Plan
from bench.probes.base import Bench
from bench.probes.fortio import Schedule
from bench.session import CommandResult, Pod, SessionError, resolve_targets
from studies.experiments.definition import EXPERIMENTS
from studies.experiments.hops import (
    CONNECTIONS,
    PORT,
    RATE,
    Chain,
    check_placement,
    passed,
    server_nodes,
)
from studies.experiments.model import SkippedError
from studies.experiments.run import run_experiment
from tests.bench import fakes
from tests.studies.chain_fakes import StoreSession

HOPS = EXPERIMENTS["hops"]


def _log(seconds: int, latency_us: float) -> str:
    """fortio's log and result of a run at the experiment's rate, without a single delay."""
    schedule = Schedule.of(RATE, seconds, CONNECTIONS)
    lines = [
        f'{{"latency":{latency_us / 1e6:.6f},"timestamp":{int(schedule.due(number) * 1e3)},'
        f'"thread":{thread},"iter":{number},"ok":true,"details":"200"}}'
        for thread in range(CONNECTIONS)
        for number in range(schedule.calls)
    ]
    histogram = {"Count": len(lines), "Data": [], "Percentiles": []}
    result = {
        "Version": "1.65.0",
        "ActualQPS": RATE,
        "NumThreads": CONNECTIONS,
        "DurationHistogram": histogram,
        "ErrorsDurationHistogram": {"Count": 0},
        "RetCodes": {"200": len(lines)},
    }
    return "\n".join([*lines, json.dumps(result, indent=1)]) + "\n"


class ChainSession(StoreSession):
    """A chain that takes 100 µs a hop over kept connections, 250 µs over new ones."""

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """As recorded, but for what is asked of the chain."""
        if f":{PORT}/" not in argv[-1]:
            return super().run(pod, argv, timeout=timeout)
        assert pod.role == "fortio-client"
        address = argv[-1].removeprefix("http://").partition(":")[0]
        hops = self._hops(address)
        if argv[-1].endswith("/debug"):
            body = "headers:\n\nX-Fortio-Multi-Id: " + ",".join(["1"] * (hops - 1)) + "\n"
            return self.answered(argv, 0, body if hops > 1 else "headers:\n", "")
        each = 250.0 if "-keepalive=false" in argv else 100.0
        return self.answered(argv, 0, _log(1, hops * each), "")

    def _hops(self, address: str) -> int:
        """How many hops follow from a Service on, as the pods' own commands lead."""
        services = {
            each["spec"]["clusterIP"]: name
            for (kind, name), each in self.objects.items()
            if kind == "Service"
        }
        command = next(each.command for each in self.running if each.name == services[address])
        if "-M" not in command:
            return 1
        following = command[command.index("-M") + 1].partition("//")[2].partition(":")[0]
        return 1 + self._hops(following)


@pytest.fixture(autouse=True)
def as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that the recordings were made with."""

    def recorded(profile: str, *, runs: int, seconds: int, allow: Sequence[str]) -> Plan:
        return replace(fakes.PLAN, runs=runs, allow=(*PROFILES[profile].allow, *allow))

    monkeypatch.setattr("studies.experiments.run.plan_for", recorded)


def test_the_growth_per_hop_is_found_and_nothing_is_left() -> None:
    session = ChainSession()
    extent = HOPS.extent(["1", "2", "4"], rounds=6)
    found = run_experiment(HOPS, session, extent, command="again", clock=session.time.clock())
    (series,) = found.series
    assert [(point.label, point.x) for point in series.points] == [
        ("1 hop", 1), ("2 hops", 2), ("4 hops", 4),
    ]  # fmt: skip
    whole = series.points[-1].metrics
    assert whole["chain_kept_p50"].median == 400
    assert whole["chain_kept_per_hop_p50"].median == 100
    assert whole["chain_new_p99"].median == 1_000
    assert whole["chain_new_errors"].median == 0
    slopes = {fit.metric: fit.slope for fit in series.fits}
    assert slopes["chain_kept_p50"] == pytest.approx(100)
    assert slopes["chain_new_p50"] == pytest.approx(250)
    assert session.objects == {}
    assert session.running == []


def test_every_hop_is_on_another_node_than_the_one_before() -> None:
    session = ChainSession()
    extent = HOPS.extent(["8"], rounds=1)
    found = run_experiment(HOPS, session, extent, command="again", clock=session.time.clock())
    nodes = [each.node for each in session.asked]
    assert nodes == ["node-3", "node-2"] * 4
    assert found.series[0].points[0].facts["nodes"] == " → ".join(nodes)


def test_two_nodes_are_too_few() -> None:
    class TwoNodes(ChainSession):
        def pods(self, role: str) -> Sequence[Pod]:
            """All servers on one node."""
            return [
                replace(pod, node="node-2") if pod.node == "node-3" else pod
                for pod in super().pods(role)
            ]

    session = TwoNodes()
    bench = Bench(session, resolve_targets(session), session.time.clock())
    with pytest.raises(SkippedError, match="three nodes, here 2"):
        server_nodes(bench)
    found = run_experiment(
        HOPS, session, HOPS.extent(rounds=1), command="again", clock=session.time.clock()
    )
    assert "three nodes" in (found.series[0].skipped or "")
    assert session.asked == []


def test_a_chain_that_is_too_short_is_told_and_removed() -> None:
    class Shortcut(ChainSession):
        def _hops(self, address: str) -> int:
            return min(2, super()._hops(address))

    session = Shortcut()
    with pytest.raises(SessionError, match="a request came through 2 hops"):
        run_experiment(
            HOPS, session, HOPS.extent(["3"], 1), command="again", clock=session.time.clock()
        )
    assert session.objects == {}


def test_hops_that_were_not_spread_are_refused() -> None:
    pods = tuple(Pod(f"hop-{i}", f"hop-{i}", "node-2", f"172.30.9.{i}") for i in (1, 2))
    running = Chain(pods, ("10.100.1.1", "10.100.1.2"))
    with pytest.raises(SessionError, match="do not cross nodes"):
        check_placement(running, ["node-1"])
    apart = Chain((pods[0], replace(pods[1], node="node-3")), running.addresses)
    check_placement(apart, ["node-1"])
    with pytest.raises(SessionError, match="do not cross nodes"):
        check_placement(apart, ["node-3"])


def test_the_last_hop_tells_how_many_a_request_came_through() -> None:
    shown = (fakes.FOLDER / "fortio-debug-3-hops.txt").read_text(encoding="utf-8")
    assert passed(shown) == 3
    assert passed("headers:\n\nHost: 10.100.1.1:8090\n") == 1
