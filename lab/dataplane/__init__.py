"""What carries pods' and services' packets: one folder per CNI.

A CNI is added by a folder with a :class:`~lab.dataplane.interface.LabDataplane` and a line in
:data:`DATAPLANES`.
"""

from lab.dataplane.cilium.agents import Cilium
from lab.dataplane.interface import LabDataplane, LabParts
from lab.dataplane.vpc_cni.daemons import VpcCni
from lab.errors import LabError

DATAPLANES: dict[str, type[LabDataplane]] = {"cilium": Cilium, "vpc-cni": VpcCni}
"""The CNIs that the lab can run, by the names that stacks give them."""


def dataplane(cni: str, parts: LabParts) -> LabDataplane:
    """The CNI of a lab.

    :raises LabError: the lab does not have this CNI.
    """
    if cni not in DATAPLANES:
        raise LabError(f"the lab has no CNI {cni}; it has {', '.join(DATAPLANES)}")
    return DATAPLANES[cni](parts)
