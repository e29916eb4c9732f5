"""The stack that is checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bench.plan import Plan
from components.eks.names import CLUSTER_TAG
from components.eks.settings import EksSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be made, under which names, and when.

    :param cluster: the cluster's name, which is also the value of the tag on all of the stack.
    :param vpc_cni: the version that the scenario wants; None where it has another CNI.
    """

    eks: EksSettings
    vpc_cni: str | None
    plan: Plan
    stack: str
    cluster: str
    now: datetime

    @property
    def tag(self) -> tuple[str, str]:
        """Name and value of the tag that everything of the stack has."""
        return CLUSTER_TAG, self.cluster
