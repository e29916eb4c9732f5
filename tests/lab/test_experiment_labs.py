"""Experiments on real labs: that what they change is really changed, not how fast anything is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import get_args

import pytest

from bench.probes.base import Bench
from bench.session import Clock, Pod, Session, resolve_targets
from components.lab.ablation import NorthSouthSession
from components.lab.ablation import stage as ablation_stage
from lab import outside
from lab.cluster import Lab
from lab.sandbox import Place
from lab.wait import until
from studies.experiments.hops import running_chain
from studies.experiments.policies import (
    API_VERSIONS,
    POLICY_LABEL,
    Kind,
    Levels,
    clear,
    let_through,
    port_of,
)
from studies.experiments.policy import enforced_probe, prove, running_target
from tests.lab.leftovers import Host
from tests.lab.running import RunningLab, bring_up

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_host")]

REQUESTS = 50


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab of scenario D."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        running = bring_up("scenario-d")
        try:
            yield running
        finally:
            running.session.close()
            running.lab.remove()


@pytest.fixture
def bench(running: RunningLab) -> Bench:
    return Bench(running.session, resolve_targets(running.session), Clock())


def _accepted(running: RunningLab, pods: tuple[Pod, ...]) -> list[int]:
    """How many connections each pod has accepted so far (proc_pid_net_snmp)."""
    counts = []
    for pod in pods:
        shown = running.lab.sandbox.script(
            "grep ^Tcp: /proc/thread-self/net/snmp", Place(netns=pod.name)
        )
        names, values = (line.split() for line in shown.splitlines())
        counts.append(int(values[names.index("PassiveOpens")]))
    return counts


def _ask(running: RunningLab, url: str, *options: str) -> None:
    argv = ["load", "-quiet", "-c", "1", "-qps", "0", "-n", str(REQUESTS), *options, url]
    assert running.run("fortio-client", "fortio", *argv).returncode == 0


def test_every_hop_has_connections_of_its_own_kept_or_new(
    running: RunningLab, bench: Bench
) -> None:
    with running_chain(bench, 3, print) as chain:
        assert [pod.node for pod in chain.pods] == ["node-3", "node-2", "node-3"]
        start = _accepted(running, chain.pods)
        _ask(running, chain.url(3))
        kept = _accepted(running, chain.pods)
        _ask(running, chain.url(3), "-keepalive=false")
        new = _accepted(running, chain.pods)
    assert all(after - before <= 2 for before, after in zip(start, kept, strict=True))
    # The connections that were kept from before are used up first.
    assert all(after - before >= REQUESTS - 2 for before, after in zip(kept, new, strict=True))
    assert running.session.list_objects("v1", "Service", "cni-benchmark/chain=true") == []
    assert running.session.pods("hop-1") == []


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_denied_connection_gets_no_answer_and_an_allowed_one_does(
    running: RunningLab, bench: Bench, kind: Kind
) -> None:
    store = running.session
    with running_target(bench) as target:
        try:
            prove(kind, bench, store, target, print)  # answered before, denied after
            probe = enforced_probe(kind, store, target)
            # Each time is that of a change that was seen: denied, allowed, denied again.
            reading = probe.measure(bench)
        finally:
            clear(store, kind, print)
        until(
            "the target to answer again",
            lambda: None if let_through(bench, target) else "denied",
            timeout=20,
        )
    assert reading.values.keys() == {"policy_admit", "policy_refuse"}, reading.missing
    assert store.list_objects(API_VERSIONS[kind], kind, f"{POLICY_LABEL}=true") == []


def test_the_last_of_many_policies_is_told_by_its_port(running: RunningLab, bench: Bench) -> None:
    with running_target(bench) as target:
        levels = Levels(bench, running.session, "NetworkPolicy", target, print)
        try:
            assert let_through(bench, target, port_of(4))  # nothing selects the target yet
            with levels.at(4):
                assert let_through(bench, target, port_of(3))
                assert not let_through(bench, target, port_of(4))
                assert not let_through(bench, target)
        finally:
            clear(running.session, "NetworkPolicy", print)


def test_toggles_differ_between_base_and_variants_as_a_client_outside_sees(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    host = Host.now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        stage = ablation_stage("outside")
        trials = {trial.toggle: trial for trial in stage.trials()}
        with stage.base(print) as base:
            # SNAT: the server sees the node that the client has asked.
            asked = _lab(base).nodes[0].address.ip
            assert _origin(base) == asked
            assert _origin(base) == asked  # for the next variant it is asked again
            assert _sent_back(base) == 0
            with stage.variant(trials["dsr"], print) as variant:
                assert _origin(variant) == outside.ADDRESS
            with stage.variant(trials["xdp"], print) as variant:
                assert _origin(variant) == asked
                assert _sent_back(variant) > 0
    assert Host.now() == host


def _lab(session: Session) -> Lab:
    assert isinstance(session, NorthSouthSession)
    return session.lab


def _sent_back(session: Session) -> int:
    """How many packets XDP has sent back from the device that they came by, on the asked node."""
    node = _lab(session).nodes[0]
    shown = _lab(session).node_command(node, ["ethtool", "-S", "ens5"])
    return sum(int(line.split()[-1]) for line in shown.splitlines() if "_xdp_tx:" in line)


def _origin(session: Session) -> str:
    """Whom the server takes for the client."""
    assert isinstance(session, NorthSouthSession)
    client, service = session.outside()
    url = f"http://{service.host}:{service.port}/get"
    argv = ["fortio", "curl", "-quiet", "-timeout", "5s", url]
    done = session.run(client, argv, timeout=20)
    assert done.returncode == 0, done.stderr
    body = done.stdout.partition("HTTP/1.1")[0]
    return str(json.loads(body)["origin"])
