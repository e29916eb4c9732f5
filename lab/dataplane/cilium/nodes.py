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

from kube.client import Kube
from kube.errors import ApiError
from kube.objects import Kind
from lab import network
from lab.cloud.vpc import Instance, Taken, free_addresses
from lab.node import Node
from lab.wait import until

CILIUM_NODE = Kind("cilium.io/v2", "CiliumNode")


def define(api: Kube, crds: Path) -> None:
    """Create the CRD ``ciliumnodes``; it is served some time later.

    :param crds: the folder of Cilium's CRDs (``client/crds`` of the module).
    """
    crd = yaml.safe_load((crds / "v2" / "ciliumnodes.yaml").read_text())
    api.ensure(crd)


def create(
    api: Kube,
    nodes: Sequence[Node],
    values: Mapping[str, Any],
    instances: Mapping[str, Instance],
) -> None:
    """Create one object per node, once the CRD is served.

    An agent that comes first makes its own object: the lab works as well then, but its datapath is
    compiled anew.

    :param values: Helm values, which say where pods' addresses come from.
    :param instances: the nodes' instances by node name, where ENIs give pods their addresses.
    """
    until("the CRD ciliumnodes to be served", lambda: _not_served(api), timeout=30, interval=0.05)
    if values["ipam"]["mode"] == "eni":
        made = [_with_enis(node, instances[node.name]) for node in nodes]
    else:
        subnets = pod_subnets(nodes, values)
        made = [_with_subnet(node, each) for node, each in zip(nodes, subnets, strict=True)]
    for each in made:
        api.ensure(each)


def status(api: Kube, node: str) -> dict[str, Any]:
    """What a node's object says of its addresses; nothing before the operator has seen it."""
    return dict(api.get(CILIUM_NODE, node).get("status", {}))


def pod_subnets(nodes: Sequence[Node], values: Mapping[str, Any]) -> list[ipaddress.IPv4Network]:
    """Each node's pod subnet: of the cluster pool in the values, else of the Node object."""
    if values["ipam"]["mode"] != "cluster-pool":
        return [ipaddress.IPv4Network(node.address.pod_cidr) for node in nodes]
    operator = values["ipam"]["operator"]
    pool = ipaddress.IPv4Network(operator["clusterPoolIPv4PodCIDRList"][0])
    size = operator.get("clusterPoolIPv4MaskSize", 24)
    return [subnet for _, subnet in zip(nodes, pool.subnets(new_prefix=size), strict=False)]


def _with_subnet(node: Node, subnet: ipaddress.IPv4Network) -> dict[str, Any]:
    return _cilium_node(node, subnet[1], {"ipam": {"podCIDRs": [str(subnet)]}})


def _with_enis(node: Node, instance: Instance) -> dict[str, Any]:
    """What an agent writes of its instance; the operator starts from it (pkg/nodediscovery)."""
    owner = ipaddress.IPv4Address(instance.address)
    router = free_addresses(network.SUBNET, Taken.of([instance.address], []), 1, owner)[0]
    eni = {
        "vpc-id": instance.vpc,
        "node-subnet-id": instance.subnet,
        "availability-zone": instance.zone,
        "instance-type": instance.type,
        "first-interface-index": 0,
        "use-primary-address": False,
        "disable-prefix-delegation": False,
    }
    return _cilium_node(node, router, {"instance-id": instance.id, "eni": eni})


def _cilium_node(
    node: Node, router: ipaddress.IPv4Address, spec: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNode",
        "metadata": {"name": node.name},
        "spec": {
            "addresses": [
                {"type": "InternalIP", "ip": node.address.ip},
                {"type": "CiliumInternalIP", "ip": str(router)},
            ],
            **spec,
        },
    }


def _not_served(api: Kube) -> str | None:
    try:
        api.items(CILIUM_NODE)
    except ApiError as error:
        return str(error)
    return None
