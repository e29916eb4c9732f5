"""The VPC CNI versions that the lab has programs of, and what differs between them.

Elsewhere a cluster may run any version: EKS offers builds of many. Standard library only: the
toolchain reads this before anything is installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VpcCniVersion:
    """Facts that hold for one version of the VPC CNI.

    :param version: without a leading v.
    :param module: the folder below ``tools/`` whose go.mod builds this version.
    """

    version: str
    module: str


_1_19_2 = VpcCniVersion(version="1.19.2", module="aws-cni")

VERSIONS: Mapping[str, VpcCniVersion] = {each.version: each for each in (_1_19_2,)}
"""Every version that the lab has by its number, oldest first."""

DEFAULT = _1_19_2.version
"""The version that messages and examples suggest."""
