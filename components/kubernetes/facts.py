"""What a result's reader must know of a cluster and its nodes: pure, over the API's objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from components.kubernetes.nodeprobe import NetworkDevice
from kube.errors import KubernetesError
from kube.objects import Json

DEFAULT_DOMAIN = "cluster.local"

# Run in a pod of the workloads: what its packets meet, and the cluster's DNS domain.
POD_COMMAND = (
    "sh",
    "-c",
    """route=$(ip -o route show default)
device=$(echo "$route" | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | head -n 1)
echo "device_mtu: $(cat "/sys/class/net/$device/mtu")"
echo "route_mtu: $(echo "$route" | sed -n 's/.* mtu \\(lock \\)*\\([0-9]*\\).*/\\2/p')"
echo "congestion_control: $(cat /proc/sys/net/ipv4/tcp_congestion_control)"
echo "search: $(sed -n 's/^search //p' /etc/resolv.conf)"
""",
)


def pod_facts(text: str) -> dict[str, Any]:
    """Read the output of :data:`POD_COMMAND`.

    :returns: ``pod_mtu`` (bytes), ``congestion_control`` and ``cluster_domain``.
    :raises KubernetesError: it is not that output.
    """
    pairs = (line.partition(": ") for line in text.splitlines())
    fields = {name.rstrip(":"): value.strip() for name, _, value in pairs}
    try:
        # Cilium leaves room for a tunnel's headers in the route.
        limits = [int(fields[name]) for name in ("device_mtu", "route_mtu") if fields[name]]
        return {
            "pod_mtu": min(limits),
            "congestion_control": fields["congestion_control"],
            "cluster_domain": _domain(fields["search"].split()),
        }
    except (KeyError, ValueError) as error:
        raise KubernetesError(f"a pod does not tell its network ({error}): {text}") from None


def _domain(search: Sequence[str]) -> str:
    """The kubelet puts ``<namespace>.svc.<domain> svc.<domain> <domain>`` first."""
    found = (name.removeprefix("svc.") for name in search if name.startswith("svc."))
    return next(found, DEFAULT_DOMAIN).rstrip(".")


def node_facts(node: Json, device: NetworkDevice) -> dict[str, Any]:
    """A node's machine, system, and uplink."""
    labels, info = node["metadata"].get("labels", {}), node["status"]["nodeInfo"]
    return {
        "name": node["metadata"]["name"],
        "instance_type": instance_type(node),
        "zone": labels.get("topology.kubernetes.io/zone", ""),
        "architecture": info["architecture"],
        "cpus": cpus(node),
        "memory_mib": memory_mib(node),
        "kernel": info["kernelVersion"],
        "os_image": info["osImage"],
        "container_runtime": info["containerRuntimeVersion"],
        "kubelet": info["kubeletVersion"],
        **asdict(device),
    }


def instance_type(node: Json) -> str:
    """The cloud's name for the machine, or nothing."""
    labels: Mapping[str, str] = node["metadata"].get("labels", {})
    return labels.get("node.kubernetes.io/instance-type", "")


def cpus(node: Json) -> int:
    """Of the machine."""
    return int(node["status"]["capacity"]["cpu"])


_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def memory_mib(node: Json) -> int:
    """Of the machine, from a quantity such as ``16073640Ki``."""
    quantity = str(node["status"]["capacity"]["memory"])
    unit = quantity[-2:]
    if unit in _UNITS:
        return int(quantity[:-2]) * _UNITS[unit] // (1 << 20)
    return int(quantity) // (1 << 20)


def one_or_all(values: Iterable[Any]) -> Any:
    """The value that all have, else each different one, sorted."""
    found = sorted(set(values))
    return found[0] if len(found) == 1 else found


def versions(server: str, pods: Iterable[Json]) -> dict[str, Any]:
    """The API server's version, and the image tag of every container of some pods."""
    tags: dict[str, set[str]] = {}
    for pod in pods:
        for container in pod["spec"]["containers"]:
            tags.setdefault(container["name"], set()).add(_tag(container["image"]))
    return {"kubernetes": server, **{name: one_or_all(each) for name, each in sorted(tags.items())}}


def _tag(image: str) -> str:
    """``v1.16.5`` of ``quay.io/cilium/cilium:v1.16.5@sha256:…``, or its digest without a tag."""
    name, _, digest = image.partition("@")
    return name.rpartition("/")[2].partition(":")[2] or digest or "latest"


def images(pods: Iterable[Json], label: str) -> dict[str, Any]:
    """What each workload's containers really run: image ids with their digests, by role."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        role = pod["metadata"]["labels"][label]
        for status in pod["status"].get("containerStatuses", ()):
            found.setdefault(f"{role}/{status['name']}", set()).add(status["imageID"])
    return {name: one_or_all(each) for name, each in sorted(found.items())}
