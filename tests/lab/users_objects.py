"""A cluster's own objects of a known shape, by hand: nothing of the twin's makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
NAMESPACE = "shop"


@dataclass(frozen=True)
class Alike:
    """Services that are alike."""

    count: int
    ports: int
    endpoints: int
    type: str = "ClusterIP"
    headless: bool = False


SERVICES = (
    Alike(1_200, 1, 2),
    Alike(400, 2, 5),
    Alike(200, 1, 3, type="NodePort"),
    Alike(20, 1, 150),
    Alike(100, 1, 4, headless=True),
    Alike(30, 0, 0, type="ExternalName"),
    Alike(50, 3, 0),
)
"""2,000 of them."""


def services() -> Iterator[Json]:
    """Every Service, with its EndpointSlices of 100 endpoints at most."""
    number = 0
    for alike in SERVICES:
        for _ in range(alike.count):
            yield from _service(number, alike)
            number += 1


def _service(number: int, alike: Alike) -> Iterator[Json]:
    name, names = f"s{number}", [f"p{port}" for port in range(alike.ports)]
    spec: Json = {
        "type": alike.type,
        "ports": [{"name": each, "port": 8000 + i} for i, each in enumerate(names)],
    }
    if alike.headless:
        spec["clusterIP"] = "None"
    if alike.type == "ExternalName":
        spec["externalName"] = "warehouse.shop.test"
    meta = {"name": name, "namespace": NAMESPACE, "labels": {"team": f"t{number % 7}"}}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
    for first in range(0, alike.endpoints, 100):
        last = min(first + 100, alike.endpoints)
        yield endpoint_slice(number, f"{name}-{first}", range(first, last), names)


def endpoint_slice(
    number: int, name: str, endpoints: range | list[int], ports: list[str], **annotations: str
) -> Json:
    """A Service's endpoints of these numbers."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": f"s{number}"},
            "annotations": annotations,
        },
        "addressType": "IPv4",
        "ports": [{"name": each, "port": 9000 + i} for i, each in enumerate(ports)],
        "endpoints": [
            {
                "addresses": [f"10.77.{number % 250}.{each}"],
                "conditions": {"ready": True},
            }
            for each in endpoints
        ],
    }


def policies() -> Iterator[Json]:
    """200 of them: 120 with two rules, three peers and two ports, 60 that deny all, and 20 of
    Cilium's with two rules, three peers and a port, of which 5 are of the whole cluster."""
    shop = {"matchLabels": {"app": "shop"}}
    peer = {"podSelector": shop}
    for number in range(180):
        rules = [
            {"from": [peer, {"ipBlock": {"cidr": "10.77.0.0/16"}}], "ports": [{"port": 80}]},
            {"from": [peer], "ports": [{"port": 443, "protocol": "TCP"}]},
        ]
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"np{number}", "namespace": NAMESPACE},
            "spec": {
                "podSelector": {"matchLabels": {"app": f"a{number}"}},
                "policyTypes": ["Ingress"],
                **({"ingress": rules} if number < 120 else {}),
            },
        }
    for number in range(20):
        clusterwide = number >= 15
        yield {
            "apiVersion": "cilium.io/v2",
            "kind": f"Cilium{'Clusterwide' * clusterwide}NetworkPolicy",
            "metadata": {
                "name": f"cnp{number}",
                **({} if clusterwide else {"namespace": NAMESPACE}),
            },
            "spec": {
                "endpointSelector": {"matchLabels": {"app": f"a{number}"}},
                "ingress": [{"fromEndpoints": [shop, shop]}],
                "egress": [
                    {
                        "toCIDR": ["10.77.0.0/16"],
                        "toPorts": [{"ports": [{"port": "443", "protocol": "TCP"}]}],
                    }
                ],
            },
        }


CHANGES, WRITES = 90, 120
"""Of the churn: endpoints of 30 Services that go, come back and are replaced, and 30 writes
that change none."""


def churn() -> Iterator[Json]:
    """EndpointSlices to be written one after the other. Each Service of 30 loses an endpoint, gets
    it back, has the other one replaced, and is annotated."""
    for number in range(30):
        for endpoints, note in (([0], "-"), ([0, 1], "-"), ([0, 2], "-"), ([0, 2], "new")):
            yield endpoint_slice(number, f"s{number}-0", endpoints, ["p0"], note=note)
