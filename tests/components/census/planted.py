"""A cluster with a secret in every field that says something of its user."""

from __future__ import annotations

import itertools
from typing import Any

from tests.components.kubernetes.kube_api import KubeApi

Json = dict[str, Any]
SECRET = "planted"
CUSTOM = {
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "CiliumNetworkPolicy": "/apis/cilium.io/v2/ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
}
_NUMBERS = itertools.count()
NETWORK = "203.0.113."
"""Of every address that is planted."""


def secret() -> str:
    """Another secret each time."""
    return f"{SECRET}-{next(_NUMBERS)}"


def address() -> str:
    """Another address each time."""
    return f"{NETWORK}{next(_NUMBERS) % 250}"


def metadata(name: str = "", namespace: str = "planted-namespace", **labels: str) -> Json:
    """Of an object whose every text is a secret."""
    return {
        "name": name or secret(),
        "namespace": namespace,
        "uid": secret(),
        "resourceVersion": "1",
        "labels": {f"{secret()}.example/{secret()}": secret(), **labels},
        "annotations": {secret(): secret()},
        "ownerReferences": [{"kind": "Planted", "name": secret(), "uid": secret()}],
        "managedFields": [{"manager": secret()}],
    }


def service(name: str, ports: int, **spec: Any) -> Json:
    """A Service with so many ports."""
    listed = [{"name": secret(), "port": 80 + n, "targetPort": secret()} for n in range(ports)]
    return {
        "kind": "Service",
        "metadata": metadata(name),
        "spec": {
            "clusterIP": address(),
            "externalIPs": [address()],
            "externalName": f"{secret()}.example",
            "selector": {secret(): secret()},
            "ports": listed,
            **spec,
        },
    }


def endpoints(name: str, of: str, ready: list[str], port: int = 80, **more: Any) -> Json:
    """An EndpointSlice of a Service with these ready addresses."""
    return {
        "kind": "EndpointSlice",
        "metadata": metadata(name, **{"kubernetes.io/service-name": of}),
        "addressType": "IPv4",
        "ports": [{"name": secret(), "port": port, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [each],
                "conditions": {"ready": True},
                "hostname": secret(),
                "nodeName": secret(),
                "zone": secret(),
                "targetRef": {"kind": "Pod", "name": secret(), "namespace": secret()},
            }
            for each in ready
        ],
        **more,
    }


def node(name: str, machine: str = "m6i.xlarge", kernel: str = "6.1.119-129.planted") -> Json:
    """A node that runs such a kernel."""
    labels = {
        "node.kubernetes.io/instance-type": machine,
        "topology.kubernetes.io/zone": secret(),
    }
    found = metadata(name, **labels)
    del found["namespace"]
    return {
        "kind": "Node",
        "metadata": found,
        "spec": {"providerID": f"aws:///{secret()}/{secret()}", "podCIDR": f"{address()}/32"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address()}],
            "images": [{"names": [secret()]}],
            "conditions": [{"type": "Ready", "status": "True", "message": secret()}],
            "nodeInfo": {
                "architecture": "amd64",
                "kernelVersion": kernel,
                "osImage": secret(),
                "machineID": secret(),
                "containerRuntimeVersion": secret(),
            },
        },
    }


def pod(on: str, phase: str = "Running", **labels: str) -> Json:
    """A pod on a node."""
    container = {"name": secret(), "image": f"{secret()}.example/{secret()}:{secret()}"}
    return {
        "kind": "Pod",
        "metadata": metadata(namespace="kube-system", **labels),
        "spec": {
            "nodeName": on,
            "serviceAccountName": secret(),
            "containers": [{**container, "env": [{"name": secret(), "value": secret()}]}],
        },
        "status": {"phase": phase, "podIP": address(), "message": secret()},
    }


def agents(name: str, image: str, env: dict[str, str]) -> Json:
    """The DaemonSet of a CNI, with secrets beside its own settings."""
    container = {
        "name": secret(),
        "image": image,
        "args": [secret()],
        "env": [{"name": key, "value": value} for key, value in {**env, secret(): secret()}.items()]
        + [{"name": secret(), "valueFrom": {"secretKeyRef": {"name": secret()}}}],
    }
    return {
        "kind": "DaemonSet",
        "metadata": {**metadata(name), "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def config(name: str, data: dict[str, str]) -> Json:
    """A ConfigMap of the system, with a secret beside the data."""
    found = metadata(name, namespace="kube-system")
    return {"kind": "ConfigMap", "metadata": found, "data": {**data, secret(): secret()}}


def policy(kind: str, spec: Json, specs: list[Json] | None = None) -> Json:
    """A policy."""
    found = {"kind": kind, "metadata": metadata(), "spec": {"description": secret(), **spec}}
    return {**found, "specs": specs} if specs else found


def network_policy() -> Json:
    """Two rules in, one out; five peers; three ports."""
    selector = {"podSelector": {"matchLabels": {secret(): secret()}}}
    block = {"ipBlock": {"cidr": f"{address()}/32", "except": [f"{address()}/32"]}}
    port = {"port": secret(), "protocol": "TCP"}
    return policy(
        "NetworkPolicy",
        {
            **selector,
            "ingress": [{"from": [selector, block], "ports": [port, port]}, {"from": [block]}],
            "egress": [{"to": [block, selector], "ports": [port]}],
        },
    )


def cilium_policy(kind: str = "CiliumNetworkPolicy") -> Json:
    """Three rules, of which one denies; six peers; two ports; one list of them by HTTP."""
    selector = {"matchLabels": {secret(): secret()}}
    ports = {"ports": [{"port": "80"}, {"port": secret()}]}
    by_http = {**ports, "rules": {"http": [{"path": f"/{secret()}", "headers": [secret()]}]}}
    return policy(
        kind,
        {
            "endpointSelector": selector,
            "ingress": [{"fromEndpoints": [selector, selector], "toPorts": [by_http]}],
        },
        [
            {
                "egress": [
                    {
                        "toFQDNs": [{"matchName": f"{secret()}.example"}],
                        "toCIDRSet": [{"cidr": f"{address()}/32"}],
                    }
                ],
                "egressDeny": [{"toEntities": ["world"], "toCIDR": [f"{address()}/32"]}],
            }
        ],
    )


def plant(api: KubeApi) -> None:
    """A cluster of Cilium with kube-proxy: four Services, seven policies, three nodes."""
    api.custom = CUSTOM
    api.version = f"v1.33.4-{secret()}"
    shared = [address(), address()]
    api.put(
        service("planted-one", 2),
        endpoints("planted-one-a", "planted-one", [*shared, address()]),
        # The same pods by another port: they are no more of them.
        endpoints("planted-one-b", "planted-one", shared, port=81),
        service("planted-two", 1, type="NodePort"),
        service("planted-headless", 1, clusterIP="None"),
        endpoints("planted-headless-a", "planted-headless", [address()]),
        service("planted-elsewhere", 0, type="ExternalName", clusterIP=""),
        # Of no Service: somebody's own.
        {**endpoints("planted-stray", "", [address()]), "metadata": metadata("planted-stray")},
        *(network_policy() for _ in range(3)),
        *(cilium_policy() for _ in range(2)),
        cilium_policy("CiliumClusterwideNetworkPolicy"),
        policy("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Ingress"]}),
        node("planted-node-1"),
        node("planted-node-2"),
        node("planted-node-3", f"m6i.{SECRET}", SECRET),
        *(pod("planted-node-1") for _ in range(3)),
        pod("planted-node-2", **{"k8s-app": "kube-proxy"}),
        pod("planted-node-2", "Succeeded"),
        pod("", "Pending"),
        agents("cilium", f"{secret()}.example/cilium/cilium:v1.18.2-{SECRET}@sha256:ab", {}),
        config(
            "cilium-config",
            {
                "routing-mode": "native",
                "ipam": f"{SECRET}-ipam",
                "bpf-lb-map-max": "65536",
                "cluster-name": SECRET,
                "cluster-pool-ipv4-cidr": f"{NETWORK}0/24",
                "egress-masquerade-interfaces": SECRET,
            },
        ),
        config("kube-proxy-config", {"config": f"mode: nftables\nhostnameOverride: {SECRET}\n"}),
    )
