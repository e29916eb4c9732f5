"""Service scaling on real labs: what is counted there, and that nothing stays behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from bench.probes.base import Bench
from bench.readiness import await_idle_agents
from bench.session import Clock, SessionError, resolve_targets
from components.lab.session import LabSession
from studies.experiments.capabilities import PodRequest
from studies.experiments.scale.probes import Aim, ChangeProbe, FullSyncProbe
from studies.experiments.scale.services import Changing, Dataplane, Fillers, dataplane_of
from tests.lab.running import RunningLab, bring_up

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_host")]

FILLERS = 20


@dataclass(frozen=True)
class _Kind:
    """A dataplane's lab, and what it has more of with :data:`FILLERS` more Services."""

    stack: str
    growth: Mapping[str, int]
    changes: Mapping[str, object] = field(default_factory=dict)


# Each Service with its two endpoints. iptables: its own rule, one per endpoint in its chain, two
# more in each endpoint's chain. nftables: five rules in three chains, and elements of two maps.
# eBPF: a frontend and two backends.
LABS = {
    "kube-proxy iptables": _Kind(
        "scenario-a", {"nat rules": 7 * FILLERS, "nat chains": 3 * FILLERS}
    ),
    "kube-proxy nftables": _Kind(
        "scenario-a",
        {"nft rules": 5 * FILLERS, "nft chains": 3 * FILLERS, "nft map elements": 2 * FILLERS},
        {"scenario.kubeProxy": "nftables"},
    ),
    "Cilium eBPF": _Kind(
        "scenario-d",
        # Two backends, the Service, and from 1.18 on what drops its other ports.
        {"service map entries": 4 * FILLERS, "reverse NAT map entries": FILLERS},
    ),
}


@pytest.fixture(scope="module", params=LABS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLab]:
    """A lab with each mode of kube-proxy, and one with Cilium's eBPF."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        kind = LABS[request.param]
        found = bring_up(kind.stack, dict(kind.changes))
        try:
            yield found
        finally:
            found.session.close()
            found.lab.remove()


@pytest.fixture
def bench(running: RunningLab) -> Bench:
    return Bench(running.session, resolve_targets(running.session), Clock())


@pytest.fixture
def dataplane(bench: Bench) -> Dataplane:
    client = bench.targets.one("fortio-client")
    return dataplane_of(bench.session.service_path(client, bench.targets.httpbin).expected)


def _beside(session: LabSession, dataplane: Dataplane, argv: Sequence[str]) -> str:
    done = session.run_beside(dataplane.component, "node-1", argv, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_service_is_found_in_the_dataplane_and_gone_again(
    running: RunningLab, bench: Bench, dataplane: Dataplane
) -> None:
    session = running.session
    fillers = Fillers(session, bench.targets, bench.clock, print)

    def size() -> dict[str, int]:
        await_idle_agents(bench, 20, windows=2)
        return dataplane.size(lambda argv: _beside(session, dataplane, argv))

    before = size()
    fillers.resize(FILLERS)
    after = size()
    grown = {name: count - before[name] for name, count in after.items()}
    assert LABS[dataplane.title].growth.items() <= grown.items(), grown
    last = fillers.last()
    assert last is not None
    url = f"http://{last.host}:{last.port}/get"
    assert running.run("fortio-client", "fortio", "curl", "-quiet", url).returncode == 0
    fillers.resize(0)
    # With nftables kube-proxy deletes the chains of what is gone at some later sync.
    left = size()
    assert {**left, **_late(before)} == before, left
    assert len(session.list_objects("v1", "Service")) == 3


def _late(size: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in size.items() if name == "nft chains"}


def test_an_endpoints_change_is_served_and_counted(
    running: RunningLab, bench: Bench, dataplane: Dataplane
) -> None:
    changing = Changing(running.session, bench.targets, print)
    try:
        changing.create()
        await_idle_agents(bench, 20, windows=2)
        probe = ChangeProbe(changing, dataplane, time.time)
        for _ in range(2):  # there and back
            reading = probe.measure(bench)
            values = reading.values
            # Served no earlier than asked for, and soon.
            assert 0 < values["change_served"] < 5e6
            assert 2e3 < values["change_stall"] < 5e6
            if "change_sync" not in reading.missing:
                assert 0 < values["change_sync"] < 5e6
            assert values["change_cpu"] > 0
    finally:
        changing.delete()


def test_the_first_and_the_last_rule_are_what_is_aimed_at(
    running: RunningLab, bench: Bench, dataplane: Dataplane
) -> None:
    if dataplane.order is None:
        pytest.skip("its Services are looked up, not compared in a row")
    session = running.session
    fillers = Fillers(session, bench.targets, bench.clock, print)
    changing = Changing(session, bench.targets, print)
    changing.create()
    fillers.resize(3)
    try:
        await_idle_agents(bench, 20, windows=2)

        def syncs() -> float:
            text = session.component_metrics(dataplane.component)["node-1"]
            told = dataplane.syncs(text)
            assert told is not None
            return told.count

        def run(argv: Sequence[str]) -> str:
            return _beside(session, dataplane, argv)

        aim = Aim(dataplane, run, syncs, fillers, bench.targets.httpbin, changing.service)
        rules = [
            line
            for line in run(("iptables-save", "-t", "nat")).splitlines()
            if line.startswith("-A KUBE-SERVICES") and "--dport 80 " in line
        ]
        ours = [line for line in rules if changing.service.host not in line]
        assert len(rules) == 5 and len(ours) == 4
        first, last = aim.first(), aim.last()
        assert f" {first.host}/32 " in ours[0] and f" {last.host}/32 " in ours[-1]
        assert aim.same(first)
        changing.change()
        await_idle_agents(bench, 20, windows=2)
        assert not aim.same(first)
    finally:
        fillers.resize(0)
        changing.delete()


def test_a_restart_writes_everything_anew(
    running: RunningLab, bench: Bench, dataplane: Dataplane
) -> None:
    if dataplane.full is None:
        with pytest.raises(SessionError, match="cannot restart kube-proxy on node-1"):
            running.session.restart_component("kube-proxy", "node-1")
        return
    reading = FullSyncProbe(dataplane.component, dataplane.full).measure(bench)
    assert 1_000 < reading.values["full_sync"] < 20e6
    assert running.run("fortio-client", "fortio", "curl", "-quiet", _url(bench)).returncode == 0


def _url(bench: Bench) -> str:
    return f"http://{bench.targets.httpbin.host}:{bench.targets.httpbin.port}/get"


def test_a_pod_in_the_nodes_network_is_there_and_gone(running: RunningLab) -> None:
    wanted = PodRequest("host-x", "host-x", "node-2", "", ("sleep", "infinity"), host_network=True)
    with running.session.experiment_pods([wanted]) as (pod,):
        assert pod.ip == running.lab.nodes[1].address.ip
        shown = running.session.run(pod, ["ip", "-brief", "address"], timeout=5)
        assert pod.ip in shown.stdout
    assert running.lab.sandbox.pid_of("host-x") is None
