"""What stands in for images, which cannot be pulled here: programs that the lab has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.workloads import DNSPERF_IMAGE, FORTIO_IMAGE, HTTPBIN_IMAGE, TOOLS_IMAGE


@dataclass(frozen=True, slots=True)
class Image:
    """What a container finds.

    :param programs: of the toolchain, beside nothing else.
    :param system: this machine's own programs, a shell and the usual tools among them.
    :param daemon: nothing is started: the container is the lab's own process of its name on the
        node, an agent or kube-proxy.
    """

    programs: tuple[str, ...] = ()
    system: bool = False
    daemon: bool = False


def repository(reference: str) -> str:
    """An image's name without registry, tag and digest."""
    name = reference.partition("@")[0]
    path = name.rpartition("/")
    short = path[2].partition(":")[0]
    owner = path[0].rpartition("/")[2]
    return f"{owner}/{short}" if owner and "." not in owner else short


IMAGES: Mapping[str, Image] = {
    repository(FORTIO_IMAGE): Image(programs=("fortio",)),
    repository(HTTPBIN_IMAGE): Image(programs=("go-httpbin",)),
    repository(TOOLS_IMAGE): Image(system=True),
    repository(DNSPERF_IMAGE): Image(system=True),
    "amazon-k8s-cni": Image(daemon=True),
    "eks/kube-proxy": Image(daemon=True),
}
"""By :func:`repository`."""
