"""Whether objects are as they should be: pure, over what the API server says of them.

Each function answers None where they are, else in a few words what is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cni.registry import DATAPLANES
from kube.objects import Json, condition, is_ready, is_true


def _agent_taints() -> set[str | None]:
    """Those that are set on new nodes, and taken away once the CNI's agent runs there."""
    return {each.rollout.taint for each in DATAPLANES.values()}


def crds_missing(crds: Iterable[Json], wanted: Collection[str]) -> str | None:
    """CustomResourceDefinitions that are not there or not established."""
    established = {crd["metadata"]["name"] for crd in crds if is_true(crd, "Established")}
    lacking = sorted(set(wanted) - established)
    if not lacking:
        return None
    return f"{len(lacking)} of {len(wanted)} not established, {lacking[0]} for one"


def daemonset_missing(daemonset: Json | None, nodes: int) -> str | None:
    """A DaemonSet that does not run, in its present form, on as many nodes as expected."""
    if daemonset is None:
        return "there is no such DaemonSet"
    status = daemonset.get("status", {})
    if status.get("observedGeneration", 0) < daemonset["metadata"].get("generation", 0):
        return "its controller has not seen the latest change yet"
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    updated = status.get("updatedNumberScheduled", 0)
    if wanted < nodes:
        return f"wanted on {wanted} of {nodes} nodes"
    if updated < wanted:
        return f"the latest version is on {updated} of {wanted} nodes"
    if ready < wanted:
        return f"ready on {ready} of {wanted} nodes"
    return None


def deployment_missing(deployment: Json | None) -> str | None:
    """A Deployment whose replicas do not all run in its present form."""
    if deployment is None:
        return "there is no such Deployment"
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return "its controller has not seen the latest change yet"
    if status.get("updatedReplicas", 0) < wanted:
        return f"the latest version has {status.get('updatedReplicas', 0)} of {wanted} replicas"
    if status.get("replicas", 0) > wanted:
        return f"{status['replicas'] - wanted} replicas of an earlier version still run"
    if status.get("readyReplicas", 0) < wanted:
        return f"{status.get('readyReplicas', 0)} of {wanted} replicas are ready"
    return None


def nodes_missing(nodes: Sequence[Json], expected: int) -> str | None:
    """Nodes that have not joined, are not ready, or still wait for their agent."""
    if len(nodes) < expected:
        return f"{len(nodes)} of {expected} nodes have joined"
    for node in nodes:
        name = node["metadata"]["name"]
        if not is_ready(node):
            return f"{name} is not ready: {_message(node)}"
        for taint in node["spec"].get("taints", ()):
            if taint["key"] in _agent_taints():
                return f"{name} has the taint {taint['key']}"
    return None


def endpoints_missing(slices: Iterable[Json]) -> str | None:
    """A Service without a ready endpoint in its EndpointSlices."""
    endpoints = [each for part in slices for each in part.get("endpoints") or ()]
    if any(each.get("conditions", {}).get("ready") for each in endpoints):
        return None
    return f"none of its {len(endpoints)} endpoints is ready"


def is_schedulable(node: Json) -> bool:
    """Whether ordinary pods may be put on a node."""
    spec = node.get("spec", {})
    kept_off = {taint["effect"] for taint in spec.get("taints", ()) if not _passing(taint["key"])}
    return not spec.get("unschedulable") and not kept_off & {"NoSchedule", "NoExecute"}


def _passing(taint: str) -> bool:
    """Taints that go once the node's network is there."""
    return (
        taint in _agent_taints()
        or taint == "node.kubernetes.io/not-ready"
        or taint.endswith("/network-unavailable")
    )


def _message(node: Json) -> str:
    ready = condition(node, "Ready")
    return str(ready.get("message") or ready.get("reason") or "its kubelet has not told anything")
