"""Pods of a cluster: which are ready, what runs in them, and commands in them."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from components.kubernetes.facts import script
from components.kubernetes.manifests import NODE_PROBE, NODES_NAMESPACE, ROLE_LABEL, TOOLS
from kube import exec as pod_exec
from kube.client import Kube
from kube.exec import Container
from kube.objects import POD, Json, KubernetesError, TornError, is_ready

DNS_LABEL = "k8s-app=kube-dns"
"""Selects CoreDNS's pods."""
_SECONDS = 30.0
_AT_ONCE = 16
_END_SECONDS = 20.0


def ready(api: Kube, namespace: str, selector: str) -> list[Json]:
    """Ready pods that are not about to go, by name; of all namespaces where it is empty.

    :raises KubernetesError: the cluster cannot be asked.
    """
    pods = api.items(POD, namespace, labels=selector)
    lasting = [pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
    return sorted(lasting, key=lambda pod: str(pod["metadata"]["name"]))


def listed(api: Kube, wanted: Sequence[tuple[str, str]]) -> list[list[Json]]:
    """The pods of each namespace (all, where it is empty) and label selector, asked all at once.

    :raises KubernetesError: the cluster cannot be asked.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda each: api.items(POD, each[0], labels=each[1]), wanted)
        return [list(pods) for pods in found]


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


def node_probes(api: Kube, nodes: Iterable[str]) -> dict[str, Container]:
    """The node probe of each node.

    :raises KubernetesError: a node has none that is ready.
    """
    probes = {
        pod["spec"]["nodeName"]: container(pod, NODE_PROBE)
        for pod in ready(api, NODES_NAMESPACE, f"{ROLE_LABEL}={NODE_PROBE}")
    }
    lacking = sorted(set(nodes) - probes.keys())
    if lacking:
        raise KubernetesError(f"no ready node probe on {', '.join(lacking)}")
    return probes


def on_nodes(
    api: Kube, command: Callable[[str], Sequence[str]], nodes: Sequence[str]
) -> dict[str, str]:
    """What a command prints in the node probe of each node, asked all at once.

    :raises KubernetesError: a node has no ready probe, or the command fails there.
    """
    if not nodes:
        return {}
    probes = node_probes(api, nodes)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outputs = pool.map(lambda node: output(api, probes[node], command(node)), nodes)
        return dict(zip(nodes, outputs, strict=True))


# -- commands that outlived their connection ------------------------------------------------------

# A container runtime does not end a command whose client is gone, and the image of the load
# generator holds nothing but the load generator, no shell to wrap it in. So its pods have a second
# container with tools, that shares their process namespace and user. There the command is looked up
# by its exact arguments and killed with all that it has started, since a runtime puts it at the
# head of a session (runc, ``nsexec.c``).


def kill_command(argv: Sequence[str]) -> tuple[str, ...]:
    """The command that ends every process with exactly these arguments."""
    return script("kill", *argv)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A command that may still run in a pod."""

    namespace: str
    pod: str
    argv: tuple[str, ...]


class Leftovers:
    """Commands of one session that may have outlived their connection; threads may share it.

    No further command starts before they have ended: it would be measured with them.
    """

    def __init__(self, api: Kube) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._left: list[Leftover] = []

    def add(self, leftover: Leftover) -> None:
        """Remember one."""
        with self._lock:
            self._left.append(leftover)

    def end_all(self) -> None:
        """End all that are remembered; those that were ended are forgotten.

        :raises KubernetesError: one could not be ended.
        """
        with self._lock:
            while self._left:
                self._end(self._left[0])
                del self._left[0]

    def _end(self, leftover: Leftover) -> None:
        shown = f"`{' '.join(leftover.argv)}` in {leftover.pod}"
        try:
            tools = self._tools(leftover)
            if tools is None:
                return
            command = kill_command(leftover.argv)
            done = pod_exec.run(self._api, tools, command, timeout=_END_SECONDS)
        except KubernetesError as error:
            raise KubernetesError(f"{shown} may still run: {error}") from None
        if done.returncode != 0:
            raise KubernetesError(f"{shown} still runs: {done.stderr.strip()[-200:]}")

    def _tools(self, leftover: Leftover) -> Container | None:
        """Where the command can be ended from; None once its pod has ended."""
        pod = self._api.find(POD, leftover.pod, leftover.namespace)
        if pod is None or pod["status"].get("phase") in ("Succeeded", "Failed"):
            return None
        names = [container["name"] for container in pod["spec"]["containers"]]
        return Container(leftover.namespace, leftover.pod, TOOLS if TOOLS in names else names[0])
