"""What a started lab gets on top, and what its agents report: workloads, evidence, toggles."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.workloads import WORKLOADS, Workload
from cni.decisions import ToggleState, verify
from cni.registry import DATAPLANES
from cni.toggles import Decision, Evidence, EvidenceError
from kube.objects import KubernetesError
from lab.cluster import Lab
from lab.dataplane.interface import Progress
from lab.errors import LabError, ToolchainError
from lab.network import Node
from lab.workloads import PodSpec, ServicePort, ServiceSpec

FAILURES = (LabError, KubernetesError, ToolchainError, EvidenceError, OSError)
"""What a step of a lab can raise."""


def deploy_workloads(lab: Lab, say: Progress) -> dict[str, str]:
    """Start the benchmark's pods and services on a lab whose CNI runs.

    :returns: the pods' addresses by their names.
    """
    pods, services = pods_and_services(WORKLOADS, [node.name for node in lab.nodes])
    return lab.deploy(pods, services, say)


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


def agents_evidence(lab: Lab) -> list[Evidence]:
    """What every agent says of itself; nothing where the CNI's agents are not asked.

    :raises cni.toggles.EvidenceError: an answer makes no sense.
    """
    cni = DATAPLANES[lab.spec.cni]
    if cni.agents is None:
        return []
    commands = cni.agents.commands.items()

    def asked(node: Node) -> Evidence:
        answers = {name: lab.node_command(node, argv) for name, argv in commands}
        return cni.parse_evidence(node.name, answers)

    # The agents' commands are large programs: one after the other takes a second.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(asked, lab.nodes))


def toggle_states(lab: Lab, decisions: Sequence[Decision]) -> tuple[ToggleState, ...]:
    """Every decided toggle as the running agents prove it.

    :raises cni.toggles.EvidenceError: an agent's answer makes no sense.
    """
    asked = [node.name for node in lab.nodes] if DATAPLANES[lab.spec.cni].agents else []
    return verify(decisions, agents_evidence(lab), asked)
