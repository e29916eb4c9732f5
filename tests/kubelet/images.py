"""What stands in for images, which cannot be pulled here: programs that the lab has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.workloads import DNSPERF_IMAGE, FORTIO_IMAGE, HTTPBIN_IMAGE, RUNNER_IMAGE, TOOLS_IMAGE


@dataclass(frozen=True, slots=True)
class Image:
    """What a container finds.

    :param programs: of the toolchain, beside nothing else.
    :param system: this machine's own programs, a shell and the usual tools among them.
    :param folders: of this machine, which its user may read.
    :param path: where commands are looked for besides.
    :param daemon: nothing is started: the container is the lab's own process of its name on the
        node, an agent or kube-proxy.
    """

    programs: tuple[str, ...] = ()
    system: bool = False
    folders: tuple[Path, ...] = ()
    path: str = ""
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
    repository(RUNNER_IMAGE): Image(
        system=True,
        folders=(Path(sys.prefix), Path(sys.base_prefix)),
        path=f"{sys.prefix}/bin",
    ),
    "amazon-k8s-cni": Image(daemon=True),
    "eks/kube-proxy": Image(daemon=True),
}
"""By :func:`repository`."""
