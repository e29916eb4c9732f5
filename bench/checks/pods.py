"""Where the pods are."""

from __future__ import annotations

from bench.checks.check import Check
from bench.targets import Targets


def placement(targets: Targets) -> Check:
    """No node has pods of both sides, as the API server reports them."""
    shared = sorted(targets.nodes("client") & targets.nodes("server"))
    where = ", ".join(f"{pod.role} on {pod.node}" for pods in targets.pods.values() for pod in pods)
    if shared:
        return Check("placement", False, f"clients and servers share {', '.join(shared)}: {where}")
    return Check("placement", True, where)
