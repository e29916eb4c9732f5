"""What the lab's running agents say of themselves."""

from __future__ import annotations

from cni.registry import DATAPLANES
from cni.toggles import Evidence
from lab.cluster import Lab


def collect(lab: Lab) -> list[Evidence]:
    """The evidence of every agent; none where the CNI's agents are not asked.

    :raises cni.toggles.EvidenceError: an answer makes no sense.
    """
    cni = DATAPLANES[lab.spec.cni]
    if cni.agents is None:
        return []
    commands = cni.agents.commands.items()
    return [
        cni.parse_evidence(
            node.name, {name: lab.node_command(node, argv) for name, argv in commands}
        )
        for node in lab.nodes
    ]


def expected_nodes(lab: Lab) -> list[str]:
    """The nodes that must have an agent that is asked."""
    return [node.name for node in lab.nodes] if DATAPLANES[lab.spec.cni].agents else []
