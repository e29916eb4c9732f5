"""Thousands of Services, one whose backend changes, and what a dataplane has made of them.

Sources: kube-proxy 1.31 (``pkg/proxy/iptables/proxier.go``, ``pkg/proxy/nftables/proxier.go``,
``pkg/proxy/metrics``), Cilium 1.16.5 (``pkg/maps/lbmap``, ``pkg/k8s/watchers/service.go``).
kube-proxy's own ``kubeproxy_sync_proxy_rules_iptables_total`` is not used: its IPv6 half
overwrites what its IPv4 half has counted.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.probes.base import Bench
from bench.probes.http import REQUEST_PATH
from bench.session import Clock, Service, SessionError, Targets
from bench.text import ParseError
from bench.workloads import NULL_HTTP_PORT, WORKLOADS
from cni.cilium import dataplane as cilium
from cni.dataplane import IPTABLES, KUBE_PROXY_PODS, NFTABLES
from studies.experiments.capabilities import Manifest, ObjectStore, Progress
from studies.experiments.model import SkippedError

FILLER_LABEL = "cni-benchmark/filler"
CHANGING = "scale-changing"
_SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_OWNER = "cni-benchmark"
_PORTS = {"TCP": "main", "UDP": "udp"}
_TCP = ("TCP",)
_ENDING = {"ready": False, "serving": True, "terminating": True}
_SERVED_SECONDS = 600.0
_KINDS = (("v1", "Service"), ("discovery.k8s.io/v1", "EndpointSlice"))


class Fillers:
    """The Services that are there only to be many. Each is backed by the HTTP servers' pods, so
    that the dataplane has to do for it what it does for any, and each can be measured.

    Those that an interrupted run has left are taken as they are.
    """

    def __init__(self, store: ObjectStore, targets: Targets, clock: Clock, say: Progress) -> None:
        self._store = store
        self._port = targets.httpbin.port
        self._target_port = httpbin_port()
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
            (targets.pods["httpbin"][0].ip, httpbin_port()),
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
    """A Service without a selector, and its EndpointSlice."""
    return [
        service_manifest(name, port, target_port, labels),
        endpoints_manifest(name, target_port, backends, labels),
    ]


def service_manifest(
    name: str,
    port: int,
    target_port: int,
    labels: dict[str, str],
    protocols: Sequence[str] = _TCP,
    *,
    ports: int = 1,
    **spec: Any,
) -> Manifest:
    """A Service without a selector, whose endpoints no controller touches.

    :param ports: how many it has of each protocol, from ``port`` and ``target_port`` on.
    :param spec: what else it is.
    """
    listed = [
        {"name": each, "port": port + nth, "targetPort": target_port + nth, "protocol": protocol}
        for each, nth, protocol in _named(protocols, ports)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"ports": listed, **spec},
    }


def endpoints_manifest(
    name: str,
    target_port: int,
    backends: Sequence[str],
    labels: dict[str, str],
    protocols: Sequence[str] = _TCP,
    ending: Sequence[str] = (),
    *,
    ports: int = 1,
    part: int = 0,
) -> Manifest:
    """The EndpointSlice that leads a Service to its backends, also where no controller would.

    :param ending: addresses of pods that still answer while they end.
    :param ports: as :func:`service_manifest` has them.
    :param part: which one of several that the Service has.
    """
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{_OWNER}" + f"-{part}" * bool(part),
            "labels": {**labels, _SERVICE_NAME: name, _MANAGED_BY: _OWNER},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": each, "port": target_port + nth, "protocol": protocol}
            for each, nth, protocol in _named(protocols, ports)
        ],
        "endpoints": [
            *({"addresses": [each], "conditions": {"ready": True}} for each in backends),
            *({"addresses": [each], "conditions": _ENDING} for each in ending),
        ],
    }


def _named(protocols: Sequence[str], ports: int) -> list[tuple[str, int, str]]:
    """Every port's name, number (0 …) and protocol."""
    return [
        (_PORTS[each] + f"-{nth}" * bool(nth), nth, each)
        for nth in range(ports)
        for each in protocols
    ]


def await_served(bench: Bench, service: Service) -> None:
    """Wait until a Service leads somewhere; agents may be minutes behind with thousands of them.

    :raises SessionError: it does not, in ten minutes.
    """
    client, end = bench.targets.one("fortio-client"), bench.clock.monotonic() + _SERVED_SECONDS
    url = f"http://{service.host}:{service.port}{REQUEST_PATH}"
    argv = ("fortio", "curl", "-quiet", "-timeout", "2s", url)
    while bench.session.run(client, argv, timeout=10).returncode:
        if bench.clock.monotonic() > end:
            raise SessionError(f"{service.name} does not answer after {_SERVED_SECONDS:.0f} s")
        bench.clock.sleep(0.5)


def httpbin_port() -> int:
    """On which httpbin's pods listen."""
    (service,) = (each.service for each in WORKLOADS if each.role == "httpbin")
    assert service is not None
    return service.target_port


def _number(manifest: Manifest) -> int:
    return int(manifest["metadata"]["labels"][FILLER_LABEL])


KUBE_PROXY, CILIUM = KUBE_PROXY_PODS.container, cilium.SOCKET.pods.container
Run = Callable[[Sequence[str]], str]
"""Runs a command beside the component on the client's node, and gives its output."""


@dataclass(frozen=True, slots=True)
class Syncs:
    """How often a component has brought its dataplane up to date so far, and for how long."""

    count: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Dataplane:
    """One kind of dataplane.

    ``size`` counts what it holds. ``order`` are the ClusterIPs with a port in the order in which
    they are compared with a packet; None where they are looked up at once. ``syncs`` reads
    changes that were brought in (None where this version of the component does not tell), ``full``
    those that wrote everything anew (None where there are no such).
    """

    component: str
    title: str
    size: Callable[[Run], dict[str, int]]
    order: Callable[[Run, int], list[str]] | None
    syncs: Callable[[str], Syncs | None]
    full: Callable[[str], Syncs] | None


def dataplane_of(path: str) -> Dataplane:
    """The dataplane whose mechanism leads connections to Services (``ServicePath.expected``).

    :raises SkippedError: it is not known how that one tells what it holds.
    """
    if path not in _BY_PATH:
        raise SkippedError(f"{path}: what it holds of Services cannot be read here")
    return _BY_PATH[path]


def total(text: str, name: str, **labels: str) -> float | None:
    """The sum of a metric's samples that have these labels; None where it has no sample.

    :param name: of the sample, so with ``_sum``, ``_count`` or ``_total``.
    :raises ParseError: the text is not of that format.
    """
    try:
        values = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
    except ValueError as error:
        raise ParseError(f"no metrics in Prometheus's format: {error}") from None
    return sum(values) if values else None


# -- kube-proxy -------------------------------------------------------------------------------


def _iptables_size(run: Run) -> dict[str, int]:
    lines = run(("iptables-save", "-t", "nat")).splitlines()
    if "*nat" not in lines:
        raise ParseError("iptables-save: no nat table in its output")
    return {
        "nat rules": sum(line.startswith("-A") for line in lines),
        "nat chains": sum(line.startswith(":") for line in lines),
    }


def iptables_order(listing: str, port: int) -> list[str]:
    """The ClusterIPs of KUBE-SERVICES with a port, in the order of its rules.

    kube-proxy writes them in the order of a Go map's iteration, so in another one with every sync.

    :param listing: ``iptables -t nat -S KUBE-SERVICES``.
    """
    rule = rf"^-A KUBE-SERVICES -d (\S+)/32 .*--dport {port} -j KUBE-(?:SVC|EXT)-"
    return re.findall(rule, listing, re.MULTILINE)


def _iptables_order(run: Run, port: int) -> list[str]:
    return iptables_order(run(("iptables", "-t", "nat", "-S", "KUBE-SERVICES")), port)


def nftables_size(listing: str) -> dict[str, int]:
    """Rules, chains and elements of maps and sets.

    :param listing: ``nft --json list table ip kube-proxy``.
    """
    try:
        objects: list[dict[str, Any]] = json.loads(listing)["nftables"]
    except (ValueError, KeyError) as error:
        raise ParseError(f"nft: no table in its output: {error}") from None
    holders = [each[kind] for each in objects for kind in ("map", "set") if kind in each]
    return {
        "nft rules": sum("rule" in each for each in objects),
        "nft chains": sum("chain" in each for each in objects),
        "nft map elements": sum(len(holder.get("elem", ())) for holder in holders),
    }


def _nftables_size(run: Run) -> dict[str, int]:
    return nftables_size(run(("nft", "--json", "list", "table", "ip", "kube-proxy")))


def _proxy_syncs(name: str) -> Callable[[str], Syncs]:
    def read(text: str) -> Syncs:
        metric = f"kubeproxy_{name}_duration_seconds"
        return _syncs(metric, total(text, f"{metric}_count"), total(text, f"{metric}_sum"))

    return read


def _full_syncs(text: str) -> Syncs:
    """Both families. A newer kube-proxy (1.35) has no such metric before the first one."""
    metric = "kubeproxy_sync_full_proxy_rules_duration_seconds"
    return Syncs(total(text, f"{metric}_count") or 0, total(text, f"{metric}_sum") or 0)


def _syncs(metric: str, count: float | None, seconds: float | None) -> Syncs:
    if count is None or seconds is None:
        raise ParseError(f"the component does not tell {metric}")
    return Syncs(count, seconds)


# -- Cilium -----------------------------------------------------------------------------------

_MAPS: Mapping[str, str] = {
    "service map entries": "cilium_lb4_services_v2",
    "backend map entries": "cilium_lb4_backends_v3",
    "reverse NAT map entries": "cilium_lb4_reverse_nat",
}


def _bpf_size(run: Run) -> dict[str, int]:
    sizes = {}
    for title, name in _MAPS.items():
        dumped = run(
            ("bpftool", "--json", "map", "dump", "pinned", f"/sys/fs/bpf/tc/globals/{name}")
        )
        try:
            sizes[title] = len(json.loads(dumped))
        except (ValueError, TypeError) as error:
            raise ParseError(f"bpftool: no dump of {name}: {error}") from None
    return sizes


def _cilium_syncs(text: str) -> Syncs | None:
    """Upserts of Services, and the time they took without that in the event queue.

    A histogram is told as its sum over the agent's socket, as ``_sum`` over its metrics port. From
    1.18 on agents count neither (``pkg/loadbalancer`` in place of ``pkg/service``).
    """
    delay = "cilium_service_implementation_delay"
    seconds = total(text, delay, action="service-updated")
    if seconds is None:
        seconds = total(text, f"{delay}_sum", action="service-updated")
    events = [total(text, "cilium_services_events_total", action=a) for a in ("add", "update")]
    known = [each for each in events if each is not None]
    if seconds is None and not known:
        return None
    return _syncs(delay, sum(known) if known else None, seconds)


_IPTABLES = Dataplane(
    KUBE_PROXY, "kube-proxy iptables", _iptables_size, _iptables_order,
    _proxy_syncs("sync_proxy_rules"), _full_syncs,
)  # fmt: skip
_NFTABLES = Dataplane(
    KUBE_PROXY, "kube-proxy nftables", _nftables_size, None,
    _proxy_syncs("sync_proxy_rules"), _full_syncs,
)  # fmt: skip
_EBPF = Dataplane(CILIUM, "Cilium eBPF", _bpf_size, None, _cilium_syncs, None)
_BY_PATH: Mapping[str, Dataplane] = {
    IPTABLES.name: _IPTABLES,
    NFTABLES.name: _NFTABLES,
    cilium.SOCKET.name: _EBPF,
    cilium.PER_PACKET.name: _EBPF,
}
