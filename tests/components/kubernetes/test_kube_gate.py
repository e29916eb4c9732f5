"""The readiness gate: what it waits for, in which order, how long, and what it says in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cni.registry import DATAPLANES
from components.kubernetes import gate
from components.kubernetes.gate import GateSpec
from kube.client import Kube
from kube.objects import ApiError, KubernetesError
from kube.wait import Waiter
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.kube_api import KubeApi

NODES = ("node-1", "node-2")
CILIUM_CRDS = DATAPLANES["cilium"].rollout.crds
AGENT_TAINT = DATAPLANES["cilium"].rollout.taint
CILIUM = GateSpec(cni="cilium", kube_proxy=False, nodes=2)
VPC_CNI = GateSpec(cni="vpc-cni", kube_proxy=True, nodes=2)


class Time:
    """Passes only when somebody waits; ``then`` is what happens at a second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.then: dict[int, Callable[[], object]] = {}
        self.said: list[str] = []

    def sleep(self, seconds: float) -> None:
        before, self.now = self.now, self.now + seconds
        for second, action in self.then.items():
            if before < second <= self.now:
                action()

    def waiter(self) -> Waiter:
        return Waiter(self.said.append, interval=5, monotonic=lambda: self.now, sleep=self.sleep)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def up(server: KubeApi) -> KubeApi:
    """A cluster of two nodes with Cilium and no kube-proxy."""
    server.put(*(kube_objects.node(name) for name in NODES), *kube_objects.cilium(NODES))
    return server


def _awaited(time: Time) -> list[str]:
    """What was there in the end, in order."""
    return [line.partition(": yes")[0] for line in time.said if ": yes" in line]


def test_a_cluster_that_is_up_is_not_waited_for(up: KubeApi, client: Kube, time: Time) -> None:
    gate.wait(client, CILIUM, time.waiter())
    assert time.now == 0
    assert _awaited(time) == [
        "nodes to join",
        "aws-node to be absent",
        "cilium-operator to have its pods",
        "cilium-operator to run",
        "Cilium's CRDs to be established",
        "cilium to run on every node",
        "kube-proxy to be absent",
        "every node to be ready",
    ]


ROLE = "arn:aws:iam::123456789012:role/cilium-operator"


def _operator(server: KubeApi, role: str | None, name: str = "cilium-operator-0") -> None:
    """An operator's pod with these credentials, in place of any other; its account has a role."""
    server.remove("Pod", "cilium-operator-0", "kube-system")
    account = {
        "kind": "ServiceAccount",
        "metadata": {
            "name": "cilium-operator",
            "namespace": "kube-system",
            "annotations": {gate.ROLE_ANNOTATION: ROLE},
        },
    }
    labels, image = {"io.cilium/app": "operator"}, {"cilium-operator": "operator-aws"}
    pod = kube_objects.pod(name, "kube-system", "node-1", labels, image)
    pod["spec"]["serviceAccountName"] = "cilium-operator"
    if role is not None:
        pod["spec"]["containers"][0]["env"] = [{"name": "AWS_ROLE_ARN", "value": role}]
    server.put(account, pod)


def test_an_operator_with_its_role_stays(up: KubeApi, client: Kube, time: Time) -> None:
    _operator(up, ROLE)
    gate.wait(client, CILIUM, time.waiter())
    assert ("DELETE", "/api/v1/namespaces/kube-system/pods/cilium-operator-0") not in up.requests
    assert time.now == 0


@pytest.mark.parametrize("role", [None, "arn:aws:iam::123456789012:role/another"])
def test_an_operator_that_was_missed_is_replaced(
    up: KubeApi, client: Kube, time: Time, role: str | None
) -> None:
    _operator(up, role)
    time.then = {10: lambda: _operator(up, ROLE, "cilium-operator-1")}
    gate.wait(client, CILIUM, time.waiter())
    deleted = [path for method, path in up.requests if method == "DELETE"]
    assert [path.rpartition("/")[2] for path in deleted] == ["cilium-operator-0"]
    assert "cilium-operator to have its role: yes" in "\n".join(time.said)


def test_an_operator_that_gets_no_role_at_all_is_an_error(
    up: KubeApi, client: Kube, time: Time
) -> None:
    _operator(up, None)
    time.then = {10: lambda: _operator(up, None, "cilium-operator-1")}
    with pytest.raises(
        KubernetesError, match="cilium-operator to have its role: cilium-operator-1"
    ):
        gate.wait(client, CILIUM, time.waiter())


def test_the_vpc_cni_and_kube_proxy(server: KubeApi, client: Kube, time: Time) -> None:
    server.put(*(kube_objects.node(name) for name in NODES), *kube_objects.vpc_cni(NODES))
    gate.wait(client, VPC_CNI, time.waiter())
    assert _awaited(time) == [
        "nodes to join",
        "aws-node to run on every node",
        "kube-proxy to run on every node",
        "every node to be ready",
    ]


def test_it_waits_as_a_cluster_comes_up(server: KubeApi, client: Kube, time: Time) -> None:
    taint = {"key": AGENT_TAINT, "value": "true", "effect": "NoExecute"}
    cilium = kube_objects.cilium(NODES)
    crds = [item for item in cilium if item["kind"] == "CustomResourceDefinition"]
    others = [item for item in cilium if item["kind"] != "CustomResourceDefinition"]
    server.put(kube_objects.node("node-1", ready=False, taints=[taint]))
    server.put(*others, kube_objects.deployment("cilium-operator", ready=0))
    server.put(kube_objects.daemonset("cilium", kube_objects.CILIUM_IMAGE, 2, ready=1))
    second = kube_objects.node("node-2", ready=False, taints=[taint])
    time.then = {
        60: lambda: server.put(second),
        100: lambda: server.put(kube_objects.deployment("cilium-operator")),
        120: lambda: server.put(*crds),
        150: lambda: server.put(kube_objects.daemonset("cilium", "x", 2)),
        170: lambda: server.put(kube_objects.node("node-1")),
        190: lambda: server.put(kube_objects.node("node-2", taints=[taint])),
        210: lambda: server.put(kube_objects.node("node-2")),
    }
    gate.wait(client, CILIUM, time.waiter())
    assert time.now == 210
    text = "\n".join(time.said)
    for words in (
        "waiting for nodes to join: 1 of 2 have joined (0 s)",
        "waiting for nodes to join: 1 of 2 have joined (30 s)",
        "waiting for cilium-operator to run: 0 of 1 replicas are ready",
        f"waiting for Cilium's CRDs to be established: {len(CILIUM_CRDS)} of",
        "waiting for cilium to run on every node: ready on 1 of 2 nodes",
        "waiting for every node to be ready: node-1 is not ready: cni plugin not initialized",
        f"waiting for every node to be ready: node-2 has the taint {AGENT_TAINT}",
        "every node to be ready: yes (60 s)",
    ):
        assert words in text
    assert text.count("waiting for nodes to join") == 2  # not every five seconds


def test_the_vpc_cni_beside_cilium_is_an_error(up: KubeApi, client: Kube, time: Time) -> None:
    up.put(*kube_objects.vpc_cni(NODES))
    with pytest.raises(
        KubernetesError, match="waited 300 s for aws-node to be absent: its DaemonSet is there"
    ):
        gate.wait(client, CILIUM, time.waiter())
    up.remove("DaemonSet", "aws-node", "kube-system")
    with pytest.raises(KubernetesError, match="2 of its pods are there"):
        gate.wait(client, CILIUM, time.waiter())


def test_kube_proxy_must_be_as_the_scenario_says(up: KubeApi, client: Kube, time: Time) -> None:
    spec = GateSpec(cni="cilium", kube_proxy=True, nodes=2)
    with pytest.raises(KubernetesError, match="kube-proxy to run on every node: there is no such"):
        gate.wait(client, spec, time.waiter())
    up.put(*kube_objects.proxies(NODES))
    gate.wait(client, spec, time.waiter())
    with pytest.raises(KubernetesError, match="kube-proxy to be absent"):
        gate.wait(client, CILIUM, time.waiter())


def test_too_few_nodes(up: KubeApi, client: Kube, time: Time) -> None:
    spec = GateSpec(cni="cilium", kube_proxy=False, nodes=3)
    with pytest.raises(KubernetesError, match="waited 600 s for nodes to join: 2 of 3 have joined"):
        gate.wait(client, spec, time.waiter())


def test_nodes_that_their_maker_knows_to_be_broken_are_not_waited_for(
    up: KubeApi, client: Kube, time: Time
) -> None:
    up.remove("Node", "node-2")
    spec = replace(CILIUM, anew="pulumi up --replace")
    why = "the node group nodes is CREATE_FAILED: NodeCreationFailure: no"
    with pytest.raises(KubernetesError, match=f"1 of 2 have joined: {why}. Fix: {spec.anew}"):
        gate.wait(client, spec, time.waiter(), lambda: why if time.now > 40 else "")
    assert time.now == 60  # not every five seconds


def test_dns_that_somebody_else_has_installed(up: KubeApi, client: Kube, time: Time) -> None:
    spec = GateSpec(cni="cilium", kube_proxy=False, nodes=2, dns=True)
    up.put(kube_objects.endpoints("kube-dns"))
    time.then = {20: lambda: up.put(kube_objects.endpoints("kube-dns", "10.0.1.7"))}
    gate.wait(client, spec, time.waiter())
    assert time.now == 20


# -- what the error shows -----------------------------------------------------------------------


def _failing_agent() -> dict[str, Any]:
    labels = {"k8s-app": "cilium"}
    pod = kube_objects.pod("cilium-x", "kube-system", "node-2", labels, {"cilium-agent": "i"})
    pod["status"] |= {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            {
                "name": "cilium-agent",
                "ready": False,
                "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            }
        ],
    }
    return pod


def test_an_agent_that_crashes_says_why(up: KubeApi, client: Kube, time: Time) -> None:
    up.remove("Pod", "cilium-node-2", "kube-system")
    up.put(kube_objects.daemonset("cilium", "x", 2, ready=1), _failing_agent())
    for number, reason in enumerate(("Pulled", "BackOff")):
        up.put(
            {
                "kind": "Event",
                "metadata": {"name": f"e{number}", "namespace": "kube-system"},
                "involvedObject": {"name": "cilium-x"},
                "reason": reason,
                "message": f"message {number}",
                "lastTimestamp": f"2026-01-01T00:00:0{number}Z",
            }
        )
    up.logs["cilium-x"] = "\n".join(
        [*(f"line {n}" for n in range(50)), 'level=fatal msg="unable to cast 1.048576e+06"']
    )
    with pytest.raises(KubernetesError) as told:
        gate.wait(client, CILIUM, time.waiter())
    text = str(told.value)
    assert text.startswith(
        "waited 600 s for cilium to run on every node: ready on 1 of 2 nodes\n"
        "Pod cilium-x on node-2 is Running:\n"
        "  cilium-agent: CrashLoopBackOff: back-off 40s\n"
        "  event Pulled: message 0\n"
        "  event BackOff: message 1\n"
        "  log of cilium-agent:\n"
    )
    assert text.endswith('    level=fatal msg="unable to cast 1.048576e+06"')
    assert "line 42" not in text
    assert "line 43" in text


def test_no_pod_at_all_is_said(up: KubeApi, client: Kube, time: Time) -> None:
    up.remove("Deployment", "cilium-operator", "kube-system")
    up.remove("Pod", "cilium-operator-0", "kube-system")
    with pytest.raises(KubernetesError, match=r"There is no pod with io.cilium/app=operator in"):
        gate.wait(client, CILIUM, time.waiter())


def test_an_api_server_that_is_being_replaced_is_waited_for(
    up: KubeApi, client: Kube, time: Time
) -> None:
    def answer() -> str | None:
        if time.now < 30:
            raise ApiError("GET", "/x", 0, "connection refused")
        return None

    time.waiter().until("it", answer, timeout=60)
    assert time.now == 30
    assert "waiting for it: GET /x: no answer: connection refused (0 s)" in time.said


def test_being_forbidden_is_not_waited_out(up: KubeApi, client: Kube, time: Time) -> None:
    up.trouble = [403]
    with pytest.raises(ApiError, match="403"):
        gate.wait(client, CILIUM, time.waiter())
    assert time.now == 0


def test_a_server_that_stays_away_ends_the_wait_with_what_is_known(time: Time) -> None:
    def away() -> str | None:
        raise ApiError("GET", "/x", 0, "no route to host")

    def evidence() -> str:
        raise ApiError("GET", "/y", 0, "no route to host")

    with pytest.raises(KubernetesError) as told:
        time.waiter().until("agents", away, timeout=20, evidence=evidence)
    assert str(told.value) == (
        "waited 20 s for agents: GET /x: no answer: no route to host\n"
        "(nothing more can be told: GET /y: no answer: no route to host)"
    )


# -- single objects -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        ({}, None),
        ({"observedGeneration": 0}, "its controller has not seen the latest change yet"),
        ({"desiredNumberScheduled": 1}, "wanted on 1 of 2 nodes"),
        # Agents that still run with the settings of before are ready, too.
        ({"updatedNumberScheduled": 1}, "the latest version is on 1 of 2 nodes"),
        ({"numberReady": 0}, "ready on 0 of 2 nodes"),
        ({"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberReady": 3}, None),
    ],
)
def test_daemonsets(status: dict[str, int], missing: str | None) -> None:
    item = kube_objects.daemonset("cilium", "x", 2)
    item["status"] |= status
    assert gate.daemonset_missing(item, 2) == missing


def test_a_daemonset_that_nobody_has_looked_at() -> None:
    item = {"metadata": {"generation": 1}}
    assert gate.daemonset_missing(item, 2) == "its controller has not seen the latest change yet"


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        ({}, None),
        ({"observedGeneration": 0}, "its controller has not seen the latest change yet"),
        ({"updatedReplicas": 0}, "the latest version has 0 of 1 replicas"),
        ({"replicas": 2}, "1 replicas of an earlier version still run"),
        ({"readyReplicas": 0}, "0 of 1 replicas are ready"),
    ],
)
def test_deployments(status: dict[str, int], missing: str | None) -> None:
    item = kube_objects.deployment("cilium-operator")
    item["status"] |= status
    assert gate.deployment_missing(item) == missing


def test_crds_that_are_there_and_not_established() -> None:
    crds = [kube_objects.crd(name) for name in CILIUM_CRDS[1:]]
    crds.append(kube_objects.crd(CILIUM_CRDS[0], established=False))
    assert gate.crds_missing(crds, CILIUM_CRDS) == (
        f"1 of {len(CILIUM_CRDS)} not established, {CILIUM_CRDS[0]} for one"
    )


@pytest.mark.parametrize(
    ("spec", "schedulable"),
    [
        ({}, True),
        ({"unschedulable": True}, False),
        (
            {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
            False,
        ),
        ({"taints": [{"key": "spot", "effect": "PreferNoSchedule"}]}, True),
        # These go once there is a network, which is what the stack brings.
        ({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}, True),
        ({"taints": [{"key": AGENT_TAINT, "effect": "NoExecute"}]}, True),
    ],
)
def test_where_pods_may_go(spec: dict[str, Any], schedulable: bool) -> None:
    assert gate.is_schedulable(kube_objects.node("node-1", **spec)) is schedulable


def test_a_spec_is_read_as_it_was_written() -> None:
    assert gate.read_spec(CILIUM.to_json()) == CILIUM
    with pytest.raises(KubernetesError, match="no readiness gate"):
        gate.read_spec('{"cni": "calico", "kube_proxy": false, "nodes": 2}')
