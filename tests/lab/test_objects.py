"""The objects that the lab writes are those that scheduler, kubelet and controllers would write."""

from __future__ import annotations

import json
import re

import pytest

from bench.workloads import WORKLOADS
from components.lab.rollout import pods_and_services
from kube.objects import Json
from lab import workloads
from lab.network import NodeAddress
from lab.workloads import PodSpec, ServicePort, ServiceSpec

ADDRESS = NodeAddress("node-1", "172.30.0.11", "172.30.11.0/24")
POD = PodSpec("httpbin-1", "httpbin", "node-2", ("go-httpbin", "-port", "8080"))
SERVICE = ServiceSpec("web", "httpbin", (ServicePort("http", 80, 8080),))


def test_a_node_has_its_pod_subnet_and_the_labels_it_is_given() -> None:
    made = workloads.node_object(ADDRESS, {"topology.kubernetes.io/zone": "ap-northeast-2a"})
    assert made["spec"] == {"podCIDR": "172.30.11.0/24", "podCIDRs": ["172.30.11.0/24"]}
    assert made["metadata"]["name"] == "node-1"
    assert made["metadata"]["labels"] == {
        "kubernetes.io/hostname": "node-1",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": "ap-northeast-2a",
    }


def test_a_nodes_status_has_its_address_and_that_it_is_ready() -> None:
    status = workloads.node_status(ADDRESS)["status"]
    by_type = {each["type"]: each["address"] for each in status["addresses"]}
    assert by_type == {"InternalIP": "172.30.0.11", "Hostname": "node-1"}
    assert [(each["type"], each["status"]) for each in status["conditions"]] == [("Ready", "True")]


def test_a_pod_is_bound_to_its_node_and_found_by_its_app() -> None:
    made = workloads.pod_object(POD)
    assert made["spec"]["nodeName"] == "node-2"
    assert made["metadata"]["labels"]["app"] == "httpbin"
    assert made["metadata"]["namespace"] == "default"
    (container,) = made["spec"]["containers"]
    assert container["command"] == ["go-httpbin", "-port", "8080"]


def test_a_pods_status_has_its_address_and_that_it_is_ready() -> None:
    status = workloads.pod_status("10.244.1.7", "172.30.0.12")["status"]
    assert (status["podIP"], status["hostIP"]) == ("10.244.1.7", "172.30.0.12")
    assert status["podIPs"] == [{"ip": "10.244.1.7"}]
    assert status["phase"] == "Running"


def test_a_service_selects_by_app_and_leads_to_the_target_port() -> None:
    spec = workloads.service_object(SERVICE)["spec"]
    assert spec["selector"] == {"app": "httpbin"}
    assert spec["ports"] == [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    # Without one the API server chooses; an empty one would be refused.
    assert "clusterIP" not in spec


def test_a_service_keeps_the_address_that_it_is_given() -> None:
    spec = workloads.service_object(workloads.dns_service("10.100.0.10"))["spec"]
    assert spec["clusterIP"] == "10.100.0.10"
    assert [(each["port"], each["protocol"]) for each in spec["ports"]] == [
        (53, "UDP"),
        (53, "TCP"),
    ]


def test_an_endpoint_slice_belongs_to_its_service_and_has_the_pods_own_port() -> None:
    made = workloads.endpoint_slice(SERVICE, [("10.0.0.1", "node-2"), ("10.0.0.2", "node-3")])
    assert made["metadata"]["labels"] == {"kubernetes.io/service-name": "web"}
    assert made["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert [(each["addresses"], each["nodeName"]) for each in made["endpoints"]] == [
        (["10.0.0.1"], "node-2"),
        (["10.0.0.2"], "node-3"),
    ]
    assert all(each["conditions"] == {"ready": True} for each in made["endpoints"])


def _every_object() -> list[Json]:
    pods, services = pods_and_services(WORKLOADS, ["node-1", "node-2", "node-3"])
    made = [workloads.node_object(ADDRESS, {})]
    made += [workloads.pod_object(pod) for pod in pods]
    for service in [workloads.dns_service("10.100.0.10"), *services]:
        made += [workloads.service_object(service), workloads.endpoint_slice(service, [])]
    return made


@pytest.mark.parametrize("made", _every_object(), ids=lambda made: str(made["metadata"]["name"]))
def test_every_object_can_be_sent(made: Json) -> None:
    assert json.loads(json.dumps(made)) == made
    assert {"apiVersion", "kind", "metadata"} <= made.keys()
    # DNS-1123, as the API server demands of names.
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", made["metadata"]["name"])
