"""Which ENIs the pods' addresses are of, by the word of the lab's CNI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.session import Pod
from cni.platform import Eni, origin
from cni.registry import DATAPLANES
from lab.cluster import Lab
from lab.errors import LabError


def collect(lab: Lab) -> dict[str, tuple[Eni, ...]]:
    """Every node's ENIs; nothing where pods have no addresses of ENIs."""
    read = DATAPLANES[lab.spec.cni].enis
    return {node: read(report) for node, report in lab.eni_reports().items()}


def environment(lab: Lab, pods: Iterable[Pod]) -> dict[str, Any]:
    """`enis` by node and `pod_addresses` by pod, for a result's reader; nothing where pods have no
    addresses of ENIs.

    :raises LabError: a pod's address is of no ENI of its node.
    """
    enis_by_node = collect(lab)
    if not enis_by_node:
        return {}
    return {
        "enis": {node: [_eni(each) for each in all_] for node, all_ in enis_by_node.items()},
        "pod_addresses": [_address(pod, enis_by_node[pod.node]) for pod in pods],
    }


def _eni(eni: Eni) -> dict[str, object]:
    return {
        "id": eni.id,
        "device": eni.device,
        "addresses": list(eni.addresses),
        "prefixes": list(eni.prefixes),
    }


def _address(pod: Pod, of_node: Iterable[Eni]) -> dict[str, object]:
    place = origin(pod.ip, of_node)
    if place is None:
        raise LabError(f"the address {pod.ip} of {pod.name} is of no ENI of {pod.node}")
    return {
        "pod": pod.name,
        "node": pod.node,
        "address": pod.ip,
        "eni": place.eni.id,
        "device": place.eni.device,
        "block": place.block,
    }
