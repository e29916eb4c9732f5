"""Node objects of Cilium's own that exist before the agents start, as after an agent's restart.

An agent takes the router address that it finds in its CiliumNode (daemon/cmd/local_node_sync.go),
and the operator keeps pod subnets that are there. Both are then the same in every lab, and so is
the datapath that the agents compile from them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab.api import Api, ApiError
from lab.node import Node
from lab.wait import until

_PATH = "/apis/cilium.io/v2/ciliumnodes"


def define(api: Api, crds: Path) -> None:
    """Create the CRD ``ciliumnodes``; it is served some time later.

    :param crds: the folder of Cilium's CRDs (``client/crds`` of the module).
    """
    crd = yaml.safe_load((crds / "v2" / "ciliumnodes.yaml").read_text())
    api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)


def create(api: Api, nodes: Sequence[Node], values: Mapping[str, Any]) -> None:
    """Create one object per node, once the CRD is served.

    An agent that comes first makes its own object: the lab works as well then, but its datapath is
    compiled anew.

    :param values: Helm values; a cluster pool in them gives the pod subnets, else the Node objects.
    """
    until("the CRD ciliumnodes to be served", lambda: _not_served(api), timeout=30, interval=0.05)
    for node, subnet in zip(nodes, _subnets(nodes, values), strict=True):
        api.create(_PATH, _cilium_node(node, subnet))


def _subnets(nodes: Sequence[Node], values: Mapping[str, Any]) -> list[ipaddress.IPv4Network]:
    if values["ipam"]["mode"] != "cluster-pool":
        return [ipaddress.IPv4Network(node.address.pod_cidr) for node in nodes]
    operator = values["ipam"]["operator"]
    pool = ipaddress.IPv4Network(operator["clusterPoolIPv4PodCIDRList"][0])
    size = operator.get("clusterPoolIPv4MaskSize", 24)
    return [subnet for _, subnet in zip(nodes, pool.subnets(new_prefix=size), strict=False)]


def _cilium_node(node: Node, subnet: ipaddress.IPv4Network) -> dict[str, Any]:
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNode",
        "metadata": {"name": node.name},
        "spec": {
            "addresses": [
                {"type": "InternalIP", "ip": node.address.ip},
                {"type": "CiliumInternalIP", "ip": str(subnet[1])},
            ],
            "ipam": {"podCIDRs": [str(subnet)]},
        },
    }


def _not_served(api: Api) -> str | None:
    try:
        api.items(_PATH)
    except ApiError as error:
        return str(error)
    return None
