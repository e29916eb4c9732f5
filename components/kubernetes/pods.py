"""Pods of a cluster: which are ready, what runs in them, and short commands in several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from components.kubernetes.names import NODE_PROBE, NODES_NAMESPACE, ROLE_LABEL
from kube import exec as pod_exec
from kube.client import Kube
from kube.errors import KubernetesError, TornError
from kube.exec import Container
from kube.objects import POD, Json, is_ready

_SECONDS = 30.0
_AT_ONCE = 16


def ready(api: Kube, namespace: str, selector: str) -> list[Json]:
    """Ready pods that are not about to go, by name; of all namespaces where it is empty.

    :raises KubernetesError: the cluster cannot be asked.
    """
    pods = api.items(POD, namespace, labels=selector)
    lasting = [pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
    return sorted(lasting, key=lambda pod: str(pod["metadata"]["name"]))


def container(pod: Json, name: str) -> Container:
    """A container of a pod."""
    return Container(pod["metadata"]["namespace"], pod["metadata"]["name"], name)


def running(pod: Json) -> Iterator[tuple[str, str]]:
    """Name and id of every running container of a pod."""
    for status in pod["status"].get("containerStatuses", ()):
        if "running" in status["state"]:
            yield status["name"], status["containerID"].partition("://")[2]


def output(api: Kube, where: Container, argv: Sequence[str]) -> str:
    """What a short command that changes nothing prints; asked once more if the connection breaks.

    :raises KubernetesError: it cannot be run, or fails.
    """
    try:
        done = pod_exec.run(api, where, argv, timeout=_SECONDS)
    except TornError:
        done = pod_exec.run(api, where, argv, timeout=_SECONDS)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-300:]
        raise KubernetesError(f"{where}: `{argv[0]}` ended with {done.returncode}: {said}")
    return done.stdout


def on_nodes(
    api: Kube, command: Callable[[str], Sequence[str]], nodes: Sequence[str]
) -> dict[str, str]:
    """What a command prints in the node probe of each node, asked all at once.

    :raises KubernetesError: a node has no ready probe, or the command fails there.
    """
    if not nodes:
        return {}
    probes = {
        pod["spec"]["nodeName"]: container(pod, NODE_PROBE)
        for pod in ready(api, NODES_NAMESPACE, f"{ROLE_LABEL}={NODE_PROBE}")
    }
    lacking = sorted(set(nodes) - probes.keys())
    if lacking:
        raise KubernetesError(f"no ready node probe on {', '.join(lacking)}")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outputs = pool.map(lambda node: output(api, probes[node], command(node)), nodes)
        return dict(zip(nodes, outputs, strict=True))
