"""What the lab's running agents say of themselves."""

from __future__ import annotations

from cni.evidence import EVIDENCE_COMMANDS, AgentEvidence
from lab.cluster import Lab


def collect(lab: Lab) -> list[AgentEvidence]:
    """The evidence of every agent; none where the lab's CNI has no agents."""
    if lab.spec.cni != "cilium":
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
    return [node.name for node in lab.nodes] if lab.spec.cni == "cilium" else []
