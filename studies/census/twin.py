"""What scenarios have around what is measured, in the shape of a census. Pure.

A lab is smaller than the cluster that was asked: counts are scaled by one share for Services and
one for policies, so that the distributions stay, until the machine holds them. What cannot be had
there is left out. All of that is said in words, before anything is brought up and in the report.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, TypeVar

from bench.environment import Model
from bench.text import number
from studies.census.model import (
    Census,
    CensusError,
    Count,
    PolicyShape,
    ServiceShape,
    spread,
    tallied,
)

MAP_ENTRIES: Final = 60_000
"""Of Services that a dataplane is given: Cilium's maps have room for 65,536
(``bpf-lb-map-max``)."""
NODE_PORTS: Final = 2_500
"""Of a range of 2,768 (``--service-node-port-range``), in which ports are sought by chance."""
POLICIES: Final = 3_000
"""The most that the experiments of policies have been tried with."""
POLICY_PARTS: Final = 100_000
"""Of policies: themselves, their rules, peers and ports."""
CHANGES_PER_MINUTE: Final = 1_200
"""In all clusters together: a change takes some ms of a CPU that what is measured lacks."""
_KIB_PER_ENTRY: Final = 60.0
"""Of a lab with three nodes, the kernel's memory included. With 2,000 Services of nine endpoints
each, 56 were used with kube-proxy's iptables, 23 with Cilium's eBPF."""
_OBJECTS_PER_SECOND: Final = 200.0
_SETTLE_SECONDS: Final = 10.0
_LEAST_SHARE: Final = 0.01
"""Less of a shape is not that shape any more."""
_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Room:
    """What a twin has room in: ``clusters`` at a time, for which the machine has ``memory_mib``
    free; None where they have machines of their own."""

    clusters: int
    memory_mib: int | None


class Twin(Model):
    """What is around in every cluster.

    ``changes_per_minute`` are of ``changing`` Services' endpoints. ``replaces``: another endpoint
    comes in the same change in which one goes; otherwise they go and come in turn. ``scaled`` is
    how it differs from the census, a sentence each.
    """

    services: tuple[ServiceShape, ...]
    policies: tuple[PolicyShape, ...]
    changes_per_minute: float
    changing: Count
    replaces: bool
    scaled: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """What it takes to have it in a cluster, roughly."""
        objects = 2 * _total(self.services) + _total(self.policies)
        return _SETTLE_SECONDS + objects / _OBJECTS_PER_SECOND

    @property
    def headline(self) -> str:
        """The shape in one sentence."""
        services, policies = _total(self.services), _total(self.policies)
        endpoints = spread(tallied({each.endpoints or 0: each.count} for each in self.services))
        ports = spread(tallied({each.ports: each.count} for each in self.services))
        return (
            f"This answers for a cluster of {services:,} Services (endpoints {endpoints}; ports "
            f"{ports}), {policies:,} policies and {number(self.changes_per_minute)} changes of "
            "endpoints a minute."
        )


def entries(shape: ServiceShape) -> int:
    """What a cluster has to hold for a Service of a shape: its ports, each with its endpoints.
    Those that are without an address, which dataplanes do not hold, count as one with one port."""
    endpoints = shape.endpoints or 0
    has_address = not shape.headless and shape.type != "ExternalName"
    return (max(1, shape.ports) if has_address else 1) * (1 + endpoints)


def twin_of(census: Census, room: Room, times: float = 1) -> Twin:
    """The twin of a census.

    :param times: so many times its Services, policies and changes.
    :raises CensusError: the census lacks what a twin needs, or the machine does not hold so much of
        the shape that it would be one. One line, with the fix.
    """
    if census.services is None or any(each.endpoints is None for each in census.services):
        raise CensusError(
            "the census has no Services with their endpoints, which a twin is made of. Fix: take "
            "it again with the rights of python -m bench census --rbac"
        )
    words: list[str] = []
    if times != 1:
        words.append(f"{number(times)} times the Services, policies and changes of the census.")
    asked = scaled_to(census.services, times)
    held = sum(entries(each) * each.count for each in asked)
    services, share = asked, times
    if held > (bound := _bound(room)):
        share = times * bound / held
        services = scaled_to(asked, bound / held)
        if bound / held < _LEAST_SHARE or not services:
            raise CensusError(
                f"the shape has {held:,} ports and endpoints of Services, and this machine holds "
                f"{bound:,} in {room.clusters} clusters: less than {100 * _LEAST_SHARE:g} % of it "
                "would be no twin. Fix: fewer scenarios at a time, or a machine with more memory"
            )
        words.append(
            f"{_total(services):,} of {_total(asked):,} Services, in the same shape: "
            f"there is room for {bound:,} of {held:,} ports and endpoints."
        )
    services, turned = _with_few_node_ports(services)
    if turned:
        words.append(f"{turned:,} Services that have node ports are ClusterIPs: a lab has too few.")
    policies = _policies(scaled_to(census.policies, times), words)
    changes, changing, replaces = _churn(census, room, share, words)
    return Twin(
        services=services,
        policies=policies,
        changes_per_minute=changes,
        changing=changing,
        replaces=replaces,
        scaled=(*words, *_always(census)),
    )


def _bound(room: Room) -> int:
    if room.memory_mib is None:
        return MAP_ENTRIES
    fits = room.memory_mib * _MIB / (_KIB_PER_ENTRY * room.clusters)
    return min(MAP_ENTRIES, int(fits))


def _policies(asked: tuple[PolicyShape, ...], words: list[str]) -> tuple[PolicyShape, ...]:
    policies, parts = asked, sum(_parts_of(each) * each.count for each in asked)
    if _total(asked) > POLICIES or parts > POLICY_PARTS:
        policies = scaled_to(asked, min(POLICIES / _total(asked), POLICY_PARTS / parts))
        words.append(f"{_total(policies):,} of {_total(asked):,} policies.")
    by_7 = sum(each.count for each in policies if each.layer_7)
    if by_7:
        words.append(f"{by_7:,} policies are without their rules of layer 7: labs have no proxy.")
    return policies


def _parts_of(policy: PolicyShape) -> int:
    return 1 + policy.rules + policy.peers + policy.ports


def _churn(census: Census, room: Room, share: float, words: list[str]) -> tuple[float, int, bool]:
    if census.churn is None:
        words.append("No changes of endpoints: the census has not watched them.")
        return 0.0, 0, False
    asked = census.churn.per_minute * share
    changes = min(asked, CHANGES_PER_MINUTE / room.clusters)
    if changes < asked:
        words.append(
            f"{number(changes)} of {number(asked)} changes of endpoints a minute: more would "
            "take the CPUs that are measured."
        )
    changing = round(share * sum(each.count for each in census.churn.services))
    moved = census.churn.came + census.churn.went
    # One endpoint by change on average, or two.
    return changes, max(changing, 1) if changes else 0, moved > 1.5 * census.churn.changes


def _always(census: Census) -> Iterator[str]:
    yield (
        "Endpoints are addresses that nobody has; what is measured goes to the benchmark's own "
        "Services among them."
    )
    if census.policies:
        yield (
            "One policy of each kind that a scenario has selects the benchmark's pods and allows "
            "what they do; the others select pods that are not there."
        )
    if census.churn is not None and census.churn.changes:
        yield "Changes come evenly in time, one endpoint each."


S = TypeVar("S", ServiceShape, PolicyShape)


def _total(shapes: Sequence[S]) -> int:
    return sum(each.count for each in shapes)


def scaled_to(shapes: Sequence[S], share: float) -> tuple[S, ...]:
    """So large a share of all, evenly along their order: of each shape as near as whole numbers
    allow, and as many of the first as of the last where there is one of each."""
    upto = [0, *accumulate(each.count for each in shapes)]
    # A share that is meant to give a whole number may come out a little less.
    scaled = [int(share * each + 1e-6) for each in upto]
    return tuple(
        each.model_copy(update={"count": count})
        for each, count in zip(shapes, (b - a for a, b in pairwise(scaled)), strict=True)
        if count
    )


def _with_few_node_ports(
    services: Sequence[ServiceShape],
) -> tuple[tuple[ServiceShape, ...], int]:
    """With those beyond :data:`NODE_PORTS` as ClusterIPs, and how many these are."""
    left, turned, kept = NODE_PORTS, 0, list[ServiceShape]()
    for each in services:
        takes = each.ports if each.type in ("NodePort", "LoadBalancer") else 0
        stay = min(each.count, left // takes) if takes else each.count
        left -= stay * takes
        turned += each.count - stay
        kept.append(each.model_copy(update={"count": stay}))
        other = {"type": "ClusterIP", "count": each.count - stay}
        kept.append(each.model_copy(update=other))
    return tuple(each for each in kept if each.count), turned
