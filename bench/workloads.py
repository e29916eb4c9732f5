"""The pods that a benchmark needs: pure data, placed by every target in its own way.

On Kubernetes a workload is a Deployment with ``image`` and ``command``; in the lab it is a
network namespace that runs ``command`` directly, so ``command[0]`` is a program's name.
Server-side pods never share a node with the client-side ones (``bench.checks`` asserts it).
"""

from dataclasses import dataclass
from typing import Literal, get_args

# Digests are of the list of all architectures' images. Where one stands, the tag only tells people.
FORTIO_IMAGE = "fortio/fortio:1.65.0"
HTTPBIN_IMAGE = "ghcr.io/mccutchen/go-httpbin:2.23.1"
TOOLS_IMAGE = (
    "nicolaka/netshoot:v0.13"
    "@sha256:a20c2531bf35436ed3766cd6cfe89d352b050ccc4d7005ce6400adf97503da1b"
)
"""Holds iperf3 3.17 (the study's), BIND's dig, iproute2 and a shell."""
DNSPERF_IMAGE = "guessi/dnsperf:2.15.1-1"

RUNNER_IMAGE = "python:3.12.7-slim-bookworm"
"""Of a pod that runs the benchmark itself: public, with tar and pip inside."""

ECHO_PORT = 8078
NULL_HTTP_PORT = 8079
"""Of the clients' fortio server: what load generators are calibrated against."""
IPERF_PORT = 5201
HTTPBIN_SERVICE = "httpbin"
DNS_SERVICE = "kube-dns"
"""The cluster's own DNS Service: no workload of ours, but asked of the session by this name."""

TURNS_ECHO_PORT, TURNS_SINK_PORT, TURNS_COUNT_PORT = 8100, 8101, 8102
"""Of the generator of turns (``tools/turns/serve.go``)."""

Side = Literal["client", "server"]
SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """The ClusterIP Service in front of a workload."""

    name: str
    port: int
    target_port: int
    protocol: Literal["TCP", "UDP"] = "TCP"


@dataclass(frozen=True, slots=True)
class Workload:
    """One role of the benchmark.

    ``programs`` must be on the pod's PATH; ``command`` is what the pod runs all the time.
    """

    role: str
    replicas: int
    side: Side
    image: str
    command: tuple[str, ...]
    programs: tuple[str, ...]
    service: ServicePort | None = None


# An idle fortio pod cannot sleep (its image holds nothing else), so the client serves, too.
_FORTIO_ECHO = (
    "fortio", "server", "-http-port", str(NULL_HTTP_PORT), "-redirect-port", "disabled",
    "-grpc-port", "disabled", "-udp-port", "disabled", "-tcp-port", str(ECHO_PORT),
)  # fmt: skip
_SLEEP = ("sleep", "infinity")

WORKLOADS: tuple[Workload, ...] = (
    Workload("fortio-client", 1, "client", FORTIO_IMAGE, _FORTIO_ECHO, ("fortio",)),
    Workload("iperf3-client", 1, "client", TOOLS_IMAGE, _SLEEP, ("iperf3", "ip", "bash")),
    Workload("dns-client", 1, "client", TOOLS_IMAGE, _SLEEP, ("dig",)),
    Workload("dnsperf-client", 1, "client", DNSPERF_IMAGE, _SLEEP, ("sh", "dnsperf", "yes")),
    Workload(
        "iperf3-server", 1, "server", TOOLS_IMAGE, ("iperf3", "-s"), ("iperf3", "bash", "cat")
    ),
    Workload("echo-server", 1, "server", FORTIO_IMAGE, _FORTIO_ECHO, ("fortio",)),
    Workload("turns-server", 1, "server", TOOLS_IMAGE, ("turns", "serve"), ("turns",)),
    Workload(
        "httpbin",
        2,
        "server",
        HTTPBIN_IMAGE,
        # Its request log is off: at the highest rates it would be what is measured.
        ("go-httpbin", "-host", "0.0.0.0", "-port", "8080", "-log-level", "WARN"),
        ("go-httpbin",),
        ServicePort(HTTPBIN_SERVICE, 80, 8080),
    ),
)


def roles(side: Side) -> tuple[str, ...]:
    """The roles of one side, in the order of :data:`WORKLOADS`."""
    return tuple(workload.role for workload in WORKLOADS if workload.side == side)
