"""What a result's reader must know of nodes and pods, and the commands that tell it. Pure.

The node probe's pods tell network devices, held-back traffic and the use of CPU and memory.

Why usage is read from cgroups and not from the kubelet's summary API: its numbers are cAdvisor's,
which looks at a container every 10 to 15 seconds (Kubernetes 1.31, ``pkg/kubelet/cadvisor``:
``defaultHousekeepingInterval``; ``pkg/kubelet/stats/cri_stats_provider.go`` puts them in place of
the runtime's), at another moment on every node. A benchmark's windows are 1 to 30 seconds long, so
a rate from two such readings would be of other seconds than those of the load. A cgroup's
``cpu.stat`` is exact to the microsecond at the moment it is read.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.environment import DEFAULT_DOMAIN, NodeFacts
from bench.session import TimeOfDay
from bench.text import tail
from components.kubernetes.manifests import HOST_CGROUPS
from kube.objects import Json, KubernetesError

_SCRIPTS = Path(__file__).with_name("scripts")


def script(name: str, *arguments: str, shell: str = "sh") -> tuple[str, ...]:
    """The command that runs one of the folder's shell scripts where there is only a shell."""
    return (shell, "-c", (_SCRIPTS / f"{name}.sh").read_text(encoding="utf-8"), "sh", *arguments)


NETWORK_COMMAND = script("network")
ALLOWANCES_COMMAND = script("allowances")
POD_COMMAND = script("pod")
"""Run in a pod of the workloads."""


def usage_command(containers: Sequence[str], root: str = HOST_CGROUPS) -> tuple[str, ...]:
    """The command that reads the cgroups of containers, by their ids."""
    return script("usage", root, *containers)


# The kernel counts in these for programs, whatever its own tick is (Linux, USER_HZ).
TICKS_PER_SECOND = 100
_COUNTER = re.compile(r"[0-9]{1,20}")
_CLOCK = re.compile(r"[0-9]{1,12}([.,][0-9]{1,9})?")
# By the shell alone, so that no time passes between the clocks' readings.
CPU_COMMAND = (
    "bash",
    "-c",
    'read -r up _ </proc/uptime; now=$EPOCHREALTIME; read -r cpu </proc/stat; echo "$now $up $cpu"',
)
_UPTIME_ERROR_SECONDS = 0.005
"""/proc/uptime is cut to hundredths of a second."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of all CPUs of a node so far: at work, of it in interrupts, and withheld by a
    hypervisor; and how its time of day stands."""

    busy_seconds: float
    interrupt_seconds: float
    steal_seconds: float
    time_of_day: TimeOfDay


def parse_cpu(node: str, text: str) -> CpuTime:
    """Read the output of :data:`CPU_COMMAND` (proc_stat(5), proc_uptime(5)); it is the node's also
    in a container.

    :raises KubernetesError: it is not that line.
    """
    words = text.split()
    try:
        now, up = map(clock, words[:2])
        busy, interrupts, steal = cpu_seconds(words[2:])
    except ValueError:
        said = tail(text)
        raise KubernetesError(f"{node}: its clocks and CPUs' time are not told: {said}") from None
    ahead = TimeOfDay(now - up - _UPTIME_ERROR_SECONDS, _UPTIME_ERROR_SECONDS)
    return CpuTime(busy, interrupts, steal, ahead)


def cpu_seconds(words: Sequence[str]) -> tuple[float, float, float]:
    """Seconds at work, of it in interrupts, and withheld, of a line of proc_stat(5).

    :raises ValueError: it is no such line.
    """
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(count, words[1:9])
    ticks = (user + nice + system + irq + softirq, irq + softirq, steal)
    return ticks[0] / TICKS_PER_SECOND, ticks[1] / TICKS_PER_SECOND, ticks[2] / TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class NetworkDevice:
    """A node's uplink: MTU in bytes, driver and its version as ``ethtool -i`` names them."""

    interface: str
    mtu: int
    driver: str
    driver_version: str


def parse_network(node: str, text: str) -> NetworkDevice:
    """Read the output of :data:`NETWORK_COMMAND`.

    :raises KubernetesError: it lacks the interface, its MTU or its driver.
    """
    fields = _fields(text)
    try:
        return NetworkDevice(
            fields["interface"], count(fields["mtu"]), fields["driver"], fields.get("version", "")
        )
    except (KeyError, ValueError) as error:
        said = tail(text)
        raise KubernetesError(f"{node}: its network device is not told ({error}): {said}") from None


def parse_allowances(text: str) -> dict[str, int]:
    """Sum the counters of all devices, from the output of :data:`ALLOWANCES_COMMAND`."""
    totals: dict[str, int] = defaultdict(int)
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        with suppress(ValueError):
            totals[name] += count(value)
    return dict(totals)


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """:param cpu_seconds: user and system time so far.
    :param memory_bytes: resident memory: anonymous and mapped file pages.
    """

    cpu_seconds: float
    memory_bytes: int


def parse_usage(text: str) -> dict[str, ContainerUsage]:
    """Read the output of :func:`usage_command`, by container id.

    A container without readable figures is left out. Sources: Linux, "Control Group v2"
    (``usage_usec``, ``anon``, ``file_mapped``) and "Memory Resource Controller" (version 1's
    ``total_rss`` and ``total_mapped_file``).

    :raises KubernetesError: it is not that output.
    """
    figures: dict[str, dict[str, int]] = defaultdict(dict)
    for line in text.splitlines():
        try:
            container, *names, figure = line.split()
            key, value = " ".join(names), count(figure)
        except ValueError:
            raise KubernetesError(f"what containers use is not told: {tail(line)}") from None
        # A container's cgroup may hold others of the same name; the outer one counts them all.
        figures[container][key] = max(value, figures[container].get(key, 0))
    read = {container: _usage(each) for container, each in figures.items()}
    return {container: usage for container, usage in read.items() if usage}


def _usage(figures: Mapping[str, int]) -> ContainerUsage | None:
    if "cpu.stat usage_usec" in figures and "memory.stat anon" in figures:
        memory = figures["memory.stat anon"] + figures.get("memory.stat file_mapped", 0)
        return ContainerUsage(figures["cpu.stat usage_usec"] / 1e6, memory)
    if "cpuacct.usage" in figures and "memory.stat total_rss" in figures:
        memory = figures["memory.stat total_rss"] + figures.get("memory.stat total_mapped_file", 0)
        return ContainerUsage(figures["cpuacct.usage"] / 1e9, memory)
    return None


def count(text: str) -> int:
    """A counter of the kernel's, of 64 bits.

    :raises ValueError: it is none.
    """
    if not _COUNTER.fullmatch(text.strip()):
        raise ValueError(f"{tail(text, 40)!r} is no counter")
    return int(text)


def clock(text: str) -> float:
    """Seconds with a fraction, behind a comma where bash has such a locale.

    :raises ValueError: it is something else, such as nan.
    """
    if not _CLOCK.fullmatch(text):
        raise ValueError(f"{tail(text, 40)!r} is no clock")
    return float(text.replace(",", "."))


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


# -- facts of a cluster and its nodes -------------------------------------------------------------


def pod_facts(text: str) -> dict[str, Any]:
    """Read the output of :data:`POD_COMMAND`.

    :returns: ``pod_mtu`` (bytes), ``congestion_control`` and ``cluster_domain``.
    :raises KubernetesError: it is not that output.
    """
    fields = _fields(text)
    try:
        # Cilium leaves room for a tunnel's headers in the route.
        limits = [count(fields[name]) for name in ("device_mtu", "route_mtu") if fields[name]]
        return {
            "pod_mtu": min(limits),
            "congestion_control": fields["congestion_control"],
            "cluster_domain": _domain(fields["search"].split()),
        }
    except (KeyError, ValueError) as error:
        raise KubernetesError(f"a pod does not tell its network ({error}): {tail(text)}") from None


def _domain(search: Sequence[str]) -> str:
    """The kubelet puts ``<namespace>.svc.<domain> svc.<domain> <domain>`` first."""
    domains = (name.removeprefix("svc.") for name in search if name.startswith("svc."))
    return next(domains, DEFAULT_DOMAIN).rstrip(".")


def node_facts(node: Json, device: NetworkDevice) -> NodeFacts:
    """A node's machine, system, and uplink."""
    info = node["status"]["nodeInfo"]
    return NodeFacts(
        name=node["metadata"]["name"],
        instance_type=instance_type(node),
        zone=zone(node),
        architecture=info["architecture"],
        cpus=cpus(node),
        memory_mib=memory_mib(node),
        kernel=info["kernelVersion"],
        os_image=info["osImage"],
        container_runtime=info["containerRuntimeVersion"],
        kubelet=info["kubeletVersion"],
        **asdict(device),
    )


def region(node: Json) -> str:
    """The cloud's region, or nothing."""
    return _label(node, "topology.kubernetes.io/region")


def zone(node: Json) -> str:
    """The cloud's zone, or nothing."""
    return _label(node, "topology.kubernetes.io/zone")


def instance_type(node: Json) -> str:
    """The cloud's name for the machine, or nothing."""
    return _label(node, "node.kubernetes.io/instance-type")


def _label(node: Json, name: str) -> str:
    return str(node["metadata"].get("labels", {}).get(name, ""))


def is_ec2(node: Json) -> bool:
    """Whether the node is an EC2 instance."""
    return str(node["spec"].get("providerID", "")).startswith("aws://")


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
    distinct = sorted(set(values))
    return distinct[0] if len(distinct) == 1 else distinct


def one_or_all_told(values: Iterable[str]) -> str | list[str] | None:
    """The same of those that are told; None where none is."""
    return one_or_all(value for value in values if value) or None


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
    ids: dict[str, set[str]] = {}
    for pod in pods:
        role = pod["metadata"]["labels"][label]
        for status in pod["status"].get("containerStatuses", ()):
            ids.setdefault(f"{role}/{status['name']}", set()).add(status["imageID"])
    return {name: one_or_all(each) for name, each in sorted(ids.items())}
