"""Numbers from a cluster's objects. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from components.kubernetes import facts
from kube.objects import Json
from studies.census.model import (
    CensusModel,
    Churn,
    NodeShape,
    PolicyKind,
    PolicyShape,
    ServiceShape,
    Tally,
    is_instance_type,
    tallied,
)

ServiceKey = tuple[str, str]
"""Namespace and name: to find what belongs together, never told."""
_SERVICE_NAME = "kubernetes.io/service-name"
_RELEASE = re.compile(r"v?(\d{1,4}(?:\.\d{1,4}){1,2})(?![\d.])")
_ARCHITECTURES: Mapping[str, Literal["amd64", "arm64"]] = {"amd64": "amd64", "arm64": "arm64"}
_ENDED = ("Succeeded", "Failed")


def release(text: str) -> str | None:
    """The two or three numbers that a version begins with; None where it begins otherwise."""
    found = _RELEASE.match(text)
    return found[1] if found else None


# -- Services and endpoints -----------------------------------------------------------------------


def service_shapes(
    services: Iterable[tuple[ServiceKey, Json]], endpoints: Mapping[ServiceKey, int] | None
) -> tuple[ServiceShape, ...]:
    """Services that are alike, counted. ``endpoints`` lacks those without any; None: not known.

    :raises ValueError: one is of a type that the API does not have.
    """
    return _counted(
        ServiceShape.model_validate(
            {
                # One without a type has the API's default.
                "type": each["spec"].get("type") or "ClusterIP",
                "headless": each["spec"].get("clusterIP") == "None",
                "ports": len(each["spec"].get("ports") or ()),
                "endpoints": None if endpoints is None else endpoints.get(key, 0),
                "count": 1,
            }
        )
        for key, each in services
    )


def key_of(item: Json) -> ServiceKey:
    """By which an object is found again."""
    return item["metadata"]["namespace"], item["metadata"]["name"]


@dataclass(frozen=True, slots=True)
class _Slice:
    service: ServiceKey | None
    family: str
    ready: frozenset[str]
    ports: frozenset[tuple[str, str, int]]

    @classmethod
    def of(cls, item: Json) -> "_Slice":
        name = (item["metadata"].get("labels") or {}).get(_SERVICE_NAME)
        return cls(
            service=(item["metadata"]["namespace"], name) if name else None,
            family=item["addressType"],
            ready=frozenset(
                # Each has one address only (discovery/v1, Endpoint); one that is not told to be
                # ready is (EndpointConditions.ready).
                each["addresses"][0]
                for each in item.get("endpoints") or ()
                if (each.get("conditions") or {}).get("ready") is not False
            ),
            ports=frozenset(
                (each.get("name") or "", each.get("protocol") or "TCP", each.get("port") or 0)
                for each in item.get("ports") or ()
            ),
        )


@dataclass(slots=True)
class Endpoints:
    """All EndpointSlices as they are now, and what became of them since they were listed."""

    _slices: dict[ServiceKey, _Slice] = field(default_factory=dict)
    _writes: int = 0
    _came: int = 0
    _went: int = 0
    _changes: Counter[ServiceKey | None] = field(default_factory=Counter)

    def list(self, item: Json) -> None:
        """One that was there from the start."""
        self._slices[key_of(item)] = _Slice.of(item)

    def take(self, event: Json) -> None:
        """An event of a watch, other than a bookmark."""
        item, key = event["object"], key_of(event["object"])
        before = self._slices.pop(key, None)
        after = None if event["type"] == "DELETED" else _Slice.of(item)
        if after is not None:
            self._slices[key] = after
        self._writes += 1
        came, went = (each.ready if each else frozenset() for each in (after, before))
        self._came += len(came - went)
        self._went += len(went - came)
        ports = [each.ports if each else frozenset() for each in (before, after)]
        if came != went or ((came or went) and ports[0] != ports[1]):
            self._changes[(after or before or _Slice.of(item)).service] += 1

    def per_service(self) -> dict[ServiceKey, int]:
        """How many each Service has, of the IP family that has more."""
        found: defaultdict[ServiceKey, defaultdict[str, set[str]]]
        found = defaultdict(lambda: defaultdict(set))
        for each in self._slices.values():
            if each.service:
                found[each.service][each.family] |= each.ready
        return {
            service: max(len(addresses) for addresses in families.values())
            for service, families in found.items()
        }

    def churn(self, seconds: float) -> Churn:
        """What became of them, in so many seconds."""
        return Churn(
            seconds=seconds,
            writes=self._writes,
            changes=self._changes.total(),
            came=self._came,
            went=self._went,
            services=tallied({count: 1} for count in self._changes.values()),
        )


# -- policies -------------------------------------------------------------------------------------

_PEERS = frozenset(
    {
        *("from", "to"),
        *("fromEndpoints", "fromRequires", "fromCIDR", "fromCIDRSet", "fromEntities"),
        *("fromGroups", "fromNodes"),
        *("toEndpoints", "toRequires", "toCIDR", "toCIDRSet", "toEntities", "toGroups"),
        *("toNodes", "toServices", "toFQDNs"),
    }
)
"""Lists of peers in a rule of NetworkPolicies (networking.k8s.io/v1) and of Cilium's
(``pkg/policy/api``)."""
_DIRECTIONS = ("ingress", "egress", "ingressDeny", "egressDeny")


def policy_shapes(kind: PolicyKind, policies: Iterable[Json]) -> tuple[PolicyShape, ...]:
    """Policies of a kind that are alike, counted."""
    return _counted(_policy(kind, each) for each in policies)


def _policy(kind: PolicyKind, policy: Json) -> PolicyShape:
    rules = list(_rules(policy))
    # NetworkPolicies have ports in the rule, Cilium's a list of lists with rules of their own.
    lists = [part for each in rules for part in each.get("toPorts") or ()]
    return PolicyShape(
        kind=kind,
        rules=len(rules),
        peers=sum(len(each[name] or ()) for each in rules for name in _PEERS & each.keys()),
        ports=sum(len(part.get("ports") or ()) for part in (*rules, *lists)),
        layer_7=sum(bool(part.get("rules")) for part in lists),
        count=1,
    )


def _rules(policy: Json) -> Iterator[Json]:
    for spec in (policy.get("spec"), *(policy.get("specs") or ())):
        for direction in _DIRECTIONS:
            yield from (spec or {}).get(direction) or ()


# -- nodes and pods -------------------------------------------------------------------------------


def node_shapes(nodes: Iterable[Json]) -> tuple[NodeShape, ...]:
    """Nodes that are alike, counted."""
    return _counted(map(_node, nodes))


def _node(node: Json) -> NodeShape:
    info = node["status"]["nodeInfo"]
    # The label is the cloud's on its instances; elsewhere it may say anything.
    machine = facts.instance_type(node) if facts.is_ec2(node) else ""
    return NodeShape(
        kernel=release(info["kernelVersion"]) or "unknown",
        instance_type=machine if is_instance_type(machine) else "unknown",
        architecture=_ARCHITECTURES.get(info["architecture"], "other"),
        count=1,
    )


def pods_per_node(pods: Iterable[Json], nodes: Iterable[str]) -> tuple[Tally, ...]:
    """How many pods nodes have: those bound to one that have not ended."""
    counts = Counter(dict.fromkeys(nodes, 0))
    for pod in pods:
        on = pod["spec"].get("nodeName")
        if on and (pod.get("status") or {}).get("phase") not in _ENDED:
            counts[on] += 1
    return tallied({count: 1} for count in counts.values())


T = TypeVar("T", ServiceShape, PolicyShape, NodeShape)


def _counted(shapes: Iterable[T]) -> tuple[T, ...]:
    """Those that are alike as one with their number, in the order of their fields."""
    return tuple(
        each.model_copy(update={"count": count})
        for each, count in sorted(Counter(shapes).items(), key=lambda item: _order(item[0]))
    )


def _order(shape: CensusModel) -> list[tuple[bool, object]]:
    return [(value is not None, value) for value in shape.model_dump().values()]
