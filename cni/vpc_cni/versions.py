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
    :param kubernetes: the newest minor version that EKS is known to have had it for as an add-on
        (EKS user guide, "Amazon VPC CNI versions", and clusters' configurations).
    :param daemon: where the plugin looks for its daemon: host and port, or the path of a socket
        (``cmd/routed-eni-cni-plugin/cni.go``).
    """

    version: str
    module: str
    kubernetes: str
    daemon: str


_1_19_2 = VpcCniVersion(
    version="1.19.2", module="aws-cni-1.19", kubernetes="1.32", daemon="127.0.0.1:50051"
)
_1_22_4 = VpcCniVersion(
    version="1.22.4", module="aws-cni-1.22", kubernetes="1.36", daemon="127.0.0.1:50051"
)
_1_23_2 = VpcCniVersion(
    version="1.23.2", module="aws-cni-1.23", kubernetes="1.36", daemon="/run/aws-node/ipamd.sock"
)

VERSIONS: Mapping[str, VpcCniVersion] = {each.version: each for each in (_1_19_2, _1_22_4, _1_23_2)}
"""Every version that the lab has by its number, oldest first."""

DEFAULT = _1_22_4.version
"""The version that messages and examples suggest, and labs of no stack run: EKS's own choice for a
cluster of 1.35 (`describe-addon-versions`, October 2026)."""
