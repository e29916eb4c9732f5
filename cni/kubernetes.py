"""The Kubernetes versions that the lab has programs of.

A stack names one by its minor version, as EKS does (`eks.version`); the lab runs the patch release
that stands here. Standard library only: the toolchain reads this before anything is installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesVersion:
    """Facts that hold for one version of Kubernetes.

    :param version: the patch release, without a leading v.
    :param module: the folder below ``tools/`` whose go.mod builds this version.
    """

    version: str
    module: str

    @property
    def minor(self) -> str:
        """The version as settings name it: 1.35."""
        return self.version.rpartition(".")[0]


_1_31 = KubernetesVersion(version="1.31.4", module="kubernetes-1.31")
_1_35 = KubernetesVersion(version="1.35.8", module="kubernetes-1.35")
_1_36 = KubernetesVersion(version="1.36.5", module="kubernetes-1.36")

VERSIONS: Mapping[str, KubernetesVersion] = {each.minor: each for each in (_1_31, _1_35, _1_36)}
"""Every version by its minor version, oldest first."""

DEFAULT = _1_35.minor
"""The version that messages and examples suggest, and labs of no stack run."""
