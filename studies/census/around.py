"""A twin in clusters: its objects, and the changes of its endpoints while something is measured."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from itertools import islice
from typing import Final, TypeVar

from bench.interleave import Side
from bench.probes.base import Bench, SampleError
from bench.readiness import await_idle_agents
from bench.session import Clock, Service, Session, SessionError, resolve_targets
from cni.registry import DATAPLANES
from studies.census.model import PolicyKind, PolicyShape, ServiceShape
from studies.census.twin import Twin
from studies.experiments.capabilities import Manifest, ObjectStore, Progress, lacking
from studies.experiments.policies import API_VERSIONS, Kind, clear, many
from studies.experiments.scale.services import (
    await_served,
    endpoints_manifest,
    httpbin_port,
    pair,
    service_manifest,
)

LABEL = "cni-benchmark/twin"
"""On all that is made here but the policies that select the benchmark."""
_ADDRESSES = IPv4Network("198.18.0.0/15")
"""For benchmarks (RFC 2544): no pod of a lab has one."""
_PORT, _TARGET_PORT, _FIRST_PORT = 80, 8080, 20_000
_SLICE = 100
"""Endpoints in an EndpointSlice: the controller's default."""
_CILIUM_PORTS = 40
"""In a list of ports (``pkg/policy/api``, MaxPorts)."""
_LAST = "twin-last"
_SLICES = "discovery.k8s.io/v1"
_NOBODY = {"matchLabels": {LABEL: "nobody"}}
_SETTLE_SECONDS = 120.0
_FEWEST = 0.9
"""Of the changes that were due: fewer are another churn."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Numbered:
    """A Service by its number, with where its addresses begin."""

    number: int
    first: int
    shape: ServiceShape

    @property
    def name(self) -> str:
        return f"twin-{self.number:05}"

    @property
    def endpoints(self) -> int:
        return self.shape.endpoints or 0

    def manifests(self) -> Iterator[Manifest]:
        """Its Service, and its EndpointSlices."""
        shape, spec = self.shape, dict[str, str]()
        if shape.type == "ExternalName":
            spec = {"type": shape.type, "externalName": "elsewhere.invalid"}
        elif shape.headless:
            spec = {"clusterIP": "None"}
        else:
            spec = {"type": shape.type}
        ports = shape.ports if shape.headless or shape.type == "ExternalName" else self._ports
        labels = {LABEL: "true"}
        yield service_manifest(self.name, _PORT, _TARGET_PORT, labels, ports=ports, **spec)
        addresses = [self._address(number) for number in range(self.endpoints)]
        for part, backends in enumerate(_parts(addresses, _SLICE)):
            yield self._slice(backends, part)

    def changed(self, generation: int, *, replaces: bool) -> Manifest:
        """Its first EndpointSlice after so many changes: the last endpoint is another one each
        time, or is away every other time."""
        there = min(self.endpoints, _SLICE)
        addresses = [self._address(number) for number in range(there - 1)]
        if replaces:
            addresses.append(self._address(self.endpoints + generation))
        elif generation % 2 == 0:
            addresses.append(self._address(there - 1))
        return self._slice(addresses, 0)

    @property
    def _ports(self) -> int:
        return max(1, self.shape.ports)

    def _slice(self, backends: Sequence[str], part: int) -> Manifest:
        labels = {LABEL: "true"}
        return endpoints_manifest(
            self.name, _TARGET_PORT, backends, labels, ports=self._ports, part=part
        )

    def _address(self, number: int) -> str:
        # The network's own address and the last one are none of a machine's.
        most = _ADDRESSES.num_addresses - 2
        return str(_ADDRESSES[1 + (self.first + number) % most])


def numbered(twin: Twin) -> Iterator[Numbered]:
    """Every Service."""
    number, first = 0, 0
    for shape in twin.services:
        for _ in range(shape.count):
            yield Numbered(number, first, shape)
            number, first = number + 1, first + (shape.endpoints or 0)


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


# -- policies -------------------------------------------------------------------------------------

_SELECTING: Final[Mapping[PolicyKind, Kind]] = {
    "NetworkPolicy": "NetworkPolicy",
    "CiliumNetworkPolicy": "CiliumNetworkPolicy",
}
"""Kinds of which one policy selects the benchmark's pods."""


def policy_manifests(twin: Twin, kinds: frozenset[str]) -> Iterator[Manifest]:
    """The policies of these kinds. Where a kind can be limited to a namespace, the first selects
    the benchmark's pods and allows what they do. The others have peers, and select pods, that are
    not there."""
    for kind in dict.fromkeys(each.kind for each in twin.policies if each.kind in kinds):
        shapes = (each for each in twin.policies if each.kind == kind for _ in range(each.count))
        selecting = many(_SELECTING[kind], range(1)) if kind in _SELECTING else []
        yield from selecting
        for number, shape in enumerate(islice(shapes, len(selecting), None)):
            yield _policy(shape, number)


def _policy(shape: PolicyShape, number: int) -> Manifest:
    cilium = shape.kind != "NetworkPolicy"
    rules = [_rule(shape, number, rule, cilium=cilium) for rule in range(shape.rules)]
    if cilium:
        # An empty rule selects without allowing (:mod:`studies.experiments.policies`).
        spec: Manifest = {"endpointSelector": _NOBODY, "ingress": rules or [{}]}
    else:
        spec = {"podSelector": _NOBODY, "policyTypes": ["Ingress"], "ingress": rules}
    return {
        "apiVersion": API_VERSIONS[shape.kind],
        "kind": shape.kind,
        "metadata": {"name": f"twin-{number:05}", "labels": {LABEL: "true"}},
        "spec": spec,
    }


def _rule(shape: PolicyShape, policy: int, rule: int, *, cilium: bool) -> dict[str, object]:
    peers = [
        {"matchLabels": {LABEL: f"peer-{policy}-{peer}"}}
        for peer in range(rule, shape.peers, shape.rules)
    ]
    ports = [_FIRST_PORT + port for port in range(rule, shape.ports, shape.rules)]
    if cilium:
        named = [{"port": str(port), "protocol": "TCP"} for port in ports]
        lists = [{"ports": list(some)} for some in _parts(named, _CILIUM_PORTS)]
        parts: dict[str, object] = {"fromEndpoints": peers, "toPorts": lists}
    else:
        parts = {
            "from": [{"podSelector": peer} for peer in peers],
            "ports": [{"port": port, "protocol": "TCP"} for port in ports],
        }
    # To Cilium an empty list of peers is nobody, and none is everybody.
    return {name: part for name, part in parts.items() if part}


# -- in clusters ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Around:
    """A twin around what a matrix measures (:class:`studies.matrix.run.Surroundings`)."""

    twin: Twin
    clock: Clock = field(default_factory=Clock)
    _failures: dict[str, str] = field(default_factory=dict)

    def furnish(self, session: Session, say: Progress) -> None:
        """Make all objects, and wait until the dataplane has them; those that are there stay.

        :raises SessionError: the API server refuses one, or the dataplane does not come by.
        """
        store = _store(session)
        bench = Bench(session, resolve_targets(session), self.clock)
        everything = list(self._manifests(session))
        say(f"making the twin: {len(everything):,} objects")
        store.create_objects(everything, say)
        # Led to the benchmark's own server, it tells when agents have come so far.
        httpbin = bench.targets.httpbin
        backends = [pod.ip for pod in bench.targets.pods["httpbin"]]
        leading = pair(_LAST, httpbin.port, httpbin_port(), backends, {LABEL: "last"})
        store.create_objects(leading, say)
        (last,) = store.list_objects("v1", "Service", f"{LABEL}=last")
        say("waiting until the dataplane has the twin")
        await_served(bench, Service(_LAST, last["spec"]["clusterIP"], httpbin.port))
        try:
            await_idle_agents(bench, _SETTLE_SECONDS, windows=2)
        except SampleError as error:
            raise SessionError(str(error)) from error

    def clear(self, session: Session, say: Progress) -> None:
        """Remove all of it.

        :raises SessionError: the API server refuses.
        """
        store = _store(session)
        for kind, selecting in _SELECTING.items():
            if kind in self._kinds(session):
                clear(store, selecting, say)
        policies = {kind: API_VERSIONS[kind] for kind in sorted(self._kinds(session))}
        for name, api in {**policies, "EndpointSlice": _SLICES, "Service": "v1"}.items():
            left = store.list_objects(api, name, LABEL)
            store.delete_objects([{**each, "apiVersion": api, "kind": name} for each in left], say)

    @contextmanager
    def at_work(self, sides: Sequence[Side]) -> Iterator[None]:
        """Change endpoints in the clusters of all sides for the length of the block."""
        self._failures = {}
        changing = _pick([each for each in numbered(self.twin) if each.endpoints], self.twin)
        with ExitStack() as stack:
            for side in sides if changing and self.twin.changes_per_minute else ():
                stack.enter_context(self._changes(side, changing))
            yield

    def failure(self, label: str) -> str | None:
        """Why what was measured of a side is not of this twin; None where it is."""
        return self._failures.get(label)

    @contextmanager
    def _changes(self, side: Side, changing: Sequence[Numbered]) -> Iterator[None]:
        interval, store = 60 / self.twin.changes_per_minute, _store(side.bench.session)
        ended = threading.Event()
        made, begun = 0, time.monotonic()

        def change() -> None:
            nonlocal made
            while not ended.wait(max(0.0, begun + (made + 1) * interval - time.monotonic())):
                which = changing[made % len(changing)]
                generation = 1 + made // len(changing)
                try:
                    store.merge_object(which.changed(generation, replaces=self.twin.replaces))
                except SessionError as error:
                    self._failures[side.label] = f"an endpoint could not be changed: {error}"
                    return
                made += 1

        thread = threading.Thread(target=change, name=f"churn of {side.label}")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        due = int((time.monotonic() - begun) / interval)
        if side.label not in self._failures and made < _FEWEST * due:
            self._failures[side.label] = (
                f"only {made:,} of {due:,} changes of endpoints were made while it was measured"
            )

    def _manifests(self, session: Session) -> Iterator[Manifest]:
        # The first policy allows what the benchmark does, so it comes before others do.
        yield from policy_manifests(self.twin, self._kinds(session))
        for each in numbered(self.twin):
            yield from each.manifests()

    def _kinds(self, session: Session) -> frozenset[str]:
        record = session.about().cni
        dataplane = DATAPLANES.get(record.name) if record else None
        return dataplane.policies.kinds if dataplane else frozenset({"NetworkPolicy"})


def _pick(services: Sequence[Numbered], twin: Twin) -> list[Numbered]:
    """As many Services as change, spread over all."""
    wanted = min(twin.changing, len(services))
    return [services[i * len(services) // wanted] for i in range(wanted)]


def _store(session: Session) -> ObjectStore:
    if why := lacking(session, (ObjectStore,)):
        raise SessionError(f"no twin can be made: {why}")
    assert isinstance(session, ObjectStore)
    return session
