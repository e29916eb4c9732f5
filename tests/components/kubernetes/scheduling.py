"""The scheduler's required rules, as far as the workloads use them, over all its free choices.

Source: Kubernetes "Assigning Pods to Nodes" (inter-pod affinity; anti-affinity also of the pods
that are there already; a pod that fits its own affinity may be the first of its kind).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Manifest = dict[str, Any]
Placement = dict[str, str]
"""Node by pod."""

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def pods_of(deployments: Sequence[Manifest]) -> list[tuple[str, Manifest]]:
    """Every replica's name and template."""
    return [
        (f"{item['metadata']['name']}-{replica}", item["spec"]["template"])
        for item in deployments
        for replica in range(item["spec"]["replicas"])
    ]


def placements(pods: Sequence[tuple[str, Manifest]], nodes: Sequence[str]) -> Iterator[Placement]:
    """Every way in which the pods may be placed one after the other; {} where one finds no node."""
    yield from _place(list(pods), nodes, [])


def _place(
    pods: list[tuple[str, Manifest]], nodes: Sequence[str], placed: list[tuple[str, Manifest, str]]
) -> Iterator[Placement]:
    if len(placed) == len(pods):
        yield {name: node for name, _, node in placed}
        return
    name, template = pods[len(placed)]
    free = [node for node in nodes if _may(template, node, placed)]
    if not free:
        yield {}
    for node in free:
        yield from _place(pods, nodes, [*placed, (name, template, node)])


def _may(template: Manifest, node: str, placed: Sequence[tuple[str, Manifest, str]]) -> bool:
    there = [other for _, other, where in placed if where == node]
    if any(
        _matches(term, other) for term in _terms(template, "podAntiAffinity") for other in there
    ):
        return False
    if any(
        _matches(term, template) for other in there for term in _terms(other, "podAntiAffinity")
    ):
        return False
    return all(
        any(_matches(term, other) for other in there)
        or (_matches(term, template) and not any(_matches(term, other) for _, other, _ in placed))
        for term in _terms(template, "podAffinity")
    )


def _terms(template: Manifest, kind: str) -> list[Manifest]:
    terms: list[Manifest] = template["spec"]["affinity"].get(kind, {}).get(_REQUIRED, [])
    assert all(term["topologyKey"] == "kubernetes.io/hostname" for term in terms)
    return terms


def _matches(term: Manifest, template: Manifest) -> bool:
    wanted = term["labelSelector"]["matchLabels"].items()
    return bool(wanted <= template["metadata"]["labels"].items())
