"""Who talks to whom: the pods and Services of one session, looked up once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.session import Pod, Service, Session, SessionError
from bench.workloads import DNS_SERVICE, HTTPBIN_SERVICE, WORKLOADS, Side, roles


@dataclass(frozen=True, slots=True)
class Targets:
    """The benchmark's pods by role, its Services and the name that DNS is asked for."""

    pods: Mapping[str, tuple[Pod, ...]]
    httpbin: Service
    dns: Service
    dns_name: str

    def one(self, role: str) -> Pod:
        """The first pod of a role (clients and single servers have no other)."""
        return self.pods[role][0]

    def nodes(self, side: Side) -> frozenset[str]:
        """The nodes that have a pod of a side."""
        return frozenset(pod.node for role in roles(side) for pod in self.pods[role])


def resolve_targets(session: Session) -> Targets:
    """Ask the session for all of them.

    :raises SessionError: a role has fewer pods than replicas, or a Service does not exist.
    """
    pods: dict[str, tuple[Pod, ...]] = {}
    for workload in WORKLOADS:
        found = tuple(session.pods(workload.role))
        if len(found) < workload.replicas:
            raise SessionError(
                f"role {workload.role} has {len(found)} ready pods, {workload.replicas} wanted"
            )
        pods[workload.role] = found
    domain = session.environment().cluster_domain
    return Targets(
        pods=pods,
        httpbin=session.service(HTTPBIN_SERVICE),
        dns=session.service(DNS_SERVICE),
        # A Service name that every cluster has; the final dot keeps search lists out of it.
        dns_name=f"kubernetes.default.svc.{domain}.",
    )
