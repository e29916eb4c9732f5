"""The Kubernetes versions that the lab has programs of, and for how long EKS has which.

A stack names one by its minor version, as EKS does (`eks.version`); the lab runs the patch release
that stands here. Standard library only: the toolchain reads this before anything is installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date


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


@dataclass(frozen=True, slots=True)
class Support:
    """The days from which EKS's Kubernetes is without standard support, and gone."""

    standard: date
    extended: date


EKS_SUPPORT: Mapping[str, Support] = {
    "1.30": Support(date(2025, 7, 23), date(2026, 7, 23)),
    "1.31": Support(date(2025, 11, 26), date(2026, 11, 26)),
    "1.32": Support(date(2026, 3, 23), date(2027, 3, 23)),
    "1.33": Support(date(2026, 7, 29), date(2027, 7, 29)),
    "1.34": Support(date(2026, 12, 2), date(2027, 12, 2)),
    "1.35": Support(date(2027, 3, 27), date(2028, 3, 27)),
    "1.36": Support(date(2027, 8, 2), date(2028, 8, 2)),
}
"""By minor version. Says why a version is gone, and stands in where EKS cannot be asked. Source:
EKS user guide, "Amazon EKS Kubernetes release calendar" (1.36 by copies from September 2026)."""

EKS_SUPPORT_READ = date(2026, 11, 28)
"""When it was read there."""
