"""Kubernetes objects that scheduler, kubelet and controllers would have written.

Pure: dictionaries in the API's own field names (Kubernetes API reference, v1.31).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kube.objects import Json
from lab.network import NodeAddress

NAMESPACE = "default"
#: Well-known labels (Kubernetes "Well-Known Labels, Annotations and Taints").
SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod to run: a command, in a network namespace, on a node.

    :param argv: the command; its first word is a program of the toolchain or of the host.
    """

    name: str
    app: str
    node: str
    argv: tuple[str, ...]
    namespace: str = NAMESPACE


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service, and the port of the pods that it leads to."""

    name: str
    port: int
    target_port: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A Service and the pods behind it (by their ``app`` label).

    :param cluster_ip: a fixed address, or None for one of the API server's choice.
    """

    name: str
    app: str
    ports: tuple[ServicePort, ...]
    namespace: str = NAMESPACE
    cluster_ip: str | None = None


def node(address: NodeAddress, labels: Mapping[str, str], provider_id: str | None = None) -> Json:
    """A Node as its kubelet registers it.

    :param provider_id: of the node's machine, as its cloud provider writes it.
    """
    machine = {} if provider_id is None else {"providerID": provider_id}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": address.name,
            "labels": {
                "kubernetes.io/hostname": address.name,
                "kubernetes.io/os": "linux",
                **labels,
            },
        },
        "spec": {"podCIDR": address.pod_cidr, "podCIDRs": [address.pod_cidr], **machine},
    }


def node_status(address: NodeAddress, max_pods: int | None = None) -> Json:
    """The status of a node that is ready.

    :param max_pods: what the node's kubelet would run at most.
    """
    room = {} if max_pods is None else {"capacity": {"pods": str(max_pods)}}
    return {
        "status": {
            **room,
            "addresses": [
                {"type": "InternalIP", "address": address.ip},
                {"type": "Hostname", "address": address.name},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Lab"}],
        }
    }


def pod(spec: PodSpec) -> Json:
    """A Pod that is bound to its node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": {"app": spec.app, "app.kubernetes.io/name": spec.app},
        },
        "spec": {
            "nodeName": spec.node,
            "enableServiceLinks": False,
            # Taints are set by controllers that the lab does not run.
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {"name": "main", "image": f"lab/{spec.argv[0]}", "command": list(spec.argv)}
            ],
        },
    }


def pod_status(ip: str, host_ip: str) -> Json:
    """The status of a pod that runs, with its address and its node's."""
    return {
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "hostIP": host_ip,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
    }


def service(spec: ServiceSpec) -> Json:
    """A Service of the type ClusterIP."""
    ports = [
        {"name": p.name, "port": p.port, "targetPort": p.target_port, "protocol": p.protocol}
        for p in spec.ports
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.name, "namespace": spec.namespace},
        "spec": {
            "selector": {"app": spec.app},
            "ports": ports,
            **({"clusterIP": spec.cluster_ip} if spec.cluster_ip else {}),
        },
    }


def endpoint_slice(spec: ServiceSpec, addresses: Sequence[tuple[str, str]]) -> Json:
    """The EndpointSlice of a Service; ``addresses`` are pairs of pod address and node name."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{spec.name}-lab",
            "namespace": spec.namespace,
            "labels": {SERVICE_NAME: spec.name},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": p.name, "port": p.target_port, "protocol": p.protocol} for p in spec.ports
        ],
        "endpoints": [
            {"addresses": [ip], "nodeName": on, "conditions": {"ready": True}}
            for ip, on in addresses
        ],
    }
