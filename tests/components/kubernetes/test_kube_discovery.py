"""Clusters that somebody else has made: what they are, and whether a scenario fits them."""

from __future__ import annotations

from typing import Any

import pytest

from cni.cilium.versions import DEFAULT
from cni.scenario import Scenario
from cni.settings import Problem
from components.kubeconfig import existing
from components.kubeconfig.existing import Cluster, Cni, detect_cni
from components.kubernetes.dataplane import kube_proxy_mode
from components.kubernetes.manifests import OWNER_ANNOTATION
from kube.client import Kube
from kube.objects import KubernetesError
from tests.cni.stackfiles import stack_scenario
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.kube_api import KubeApi

NODES = ("node-1", "node-2")
NONE = Cni(kind="none", name="none")
STACK = "scenario-b"


def _scenario(letter: str, **changes: object) -> Scenario:
    return Scenario.model_validate(stack_scenario(f"scenario-{letter}") | changes)


def _cluster(cni: Cni = NONE, kube_proxy: str = "iptables", **changes: Any) -> Cluster:
    nodes = [kube_objects.node(name) for name in NODES]
    facts: dict[str, Any] = {"nodes": nodes, "schedulable": nodes} | changes
    return Cluster(
        host="https://10.0.0.1",
        version="v1.31.4",
        cni=cni,
        kube_proxy=kube_proxy,
        api_host="10.0.0.1",
        api_port=443,
        **facts,
    )


def _cilium(version: str = DEFAULT, owner: str = "", **config: str) -> Cni:
    return Cni(
        kind="cilium",
        name="Cilium",
        namespace="kube-system",
        version=version,
        owner=owner,
        config=config,
    )


# -- what a cluster is ----------------------------------------------------------------------------


def _daemonset(name: str, image: str) -> dict[str, Any]:
    return kube_objects.daemonset(name, image, 2)


@pytest.mark.parametrize(
    ("name", "image", "kind", "version"),
    [
        ("cilium", kube_objects.CILIUM_IMAGE, "cilium", DEFAULT),
        ("cilium", "mirror.example:5000/cilium:v1.17.1", "cilium", "1.17.1"),
        ("cilium", "quay.io/cilium/cilium@sha256:00", "cilium", ""),
        ("aws-node", kube_objects.AWS_IMAGE, "vpc-cni", "1.22.4"),
        ("calico-node", "docker.io/calico/node:v3.29.1", "other", "3.29.1"),
        ("kindnet", "docker.io/kindest/kindnetd:v20241108-5c6d2daf", "other", "20241108"),
    ],
)
def test_a_cni_is_known_by_its_agents(name: str, image: str, kind: str, version: str) -> None:
    found = detect_cni([_daemonset("kube-proxy", "x"), _daemonset(name, image)], [])
    assert (found.kind, found.version) == (kind, version)


def test_nodes_that_are_ready_have_a_cni_that_is_not_known() -> None:
    assert detect_cni([], [kube_objects.node("node-1")]).kind == "other"
    assert detect_cni([], [kube_objects.node("node-1", ready=False)]).kind == "none"


def test_who_has_installed_cilium_is_on_it() -> None:
    item = _daemonset("cilium", kube_objects.CILIUM_IMAGE)
    assert detect_cni([item], []).owner == ""
    item["metadata"]["annotations"] = {OWNER_ANNOTATION: "scenario-c"}
    assert detect_cni([item], []).owner == "scenario-c"


def _config_map(name: str, data: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "kube-system"}
    return {"kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        (_config_map("kube-proxy", {"config.conf": "mode: nftables\n"}), "nftables"),  # kubeadm
        (_config_map("kube-proxy-config", {"config": "mode: iptables\n"}), "iptables"),  # EKS
        (_config_map("kube-proxy", {"config.conf": 'mode: ""\n'}), "iptables"),
        (_config_map("other", {}), "unknown"),
    ],
)
def test_kube_proxys_mode(server: KubeApi, client: Kube, config: dict[str, Any], mode: str) -> None:
    assert kube_proxy_mode(client) == "none"
    server.put(config)
    assert kube_proxy_mode(client) == "none"  # settings alone run nothing
    labels = {"k8s-app": "kube-proxy"}
    server.put(kube_objects.pod("p", "kube-system", "node-1", labels, {"kube-proxy": "x"}))
    assert kube_proxy_mode(client) == mode


def test_a_cluster_is_looked_at(server: KubeApi, client: Kube) -> None:
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    server.put(kube_objects.node("node-0", taints=[taint]))
    server.put(*(kube_objects.node(name) for name in NODES))
    windows = kube_objects.node("node-9")
    windows["metadata"]["labels"]["kubernetes.io/os"] = "windows"
    server.put(windows, *kube_objects.cilium(NODES))
    server.put(_config_map("cilium-config", {"ipam": "kubernetes"}))
    server.put(kube_objects.api_server())
    found = existing.inspect(client)
    assert [node["metadata"]["name"] for node in found.schedulable] == list(NODES)
    assert len(found.nodes) == 3
    assert found.cni == _cilium(ipam="kubernetes")
    assert (found.kube_proxy, found.version, found.host) == ("none", "v1.31.4", server.url)
    # The kubeconfig's 127.0.0.1 is this machine's, not the nodes'.
    assert (found.api_host, found.api_port) == ("172.18.0.3", 6443)
    assert all("/namespaces/" not in path or "kube-system" in path or "default" in path
               for _, path in server.requests)  # fmt: skip
    assert {method for method, _ in server.requests} == {"GET"}


def test_an_api_server_that_nodes_cannot_reach(server: KubeApi, client: Kube) -> None:
    with pytest.raises(KubernetesError, match="this machine's own address"):
        existing.inspect(client)


# -- whether a scenario fits ----------------------------------------------------------------------


def _reasons(problems: list[Problem]) -> list[str]:
    return [f"{problem.key}: {problem.reason}" for problem in problems]


@pytest.mark.parametrize(
    ("letter", "cluster"),
    [
        ("a", _cluster(Cni(kind="vpc-cni", name="x", version="1.22.4"))),
        ("b", _cluster()),
        ("b", _cluster(_cilium())),
        ("b", _cluster(kube_proxy="unknown")),
        ("c", _cluster(kube_proxy="none")),
        ("e", _cluster(kube_proxy="none")),
    ],
)
def test_fitting_clusters(letter: str, cluster: Cluster) -> None:
    assert existing.obstacles(_scenario(letter), cluster, STACK) == []


@pytest.mark.parametrize(
    ("letter", "cluster", "reason"),
    [
        (
            "a",
            _cluster(Cni(kind="other", name="Calico")),
            "scenario.cni: the cluster's CNI is Calico, and the VPC CNI is not installed by us",
        ),
        (
            "a",
            _cluster(Cni(kind="vpc-cni", name="the AWS VPC CNI", version="1.18.0")),
            "scenario.cniVersion: the cluster has the AWS VPC CNI 1.18.0, and it is not replaced",
        ),
        (
            "b",
            _cluster(Cni(kind="vpc-cni", name="the AWS VPC CNI")),
            "scenario.cni: the cluster already has a CNI, the AWS VPC CNI: a second one would "
            "fight it",
        ),
        (
            "b",
            _cluster(_cilium("1.17.1")),
            "scenario.cniVersion: the cluster has Cilium 1.17.1, and it is not replaced",
        ),
        (
            "b",
            _cluster(_cilium("")),
            "scenario.cniVersion: the cluster has Cilium of an unknown version, and it is not "
            "replaced",
        ),
        (
            "b",
            _cluster(Cni(kind="cilium", name="Cilium", namespace="cilium", version=DEFAULT)),
            "scenario.cni: the cluster's Cilium is in the namespace cilium, not in kube-system",
        ),
        (
            "b",
            _cluster(kube_proxy="none"),
            "scenario.kubeProxy: no kube-proxy runs in the cluster",
        ),
        (
            "b",
            _cluster(kube_proxy="nftables"),
            "scenario.kubeProxy: kube-proxy's mode in the cluster is nftables",
        ),
        (
            "c",
            _cluster(kube_proxy="iptables"),
            "scenario.kubeProxy: kube-proxy runs in the cluster (mode iptables): it and Cilium "
            "would both load-balance Services. Remove its DaemonSet and its rules, or measure "
            "with it",
        ),
        (
            "b",
            _cluster(schedulable=[kube_objects.node("node-1")]),
            "kubeconfig.context: of the cluster's nodes 1 take ordinary pods; client and server "
            "want one each",
        ),
    ],
)
def test_clusters_that_do_not_fit(letter: str, cluster: Cluster, reason: str) -> None:
    assert _reasons(existing.obstacles(_scenario(letter), cluster, STACK)) == [reason]


def test_eni_addresses_want_ec2() -> None:
    nodes = [kube_objects.node(name, providerID="kind://docker/kind/x") for name in NODES]
    cluster = _cluster(kube_proxy="none", nodes=nodes, schedulable=nodes)
    (problem,) = existing.obstacles(_scenario("e"), cluster, STACK)
    assert problem.key == "scenario.ipam"
    assert problem.reason == "the cluster's nodes are no EC2 instances, so they have no ENIs"


def test_a_pod_range_that_holds_nodes() -> None:
    scenario = _scenario("b", podCidr="10.0.0.0/16")
    (problem,) = existing.obstacles(scenario, _cluster(), STACK)
    assert problem.key == "scenario.podCidr"
    assert problem.reason == "the node node-1 has the address 10.0.0.10 in it"
    # A Cilium that is there has pods already; its range is not chosen by us.
    assert existing.obstacles(scenario, _cluster(_cilium()), STACK) == []


def test_everything_is_told_at_once() -> None:
    cluster = _cluster(Cni(kind="other", name="Calico"), "ipvs", schedulable=[])
    keys = [problem.key for problem in existing.obstacles(_scenario("b"), cluster, STACK)]
    assert keys == ["kubeconfig.context", "scenario.cni", "scenario.kubeProxy"]


@pytest.mark.parametrize(
    ("letter", "cni", "installs"),
    [
        ("a", Cni(kind="vpc-cni", name="x"), False),
        ("b", NONE, True),
        ("b", _cilium(), False),
        ("b", _cilium(owner="scenario-b"), True),
        # Another stack's is measured as it is, and stays when this stack goes.
        ("b", _cilium(owner="scenario-c"), False),
    ],
)
def test_who_installs_cilium(letter: str, cni: Cni, installs: bool) -> None:
    assert existing.installs(_scenario(letter), _cluster(cni), STACK) is installs


def test_how_a_cilium_that_was_there_differs() -> None:
    config = {
        "ipam": "cluster-pool",
        "routing-mode": "tunnel",
        "tunnel-protocol": "vxlan",
        "kube-proxy-replacement": "false",
    }
    assert _scenario("b").dataplane.differences(_scenario("b"), config) == []
    del config["tunnel-protocol"]
    config |= {"kube-proxy-replacement": "true"}
    assert _scenario("b").dataplane.differences(_scenario("b"), config) == [
        "Cilium was there and is measured as it is: its kube-proxy-replacement is true, the "
        "scenario's false",
        "Cilium was there and is measured as it is: its tunnel-protocol is not set, the "
        "scenario's vxlan",
    ]


def test_nodes_that_are_not_alike_are_told() -> None:
    nodes = [kube_objects.node(name) for name in NODES]
    assert existing.remarks(_cluster(nodes=nodes, schedulable=nodes)) == []
    nodes[1]["metadata"]["labels"] |= {
        "topology.kubernetes.io/zone": "ap-northeast-2c",
        "node.kubernetes.io/instance-type": "m5.large",
    }
    assert existing.remarks(_cluster(nodes=nodes, schedulable=nodes)) == [
        "nodes are in 2 zones (ap-northeast-2a, ap-northeast-2c): samples may cross them",
        "nodes are of 2 types (m5.large, m6i.xlarge)",
    ]
