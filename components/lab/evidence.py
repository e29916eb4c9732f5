"""What the lab's running agents say of themselves."""

from __future__ import annotations

from cni.evidence import EVIDENCE_COMMANDS, AgentEvidence
from lab.cluster import Lab


def collect(lab: Lab) -> list[AgentEvidence]:
    """The evidence of every agent; none where the lab's CNI has no agents."""
    if lab.cilium is None:
        return []
    return [
        AgentEvidence.parse(
            node.name,
            {name: lab.node_command(node, argv) for name, argv in EVIDENCE_COMMANDS.items()},
        )
        for node in lab.nodes
    ]


def expected_nodes(lab: Lab) -> list[str]:
    """The nodes that must have an agent."""
    return [] if lab.cilium is None else [node.name for node in lab.nodes]


def summary(evidence: list[AgentEvidence]) -> dict[str, object]:
    """The agents' effective configuration in a few words; every differing answer is listed."""

    def answers(field: str) -> object:
        found = {str(getattr(agent, field)) for agent in evidence}
        return found.pop() if len(found) == 1 else sorted(found)

    fields = (
        "network_routing",
        "host_routing",
        "tunnel_protocol",
        "masquerading",
        "kube_proxy_replacement",
        "socket_lb",
        "node_port_mode",
        "acceleration",
        "bandwidth_manager",
        "hubble",
    )
    return {field: answers(field) for field in fields} if evidence else {}
