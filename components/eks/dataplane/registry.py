"""The CNIs that EKS clusters can have, by the names that stacks give them."""

from __future__ import annotations

import pulumi

from components.eks.dataplane.cilium import Cilium
from components.eks.dataplane.interface import EksDataplane
from components.eks.dataplane.vpc_cni import VpcCni

DATAPLANES: dict[str, EksDataplane] = {"cilium": Cilium(), "vpc-cni": VpcCni()}


def dataplane(cni: str) -> EksDataplane:
    """The CNI of that name.

    :raises pulumi.RunError: the EKS target does not have it.
    """
    if cni not in DATAPLANES:
        known = ", ".join(DATAPLANES)
        raise pulumi.RunError(f"the EKS target has no CNI {cni}; it has {known}")
    return DATAPLANES[cni]
