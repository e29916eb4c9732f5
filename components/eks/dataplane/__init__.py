"""The CNIs on EKS: for each, how it is installed and what it needs of AWS.

A CNI is added by a module with an :class:`~components.eks.dataplane.interface.EksDataplane` and a
line in :data:`DATAPLANES`.
"""

import pulumi

from components.eks.dataplane.cilium import Cilium
from components.eks.dataplane.interface import EksDataplane
from components.eks.dataplane.vpc_cni import VpcCni

DATAPLANES: dict[str, EksDataplane] = {"cilium": Cilium(), "vpc-cni": VpcCni()}
"""By the names that stacks give them."""


def dataplane(cni: str) -> EksDataplane:
    """The CNI of that name.

    :raises pulumi.RunError: the EKS target does not have it.
    """
    if cni not in DATAPLANES:
        raise pulumi.RunError(f"the EKS target has no CNI {cni}; it has {', '.join(DATAPLANES)}")
    return DATAPLANES[cni]
