"""The benchmark's workloads as the lab's pods and services, each pinned to a node."""

from __future__ import annotations

from collections.abc import Sequence

from bench.workloads import Workload
from lab.workloads import PodSpec, ServicePort, ServiceSpec


def pods_and_services(
    workloads: Sequence[Workload], nodes: Sequence[str]
) -> tuple[list[PodSpec], list[ServiceSpec]]:
    """Clients on the first node; servers on the others, replicas spread over them.

    :raises ValueError: with fewer than two nodes client and server would share one.
    """
    if len(nodes) < 2:
        raise ValueError(f"client and servers need a node each, there is only {list(nodes)}")
    client, servers = nodes[0], nodes[1:]
    pods = [
        PodSpec(
            name=workload.role if workload.replicas == 1 else f"{workload.role}-{replica + 1}",
            app=workload.role,
            node=client if workload.side == "client" else servers[replica % len(servers)],
            argv=workload.command,
        )
        for workload in workloads
        for replica in range(workload.replicas)
    ]
    services = [
        ServiceSpec(
            port.name,
            workload.role,
            (ServicePort(port.name, port.port, port.target_port, port.protocol),),
        )
        for workload in workloads
        if (port := workload.service)
    ]
    return pods, services
