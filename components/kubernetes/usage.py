"""CPU time and memory: of the CNI's processes, of the workloads' pods, of the nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.session import ComponentUsage, MachineUsage, WorkloadUsage
from cni.dataplane import Dataplane
from cni.services import KUBE_PROXY_PODS
from components.kubernetes import facts, pods
from components.kubernetes.facts import ContainerUsage
from components.kubernetes.manifests import LINUX_NODES, MAIN, NAMESPACE, ROLE_LABEL
from kube.client import Kube
from kube.errors import KubernetesError
from kube.objects import NODE, POD, Json


@dataclass(frozen=True, slots=True)
class _Running:
    """A running container, by its id."""

    node: str
    pod: str
    role: str
    name: str
    id: str


def cni_pods(api: Kube, cni: Dataplane) -> list[Json]:
    """The pods of the CNI's components and of kube-proxy.

    :raises KubernetesError: the cluster cannot be asked.
    """
    labels = (*(each.label for each in cni.components), KUBE_PROXY_PODS.label)
    return [pod for label in labels for pod in api.items(POD, labels=label)]


def of_cni(api: Kube, cni: Dataplane) -> list[ComponentUsage]:
    """Of every container of the CNI's pods, now; a component has its container's name.

    :raises KubernetesError: a container's figures cannot be read.
    """
    containers = list(_running(cni_pods(api, cni)))
    read = _read(api, containers)
    return [
        ComponentUsage(each.node, each.name, usage.cpu_seconds, usage.memory_bytes)
        for each, usage in zip(containers, read, strict=True)
    ]


def of_workloads(api: Kube) -> list[WorkloadUsage]:
    """Of the main container of every pod of the workloads, with the commands run in it.

    :raises KubernetesError: a container's figures cannot be read.
    """
    ready = pods.ready(api, NAMESPACE, ROLE_LABEL)
    containers = [each for each in _running(ready) if each.name == MAIN]
    read = _read(api, containers)
    return [
        WorkloadUsage(each.pod, each.role, each.node, usage.cpu_seconds)
        for each, usage in zip(containers, read, strict=True)
    ]


def of_nodes(api: Kube) -> list[MachineUsage]:
    """Of every node, now.

    :raises KubernetesError: a node cannot be asked.
    """
    cpus = {
        node["metadata"]["name"]: facts.cpus(node) for node in api.items(NODE, labels=LINUX_NODES)
    }
    outputs = pods.on_nodes(api, lambda node: facts.CPU_COMMAND, sorted(cpus))
    times = {node: facts.parse_cpu(node, text) for node, text in outputs.items()}
    return [
        MachineUsage(node, (node,), cpus[node], time.busy_seconds, time.steal_seconds)
        for node, time in times.items()
    ]


def _running(of: Iterable[Json]) -> Iterable[_Running]:
    for pod in of:
        metadata = pod["metadata"]
        role = metadata["labels"].get(ROLE_LABEL, "")
        for name, container_id in pods.running(pod):
            yield _Running(pod["spec"]["nodeName"], metadata["name"], role, name, container_id)


def _read(api: Kube, containers: Sequence[_Running]) -> list[ContainerUsage]:
    """The usage of each container, in order, read on all nodes at once."""
    ids: dict[str, list[str]] = {}
    for each in containers:
        ids.setdefault(each.node, []).append(each.id)
    outputs = pods.on_nodes(api, lambda node: facts.usage_command(ids[node]), sorted(ids))
    read = {node: facts.parse_usage(text) for node, text in outputs.items()}
    return [_readable(each, read[each.node].get(each.id)) for each in containers]


def _readable(container: _Running, usage: ContainerUsage | None) -> ContainerUsage:
    if usage is None:
        raise KubernetesError(
            f"the cgroup of {container.name} in {container.pod} on {container.node} is not found"
        )
    return usage
