"""How long a run takes, from an empty account to an empty account."""

from __future__ import annotations

from dataclasses import dataclass

from bench.plan import Plan
from bench.probes import build_probes
from bench.runner import time_bound

# Typical minutes, as logs of Terraform's AWS provider that people have published show them:
# aws_eks_cluster took 8:23 to 11:23 to create in eleven logs (the NAT gateway's two minutes pass
# meanwhile) and 1:09 to 9:12 to delete in twelve; aws_eks_node_group 1:28 to 3:41 to create and
# 2:18 to 8:21 to delete.
_CLUSTER_CREATE, _CLUSTER_DELETE = 11, 4
_NODES_CREATE, _NODES_DELETE = 4, 7
# The CNI's roll-out, CoreDNS and pulling the workloads' images; deleting the NAT gateway and VPC.
# Estimates: nothing of this project has been timed on EKS yet.
_INSIDE_CREATE, _REST_DELETE = 5, 3


@dataclass(frozen=True, slots=True)
class Duration:
    """Minutes of each part of a run; ``measure`` is the most that it may take."""

    create: float
    measure: float
    destroy: float

    @property
    def up(self) -> float:
        """Minutes that `pulumi up` may take, for which credentials must hold."""
        return self.create + self.measure

    @property
    def total(self) -> float:
        """Minutes that things exist and cost money, if they are destroyed at once."""
        return self.up + self.destroy


def estimate(plan: Plan, *, cluster_exists: bool) -> Duration:
    """The length of a run of a plan.

    :param cluster_exists: the stack is up already, so that nothing large is created.
    """
    create = 0 if cluster_exists else _CLUSTER_CREATE + _NODES_CREATE + _INSIDE_CREATE
    return Duration(
        create=create,
        measure=time_bound(plan, build_probes(plan)) / 60,
        destroy=_NODES_DELETE + _CLUSTER_DELETE + _REST_DELETE,
    )
