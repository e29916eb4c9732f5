"""Network policies as data: many on the benchmark's pods, one that denies, one that allows.

Kubernetes' NetworkPolicy (networking.k8s.io/v1) and Cilium's own (cilium.io/v2), both about
ingress. A pod that any policy selects accepts only what some policy allows. So the first of the
many allows all that the benchmark's clients send, and each further one allows them a port of its
own, on which nobody listens: the rules of other teams' services. The target is selected as well,
and none of them allows the port on which it listens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from bench.workloads import NULL_HTTP_PORT, WORKLOADS, roles

Kind = Literal["NetworkPolicy", "CiliumNetworkPolicy"]
KINDS: Final[tuple[Kind, ...]] = ("NetworkPolicy", "CiliumNetworkPolicy")
Manifest = dict[str, Any]

ROLE_LABEL: Final = "app.kubernetes.io/name"
"""On every pod, on every target; its value is the role."""
POLICY_LABEL: Final = "cni-benchmark/policy"
"""On every policy that is made here, so that what an ended run has left is found."""
TARGET_ROLE: Final = "policy-target"
TARGET_PORT: Final = NULL_HTTP_PORT
FIRST_PORT: Final = 20_000
_ALLOWING: Final = "many-0000"

_API_VERSION: Final = {
    "NetworkPolicy": "networking.k8s.io/v1",
    "CiliumNetworkPolicy": "cilium.io/v2",
}


def api_version(kind: Kind) -> str:
    """The API group and version of a kind."""
    return _API_VERSION[kind]


def many(kind: Kind, numbers: range) -> list[Manifest]:
    """The policies of these numbers (0 …) on all pods of the benchmark and the target.

    Cilium keeps an entry per policy and client's identity in each pod's policy map, which has room
    for 16,384.
    """
    benchmark = [workload.role for workload in WORKLOADS]
    return [
        _policy(kind, f"many-{number:04}", [*benchmark, TARGET_ROLE], port_of(number))
        if number
        # Not of the target, whose own port it would allow as well.
        else _policy(kind, _ALLOWING, benchmark, None)
        for number in numbers
    ]


def removal(policies: Sequence[Manifest]) -> list[list[Manifest]]:
    """The order in which they can be deleted without denying the benchmark's own traffic: the one
    that allows it goes when no other selects its pods any more."""
    allowing = [each for each in policies if each["metadata"]["name"] == _name(_ALLOWING)]
    others = [each for each in policies if each["metadata"]["name"] != _name(_ALLOWING)]
    return [each for each in (others, allowing) if each]


def port_of(number: int) -> int:
    """The port that policy ``number`` (1 …) allows to the clients."""
    return FIRST_PORT + number


def deny(kind: Kind) -> Manifest:
    """Selects the target and allows nothing."""
    return _policy(kind, "target-deny", [TARGET_ROLE], None, nobody=True)


def allow(kind: Kind) -> Manifest:
    """Allows the clients the target's port."""
    return _policy(kind, "target-allow", [TARGET_ROLE], TARGET_PORT)


def _policy(
    kind: Kind, name: str, selected: Sequence[str], port: int | None, *, nobody: bool = False
) -> Manifest:
    """:param port: the only one that clients may use; None for all."""
    make = _kubernetes if kind == "NetworkPolicy" else _cilium
    return {
        "apiVersion": _API_VERSION[kind],
        "kind": kind,
        "metadata": {"name": _name(name), "labels": {POLICY_LABEL: "true"}},
        "spec": make(_roles(selected), None if nobody else _roles(roles("client")), port),
    }


def _name(name: str) -> str:
    return f"cni-benchmark-{name}"


def _roles(names: Sequence[str]) -> Manifest:
    return {"matchExpressions": [{"key": ROLE_LABEL, "operator": "In", "values": list(names)}]}


def _kubernetes(selected: Manifest, allowed: Manifest | None, port: int | None) -> Manifest:
    rule: Manifest = {"from": [{"podSelector": allowed}]}
    if port is not None:
        rule["ports"] = [{"protocol": "TCP", "port": port}]
    return {
        "podSelector": selected,
        "policyTypes": ["Ingress"],
        "ingress": [] if allowed is None else [rule],
    }


def _cilium(selected: Manifest, allowed: Manifest | None, port: int | None) -> Manifest:
    rule: Manifest = {"fromEndpoints": [allowed]}
    if port is not None:
        rule["toPorts"] = [{"ports": [{"port": str(port), "protocol": "TCP"}]}]
    # An empty rule selects without allowing: the endpoint is put into default deny by it.
    return {"endpointSelector": selected, "ingress": [{} if allowed is None else rule]}
