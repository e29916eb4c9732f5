"""Thousands of Services in front of the benchmark's own servers, and one whose backend changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.clock import Clock
from bench.session import Service
from bench.targets import Targets
from bench.workloads import NULL_HTTP_PORT, WORKLOADS
from studies.experiments.capabilities import Manifest, ObjectStore, Progress

FILLER_LABEL = "cni-benchmark/filler"
CHANGING = "scale-changing"
_SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_OWNER = "cni-benchmark"
_PORT = "main"
_KINDS = (("v1", "Service"), ("discovery.k8s.io/v1", "EndpointSlice"))


class Fillers:
    """The Services that are there only to be many. Each is backed by the HTTP servers' pods, so
    that the dataplane has to do for it what it does for any, and each can be measured.

    Those that an interrupted run has left are taken as they are.
    """

    def __init__(self, store: ObjectStore, targets: Targets, clock: Clock, say: Progress) -> None:
        self._store = store
        self._port = targets.httpbin.port
        self._target_port = _httpbin_port()
        self._backends = [pod.ip for pod in targets.pods["httpbin"]]
        self._clock = clock
        self._say = say
        halves = Counter(_number(each) for each in self._listed())
        # An interrupted creation leaves a Service without its EndpointSlice.
        self._there = set(halves)
        self._whole = {number for number, count in halves.items() if count == len(_KINDS)}

    def __len__(self) -> int:
        return len(self._there)

    def resize(self, wanted: int) -> float:
        """Create or delete until there are so many; the objects per second, 0 if none was due.

        The last created are deleted first.
        """
        lacking = [number for number in range(wanted) if number not in self._whole]
        surplus = sorted((number for number in self._there if number >= wanted), reverse=True)
        start = self._clock.monotonic()
        self._there.update(lacking)  # also if creating them is interrupted
        self._store.create_objects(self.manifests(lacking), self._say)
        self._whole.update(lacking)
        self._store.delete_objects(self.manifests(surplus), self._say)
        self._there.difference_update(surplus)
        self._whole.difference_update(surplus)
        seconds = self._clock.monotonic() - start
        objects = 2 * (len(lacking) + len(surplus))
        return objects / seconds if objects else 0.0

    def manifests(self, numbers: Sequence[int]) -> list[Manifest]:
        """Each filler's Service, followed by its EndpointSlice."""
        return [
            manifest
            for number in numbers
            for manifest in pair(
                f"scale-{number:05}",
                self._port,
                self._target_port,
                self._backends,
                {FILLER_LABEL: str(number)},
            )
        ]

    def last(self) -> Service | None:
        """The Service that was created last; None where there is none."""
        if not self._there:
            return None
        number = max(self._there)
        (service,) = self._store.list_objects("v1", "Service", f"{FILLER_LABEL}={number}")
        return Service(service["metadata"]["name"], service["spec"]["clusterIP"], self._port)

    def _listed(self) -> list[Manifest]:
        return [each for kind in _KINDS for each in self._store.list_objects(*kind, FILLER_LABEL)]


class Changing:
    """A Service whose one backend is changed: an HTTP server that answers :data:`PATH` with
    status 418, or one that answers any path with 200."""

    PATH = "/status/418"
    STATES = ("418", "200")

    def __init__(self, store: ObjectStore, targets: Targets, say: Progress) -> None:
        self._store = store
        self._say = say
        self._backends = (
            (targets.pods["httpbin"][0].ip, _httpbin_port()),
            (targets.one("echo-server").ip, NULL_HTTP_PORT),
        )
        self._port = targets.httpbin.port
        self._state = 0
        self.service = Service(CHANGING, "", self._port)

    def create(self) -> None:
        """Create the Service; one that is there already is set back."""
        manifests = self._manifests()
        self._store.create_objects(manifests, self._say)
        self._store.merge_object(manifests[1])
        services = self._store.list_objects("v1", "Service", f"{_OWNER}={CHANGING}")
        self.service = Service(CHANGING, services[0]["spec"]["clusterIP"], self._port)

    def delete(self) -> None:
        """Delete it, if it is there."""
        self._store.delete_objects(self._manifests(), self._say)

    @property
    def next_status(self) -> str:
        """What the backend that comes with the next :meth:`change` answers."""
        return self.STATES[1 - self._state]

    def change(self) -> None:
        """Replace the backend by the other one."""
        self._state = 1 - self._state
        self._store.merge_object(self._manifests()[1])

    def _manifests(self) -> list[Manifest]:
        ip, port = self._backends[self._state]
        return pair(CHANGING, self._port, port, [ip], {_OWNER: CHANGING})


def pair(
    name: str, port: int, target_port: int, backends: Sequence[str], labels: dict[str, str]
) -> list[Manifest]:
    """A Service without a selector, and its EndpointSlice, which no controller then touches."""
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "ports": [{"name": _PORT, "port": port, "targetPort": target_port, "protocol": "TCP"}],
        },
    }
    endpoints: dict[str, Any] = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{_OWNER}",
            "labels": {**labels, _SERVICE_NAME: name, _MANAGED_BY: _OWNER},
        },
        "addressType": "IPv4",
        "ports": [{"name": _PORT, "port": target_port, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}} for address in backends
        ],
    }
    return [service, endpoints]


def _httpbin_port() -> int:
    (service,) = (each.service for each in WORKLOADS if each.role == "httpbin")
    assert service is not None
    return service.target_port


def _number(manifest: Manifest) -> int:
    return int(manifest["metadata"]["labels"][FILLER_LABEL])
