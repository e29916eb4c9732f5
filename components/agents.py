"""What agents report, for a result's reader; the same for every target."""

from __future__ import annotations

from collections.abc import Sequence

from cni.evidence import AgentEvidence


def summary(evidence: Sequence[AgentEvidence]) -> dict[str, object]:
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
