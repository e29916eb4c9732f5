"""The Services of the scaling experiment, and which of them are measured."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.probes.base import SampleError
from bench.session import CommandResult, Service, SessionError, resolve_targets
from bench.text import ParseError
from cni.cilium.evidence import prometheus_text
from cni.toggles import EvidenceError
from studies.experiments.capabilities import Manifest, Progress
from studies.experiments.scale.probes import ASK_UNTIL, Aim, Seen, seen_by_client
from studies.experiments.scale.services import (
    FILLER_LABEL,
    Changing,
    Fillers,
    Syncs,
    dataplane_of,
    total,
)
from tests.bench.fakes import FakeClock, FakeSession

TARGETS = resolve_targets(FakeSession())


class Store:
    """Objects by kind and name; ClusterIPs are handed out in turn."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.fails_after: int | None = None

    def create_objects(self, manifests: Sequence[Manifest], say: Progress) -> None:
        """See ``studies.experiments.capabilities``."""
        say("it takes a while")
        for number, each in enumerate(manifests):
            if number == self.fails_after:
                raise SessionError("no room")
            made = {**each, "spec": {**each.get("spec", {}), "clusterIP": f"10.100.1.{number}"}}
            self.objects.setdefault((each["kind"], each["metadata"]["name"]), made)

    def delete_objects(self, manifests: Sequence[Manifest], say: Progress) -> None:
        """See ``studies.experiments.capabilities``."""
        for each in manifests:
            self.objects.pop((each["kind"], each["metadata"]["name"]), None)

    def merge_object(self, manifest: Manifest) -> None:
        """See ``studies.experiments.capabilities``."""
        self.objects[(manifest["kind"], manifest["metadata"]["name"])] |= manifest

    def list_objects(self, api_version: str, kind: str, selector: str = "") -> list[Manifest]:
        """See ``studies.experiments.capabilities``."""
        name, _, value = selector.partition("=")
        return [
            each
            for (known, _), each in self.objects.items()
            if known == kind
            and (not name or name in each["metadata"]["labels"])
            and (not value or each["metadata"]["labels"][name] == value)
        ]


def _fillers(store: Store) -> Fillers:
    clock = FakeClock()
    return Fillers(store, TARGETS, clock.clock(), lambda line: clock.sleep(1))


def test_fillers_grow_and_shrink_to_the_size_asked_for() -> None:
    store = Store()
    fillers = _fillers(store)
    for size in (3, 10, 10, 2, 0):
        fillers.resize(size)
        assert len(fillers) == size
        assert len(store.objects) == 2 * size
    fillers.resize(2)
    fillers.resize(5)
    # The last created go first.
    fillers.resize(1)
    assert [name for _, name in store.objects] == ["scale-00000", "scale-00000-cni-benchmark"]


def test_fillers_lead_to_the_servers_that_are_measured() -> None:
    store = Store()
    _fillers(store).resize(1)
    slice_ = store.objects[("EndpointSlice", "scale-00000-cni-benchmark")]
    service = store.objects[("Service", "scale-00000")]
    assert [each["addresses"] for each in slice_["endpoints"]] == [
        [pod.ip] for pod in TARGETS.pods["httpbin"]
    ]
    assert slice_["ports"][0]["port"] == 8080 == service["spec"]["ports"][0]["targetPort"]
    assert service["spec"]["ports"][0]["port"] == TARGETS.httpbin.port
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == "scale-00000"
    # With a selector a controller would write endpoints of its own.
    assert "selector" not in service["spec"]


def test_what_an_interrupted_run_left_is_taken_up_and_removed() -> None:
    store = Store()
    store.fails_after = 7
    first = _fillers(store)
    with pytest.raises(SessionError):
        first.resize(10)
    assert len(store.objects) == 7
    store.fails_after = None
    second = _fillers(store)
    second.resize(10)
    assert len(store.objects) == 20
    store.fails_after = 3
    with pytest.raises(SessionError):
        first.resize(12)
    store.fails_after = None
    # Also the one that failed midway removes all that it had asked for.
    first.resize(0)
    assert not store.objects


def test_the_last_is_the_one_created_last() -> None:
    store = Store()
    fillers = _fillers(store)
    assert fillers.last() is None
    fillers.resize(3)
    last = fillers.last()
    assert last is not None and last.name == "scale-00002" and last.host == "10.100.1.4"
    assert store.objects[("Service", "scale-00002")]["metadata"]["labels"][FILLER_LABEL] == "2"


def test_the_changing_service_swaps_its_only_backend() -> None:
    store = Store()
    changing = Changing(store, TARGETS, lambda line: None)
    changing.create()
    name = ("EndpointSlice", "scale-changing-cni-benchmark")

    def backend() -> tuple[str, int]:
        slice_ = store.objects[name]
        (endpoint,) = slice_["endpoints"]
        return endpoint["addresses"][0], slice_["ports"][0]["port"]

    before, expected = backend(), changing.next_status
    changing.change()
    assert backend() != before and expected == "200"
    assert changing.next_status == "418"
    changing.change()
    assert backend() == before
    assert changing.service.host == "10.100.1.0"
    changing.delete()
    assert not store.objects


# -- which are measured ---------------------------------------------------------------------------


def _rule(address: str, port: int, chain: str, comment: str = "") -> str:
    said = f'-m comment --comment "{comment} cluster IP" ' if comment else ""
    return (
        f"-A KUBE-SERVICES -d {address}/32 -p tcp {said}-m tcp --dport {port} -j KUBE-SVC-{chain}"
    )


# As iptables lists them; with many endpoints kube-proxy leaves the comments out.
RULES = "\n".join(
    (
        "-N KUBE-SERVICES",
        _rule("10.100.0.10", 53, "A", "kube-system/kube-dns:dns"),
        _rule("10.100.1.7", 80, "B", "default/scale-00007:main"),
        _rule("10.100.9.9", 80, "C", "default/scale-changing:main"),
        _rule("10.100.0.1", 443, "D", "default/kubernetes:https"),
        _rule("10.100.1.2", 80, "E"),
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
    )
)
OLDEST = Service("httpbin", "10.100.0.20", 80)
CHANGING_SERVICE = Service("scale-changing", "10.100.9.9", 80)


class Node:
    """Lists rules and counts syncs."""

    def __init__(self, rules: str) -> None:
        self.rules = rules
        self.syncs = 3.0
        self.listed = 0

    def run(self, argv: Sequence[str]) -> str:
        """Of the commands of the dataplane."""
        self.listed += 1
        return self.rules

    def aim(self, path: str, fillers: Fillers) -> Aim:
        """As the experiment makes it."""
        return Aim(
            dataplane_of(path), self.run, lambda: self.syncs, fillers, OLDEST, CHANGING_SERVICE
        )


def test_with_rules_in_a_row_the_first_and_last_rule_are_measured() -> None:
    node = Node(RULES)
    aim = node.aim("kube-proxy iptables", _fillers(Store()))
    assert aim.first() == Service("10.100.1.7", "10.100.1.7", 80)
    assert aim.last().host == "10.100.1.2"
    assert node.listed == 1 and aim.same(aim.last())
    node.syncs += 1
    # The rules may be in another order now.
    assert not aim.same(aim.last()) or node.listed == 2


def test_after_a_sync_the_rules_are_read_again() -> None:
    node = Node(RULES)
    aim = node.aim("kube-proxy iptables", _fillers(Store()))
    chosen = aim.last()
    node.syncs += 1
    assert not aim.same(chosen)
    node.rules = "\n".join(reversed(RULES.splitlines()))
    assert aim.last().host == "10.100.1.7"
    assert aim.same(chosen) and node.listed == 2


def test_without_a_rule_for_any_of_them_there_is_no_sample() -> None:
    with pytest.raises(SampleError, match="no rule leads to any"):
        Node("-N KUBE-SERVICES\n").aim("kube-proxy iptables", _fillers(Store())).first()


@pytest.mark.parametrize("path", ["kube-proxy nftables", "Cilium at the socket"])
def test_with_a_look_up_the_first_and_last_created_are_measured(path: str) -> None:
    store, node = Store(), Node("")
    fillers = _fillers(store)
    aim = node.aim(path, fillers)
    assert aim.first() == aim.last() == OLDEST
    fillers.resize(2)
    assert aim.first() == OLDEST and aim.last().name == "scale-00001"
    assert node.listed == 0 and aim.same(OLDEST)


# -- when a change is served ----------------------------------------------------------------------


def _answers(text: str) -> CommandResult:
    return CommandResult((), 0, text, "", 1.0)


def test_the_change_is_served_with_the_first_wanted_answer() -> None:
    text = "1700000000000000 418 0\n1700000000300000 refused 3000\n1700000000400500 200 104500\n"
    assert seen_by_client(_answers(text), "200") == Seen(1_700_000_000.4005, 0.1045)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "did not answer"),
        ("1 418 0\n2 refused 0\n", "did not answer: 418, refused"),
        ("1 200 0\n", "before the change"),
    ],
)
def test_a_change_that_is_not_seen_is_no_sample(text: str, told: str) -> None:
    with pytest.raises(SampleError, match=told):
        seen_by_client(_answers(text), "200")


class _Server:
    """Answers by HTTP with one status after another; for None it does not answer for a while."""

    def __init__(self, statuses: Sequence[int | None], pause: float) -> None:
        self._statuses, self._pause = statuses, pause
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for status in self._statuses:
            if status is None:
                time.sleep(self._pause)
                continue
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as request:
                while request.readline() not in (b"\r\n", b""):
                    pass
                connection.sendall(f"HTTP/1.0 {status} x\r\n\r\n".encode())
        self._socket.close()


@pytest.mark.parametrize("pause", [0.5, 2.0])
def test_a_gap_of_known_length_is_the_stall(pause: float) -> None:
    server = _Server([*[418] * 20, None, *[418] * 20, *[200] * 5], pause)
    words = ["127.0.0.1", str(server.port), "/", "200", "5"]
    done = subprocess.run(
        ["bash", "-c", ASK_UNTIL, "bash", *words], capture_output=True, text=True, check=True
    )
    seen = seen_by_client(_answers(done.stdout), "200")
    assert pause <= seen.stall < pause + 1  # on a machine full of other work


# -- what a dataplane tells -----------------------------------------------------------------------

FULL = "kubeproxy_sync_full_proxy_rules_duration_seconds"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "bench" / "metrics"
METRICS = """# HELP kubeproxy_sync_proxy_rules_duration_seconds SyncProxyRules latency in seconds
# TYPE kubeproxy_sync_proxy_rules_duration_seconds histogram
kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="0.001"} 0
kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="+Inf"} 7
kubeproxy_sync_proxy_rules_duration_seconds_sum 0.91
kubeproxy_sync_proxy_rules_duration_seconds_count 7
"""


def test_syncs_are_read_from_the_components_own_metrics() -> None:
    found = dataplane_of("kube-proxy iptables").syncs(METRICS)
    assert found == Syncs(7, 0.91)
    # As an agent told after three times a thousand Services, with 1,203 updates of them.
    text = prometheus_text((FIXTURES / "cilium-agent.json").read_text())
    found = dataplane_of("Cilium per packet").syncs(text)
    assert found is not None
    assert (found.count, round(found.seconds, 4)) == (3_000 + 1_203, 0.8358)
    assert total(text, "cilium_k8s_terminating_endpoints_events_total") == 0  # has no value there


def test_a_newer_kube_proxy_tells_its_syncs_by_family() -> None:
    text = (FIXTURES / "kube-proxy-1.36.5.txt").read_text()
    nftables = dataplane_of("kube-proxy nftables")
    assert nftables.full is not None
    both = [total(text, f"{FULL}_sum", ip_family=each) or 0 for each in ("IPv4", "IPv6")]
    assert all(both)
    assert nftables.full(text) == Syncs(2, sum(both))
    assert nftables.syncs(text) is not None
    # Before the first one it tells none.
    assert nftables.full("# nothing\n") == Syncs(0, 0)


def test_an_agent_may_tell_no_syncs() -> None:
    text = prometheus_text((FIXTURES / "cilium-agent-1.20.2.json").read_text())
    assert total(text, "cilium_endpoint") is not None
    assert dataplane_of("Cilium per packet").syncs(text) is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "no metrics at all {"])
def test_metrics_without_syncs_are_an_error(text: str) -> None:
    with pytest.raises(ParseError):
        dataplane_of("kube-proxy iptables").syncs(text)


@pytest.mark.parametrize("text", ["", '[{"labels": {}}]', '["x"]', "3"])
def test_what_is_no_list_of_an_agents_metrics_is_an_error(text: str) -> None:
    with pytest.raises(EvidenceError, match="no list of metrics"):
        prometheus_text(text)
