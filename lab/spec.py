"""What a lab is asked to be, also as JSON between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from lab.cloud.cloud import CloudSpec


@dataclass(frozen=True, slots=True)
class LabSpec:
    """What a lab is made of.

    :param nodes: number of nodes, at least 2 so that client and server can be apart.
    :param service_cidr: the Service range, e.g. ``10.100.0.0/16``.
    :param node_labels: labels that every Node object carries.
    :param kube_proxy: ``iptables``, ``nftables`` or ``none``.
    :param cilium_values: Helm values of Cilium; None takes the VPC CNI plugin instead.
    :param vpc_cni_env: environment variables of the VPC CNI's daemon, as the EKS add-on's
        configuration has them.
    :param cloud: the part of AWS that the nodes are in; None where pods have routed subnets.
    """

    nodes: int
    service_cidr: str
    node_labels: Mapping[str, str]
    kube_proxy: str
    cilium_values: Mapping[str, Any] | None
    vpc_cni_env: Mapping[str, str] = field(default_factory=dict)
    cloud: CloudSpec | None = None


#: A lab's specification as JSON.
SPEC = TypeAdapter(LabSpec)
