"""What a lab is asked to be, also as JSON between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class CloudSpec:
    """What the lab's part of AWS looks like.

    :param zones: of the VPC's subnets; all nodes are in the first one.
    :param instance_type: of all nodes; its limits are kept.
    :param max_pods: of the nodes' kubelets, in their Node objects.
    """

    region: str
    zones: tuple[str, ...]
    instance_type: str
    max_pods: int


@dataclass(frozen=True, slots=True)
class LabSpec:
    """What a lab is made of.

    :param nodes: number of nodes, at least 2 so that client and server can be apart.
    :param service_cidr: the Service range, e.g. ``10.100.0.0/16``.
    :param node_labels: labels that every Node object carries.
    :param kube_proxy: ``iptables``, ``nftables`` or ``none``.
    :param cni: the CNI's name, one of :data:`lab.dataplane.registry.DATAPLANES`.
    :param cni_version: its version, one of the toolchain's.
    :param values: what the CNI's installer takes: Cilium's Helm values, or the environment
        variables of the VPC CNI's daemon, as the EKS add-on's configuration has them.
    :param cloud: the part of AWS that the nodes are in; None where pods have routed subnets.
    """

    nodes: int
    service_cidr: str
    node_labels: Mapping[str, str]
    kube_proxy: str
    cni: str
    cni_version: str
    values: Mapping[str, Any]
    cloud: CloudSpec | None = None


#: A lab's specification as JSON.
SPEC = TypeAdapter(LabSpec)
