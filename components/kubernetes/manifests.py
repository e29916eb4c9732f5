"""The benchmark's workloads as Kubernetes objects, and the names by which they are found again.

The objects are in ``manifests.yaml``, in the API's own field names; this module fills them in.

Placement: all clients share one node and no server is on it, by required (anti-)affinity; servers
spread over the others. Clients must be scheduled first, or servers may take every node: whoever
creates these objects keeps to :func:`clients`, then :func:`servers`.

Nothing of Kubernetes' own runs beside a measurement: no CPU limits, and probes that end once a
container has answered.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from bench.workloads import ECHO_PORT, IPERF_PORT, TOOLS_IMAGE, WORKLOADS, Workload
from components.programs import TURNS, path_in_pods
from studies.experiments.capabilities import PodRequest

Manifest = dict[str, Any]

NAMESPACE: Final = "cni-benchmark"
"""Of the workloads."""
NODES_NAMESPACE: Final = "cni-benchmark-nodes"
"""Of the node probe, which looks at the host and so needs a more permissive pod security level."""
SYSTEM_NAMESPACE: Final = "kube-system"

ROLE_LABEL: Final = "app.kubernetes.io/name"
"""The workload's role (:mod:`bench.workloads`), or :data:`NODE_PROBE`."""
SIDE_LABEL: Final = "cni-benchmark/side"
"""client or server: pods of the two never share a node."""

NODE_PROBE: Final = "node-probe"
MAIN: Final = "main"
"""The container that runs a workload's command, and the measurements' commands."""
TOOLS: Final = "tools"
"""The container beside it, where its image has no shell: it ends commands that outlived a
connection."""

RUNNER: Final = "benchmark"
"""Of all that a pod that measures has: its Job, account and rights."""
RUNNER_LABEL: Final = "cni-benchmark/runner"
"""Of its pod."""

OS_LABEL: Final = "kubernetes.io/os"
LINUX_NODES: Final = f"{OS_LABEL}=linux"
"""Label selector of all nodes that count: agents, workloads and probes run on no others."""

HOST_CGROUPS: Final = "/host/cgroup"
"""Where the node probe sees the node's cgroups."""
OWNER_ANNOTATION: Final = "cni-benchmark/stack"
"""On Cilium's DaemonSet: the stack that has installed it."""

_SLEEP = ("sleep", "infinity")
_NAMES = {
    "$NAMESPACE": NAMESPACE,
    "$NODES_NAMESPACE": NODES_NAMESPACE,
    "$SYSTEM_NAMESPACE": SYSTEM_NAMESPACE,
    "$RUNNER": RUNNER,
    "$RUNNER_LABEL": RUNNER_LABEL,
    "$ROLE_LABEL": ROLE_LABEL,
    "$SIDE_LABEL": SIDE_LABEL,
    "$OS_LABEL": OS_LABEL,
    "$HOST_CGROUPS": HOST_CGROUPS,
}
_TEMPLATES: Mapping[str, Manifest] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)


def _filled(part: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        return {_filled(key, values): _filled(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(each, values) for each in part]
    return values[part] if isinstance(part, str) and part.startswith("$") else part


def _render(template: str, **values: Any) -> Manifest:
    """A template with its placeholders replaced, by values of any type.

    :raises KeyError: a placeholder has no value.
    """
    by_placeholder = {f"${name}": value for name, value in values.items()}
    return dict(_filled(_TEMPLATES[template], _NAMES | by_placeholder))


def namespaces() -> list[Manifest]:
    """The workloads' namespace under the strictest pod security level, and the node probe's."""
    levels = {NAMESPACE: "restricted", NODES_NAMESPACE: "privileged"}
    return [_render("namespace", name=name, level=level) for name, level in levels.items()]


def clients(revision: Any = "") -> list[Manifest]:
    """The Deployments of the client side.

    :param revision: of the dataplane, text or the engine's promise of one; pods of another one
        are replaced.
    """
    return [_deployment(each, revision) for each in WORKLOADS if each.side == "client"]


def servers(revision: Any = "") -> list[Manifest]:
    """The Deployments of the server side; see :func:`clients`."""
    return [_deployment(each, revision) for each in WORKLOADS if each.side == "server"]


def services() -> list[Manifest]:
    """The ClusterIP Services in front of workloads that have one."""
    return [
        _render(
            "service",
            name=service.name,
            namespace=NAMESPACE,
            role=workload.role,
            port=service.port,
            target_port=service.target_port,
            protocol=service.protocol,
        )
        for workload in WORKLOADS
        if (service := workload.service)
    ]


def _deployment(workload: Workload, revision: Any) -> Manifest:
    containers = [_container(MAIN, workload.image, workload.command) | _startup_probe(workload)]
    tools_beside = workload.side == "client" and workload.image != TOOLS_IMAGE
    if tools_beside:
        containers.append(_container(TOOLS, TOOLS_IMAGE, _SLEEP, "32Mi"))
    return _render(
        "deployment",
        name=workload.role,
        namespace=NAMESPACE,
        role=workload.role,
        side=workload.side,
        replicas=workload.replicas,
        revision=revision,
        containers=containers,
        tools_beside=tools_beside,
        affinity=_render(f"{workload.side}_affinity"),
        spread=[_render("spread", role=workload.role)] if workload.replicas > 1 else [],
    )


def _container(name: str, image: str, command: Sequence[str], memory: str = "64Mi") -> Manifest:
    return _render("container", name=name, image=image, command=started(command), memory=memory)


def started(command: Sequence[str]) -> list[str]:
    """A workload's command as Kubernetes starts it: a program of ours, which no image has, is
    waited for. Its path stands by itself at the place that :func:`waits_for` knows."""
    if command[0] != TURNS:
        return list(command)
    wait = 'until [ -x "$0" ]; do sleep 0.2; done; exec "$0" "$@"'
    return ["sh", "-c", wait, path_in_pods(), *command[1:]]


def waits_for(pod: Manifest) -> str | None:
    """The path of the program of ours that a pod waits for."""
    command = pod["spec"]["containers"][0].get("command", ())
    path = command[3] if len(command) > 3 else ""
    return path if path.rpartition("/")[2].startswith(f"{TURNS}-") else None


def _startup_probe(workload: Workload) -> Manifest:
    """What shows that the workload answers; nothing where it only waits for commands."""
    if workload.command[:2] == ("iperf3", "-s"):
        return _render("iperf3_probe", port=str(IPERF_PORT))
    if workload.service and workload.service.protocol == "TCP":
        return _render("http_probe", port=workload.service.target_port)
    if str(ECHO_PORT) in workload.command:
        return _render("tcp_probe", port=ECHO_PORT)
    return {}


def node_probe() -> Manifest:
    """The DaemonSet that reads a node's network devices and cgroups."""
    return _render(
        "node_probe",
        name=NODE_PROBE,
        namespace=NODES_NAMESPACE,
        role=NODE_PROBE,
        image=TOOLS_IMAGE,
        command=list(_SLEEP),
        memory="32Mi",
    )


def experiment_pod(wanted: PodRequest) -> Manifest:
    """A pod for the time of an experiment, on the node that it asks for."""
    return _render(
        "experiment_pod",
        name=wanted.name,
        namespace=NODES_NAMESPACE if wanted.host_network else NAMESPACE,
        role=wanted.role,
        containers=[_container(MAIN, wanted.image, wanted.command)],
        node=wanted.node,
        host_network=wanted.host_network,
    )


def runner_rights(owner: str) -> list[Manifest]:
    """The account of a pod that measures, and what it may do.

    :param owner: the UID of the workloads' namespace, with which all of it goes.
    """
    made = [_render("runner_account", name=RUNNER, namespace=NAMESPACE, owner=owner)]
    for namespace, rules in _render("runner_rules").items():
        kind = "Role" if namespace else "ClusterRole"
        # A cluster's rights are anybody's to see: they tell whose they are.
        name = RUNNER if namespace == NAMESPACE else f"{NAMESPACE}-{RUNNER}"
        fixed = {"name": name, "namespace": namespace, "owner": owner}
        made.append(_render("runner_role", kind=kind, rules=rules, **fixed))
        made.append(_render("runner_binding", kind=f"{kind}Binding", role_kind=kind, **fixed))
    for each in made:
        if not each["metadata"]["namespace"]:
            del each["metadata"]["namespace"]
    return made


def runner_job(
    image: str,
    command: Sequence[str],
    folder: str,
    variables: Mapping[str, str],
    seconds: int,
    owner: str,
) -> Manifest:
    """The Job of a pod that measures; it ends by itself after so many seconds.

    :param folder: of its work, in memory or on its node's disk.
    :param owner: see :func:`runner_rights`.
    """
    return _render(
        "runner_job",
        name=RUNNER,
        namespace=NAMESPACE,
        owner=owner,
        image=image,
        command=list(command),
        folder=folder,
        variables=[{"name": name, "value": value} for name, value in variables.items()],
        memory="512Mi",
        seconds=seconds,
    )
