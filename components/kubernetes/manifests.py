"""The benchmark's workloads as Kubernetes objects: pure, in the API's own field names (v1.31).

Placement: all clients share one node and no server is on it, by required (anti-)affinity; servers
spread over the others. Clients must be scheduled first, or servers may take every node: whoever
creates these objects keeps to :func:`clients`, then :func:`servers`.

Nothing of Kubernetes' own runs beside a measurement: probes are startup probes, which end once a
container has answered, and there are no CPU limits, whose throttling would be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.workloads import ECHO_PORT, IPERF_PORT, TOOLS_IMAGE, WORKLOADS, Side, Workload
from components.kubernetes.names import (
    HOST_CGROUPS,
    MAIN,
    NAMESPACE,
    NODE_PROBE,
    NODES_NAMESPACE,
    OS_LABEL,
    ROLE_LABEL,
    SIDE_LABEL,
    TOOLS,
)
from studies.experiments.capabilities import PodRequest

Manifest = dict[str, Any]

_HOST = "kubernetes.io/hostname"
_ZONE = "topology.kubernetes.io/zone"
# Any but root, the same in all containers of a pod: only a process's own user may end it.
_USER = 65532
_SECONDS_TO_START = 120
_LINUX = {OS_LABEL: "linux"}

_CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
_POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_OTHER_SIDE: dict[Side, Side] = {"client": "server", "server": "client"}


def namespaces() -> list[Manifest]:
    """The workloads' namespace under the strictest pod security level, and the node probe's."""
    levels = {NAMESPACE: "restricted", NODES_NAMESPACE: "privileged"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {
                    "app.kubernetes.io/part-of": NAMESPACE,
                    "pod-security.kubernetes.io/enforce": level,
                },
            },
        }
        for name, level in levels.items()
    ]


def clients(workloads: Sequence[Workload] = WORKLOADS, revision: Any = "") -> list[Manifest]:
    """The Deployments of the client side.

    :param revision: of the dataplane, text or the engine's promise of one; pods of another one
        are replaced.
    """
    return [deployment(each, revision) for each in workloads if each.side == "client"]


def servers(workloads: Sequence[Workload] = WORKLOADS, revision: Any = "") -> list[Manifest]:
    """The Deployments of the server side; see :func:`clients`."""
    return [deployment(each, revision) for each in workloads if each.side == "server"]


def services(workloads: Sequence[Workload] = WORKLOADS) -> list[Manifest]:
    """The ClusterIP Services in front of workloads that have one."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(port.name, NAMESPACE, workload.role),
            "spec": {
                "type": "ClusterIP",
                "selector": {ROLE_LABEL: workload.role},
                "ports": [
                    {
                        "name": "main",
                        "port": port.port,
                        "targetPort": port.target_port,
                        "protocol": port.protocol,
                    }
                ],
            },
        }
        for workload in workloads
        if (port := workload.service)
    ]


def deployment(workload: Workload, revision: Any = "") -> Manifest:
    """A workload's Deployment."""
    labels = {ROLE_LABEL: workload.role, SIDE_LABEL: workload.side}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(workload.role, NAMESPACE, workload.role),
        "spec": {
            "replicas": workload.replicas,
            "selector": {"matchLabels": {ROLE_LABEL: workload.role}},
            # A second pod beside the old one would be measured with it.
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"cni-benchmark/revision": revision},
                },
                "spec": _pod(workload),
            },
        },
    }


def _pod(workload: Workload) -> Manifest:
    containers = [_main(workload)]
    beside = workload.side == "client" and workload.image != TOOLS_IMAGE
    if beside:
        containers.append(_container(TOOLS, TOOLS_IMAGE, ("sleep", "infinity"), memory="32Mi"))
    return {
        "containers": containers,
        # So that the tools see the processes that they may have to end.
        "shareProcessNamespace": beside,
        "nodeSelector": _LINUX,
        "affinity": _affinity(workload.side),
        "topologySpreadConstraints": _spread(workload),
        "securityContext": _POD_SECURITY,
        "automountServiceAccountToken": False,
        # With ten thousand Services their variables would not fit into an environment.
        "enableServiceLinks": False,
        # `sleep` as process 1 does not heed SIGTERM.
        "terminationGracePeriodSeconds": 1,
    }


def _main(workload: Workload) -> Manifest:
    container = _container(MAIN, workload.image, workload.command, memory="64Mi")
    probe = _startup_probe(workload)
    if probe:
        container["startupProbe"] = {
            **probe,
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": _SECONDS_TO_START,
        }
    return container


def _container(name: str, image: str, command: Sequence[str], *, memory: str) -> Manifest:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        # The tools' image starts in root's home, which others may not enter.
        "workingDir": "/",
        "resources": {
            "requests": {"cpu": "50m", "memory": memory},
            "limits": {"memory": "1Gi"},
        },
        "securityContext": _CONTAINER_SECURITY,
    }


def _startup_probe(workload: Workload) -> Manifest | None:
    """What shows that the workload answers; None where it only waits for commands."""
    if workload.command[:2] == ("iperf3", "-s"):
        # A bare connection would be a test that fails, and keep the server from the next one.
        test = ["iperf3", "-c", "127.0.0.1", "-p", str(IPERF_PORT), "-n", "1K"]
        return {"exec": {"command": [*test, "--connect-timeout", "1000"]}}
    if workload.service and workload.service.protocol == "TCP":
        return {"httpGet": {"path": "/status/200", "port": workload.service.target_port}}
    if str(ECHO_PORT) in workload.command:
        return {"tcpSocket": {"port": ECHO_PORT}}
    return None


def _affinity(side: Side) -> Manifest:
    apart = {"podAntiAffinity": {_REQUIRED: [_near(_OTHER_SIDE[side], _HOST)]}}
    if side == "client":
        return {**apart, "podAffinity": {_REQUIRED: [_near("client", _HOST)]}}
    # Where nodes are in several zones, a measurement should not cross them for no reason.
    near = {"weight": 100, "podAffinityTerm": _near("client", _ZONE)}
    return {**apart, "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [near]}}


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _near(side: Side, topology: str) -> Manifest:
    return {"labelSelector": {"matchLabels": {SIDE_LABEL: side}}, "topologyKey": topology}


def _spread(workload: Workload) -> list[Manifest]:
    if workload.replicas < 2:
        return []
    return [
        {
            "maxSkew": 1,
            "topologyKey": _HOST,
            # With two nodes all servers are on one.
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {ROLE_LABEL: workload.role}},
        }
    ]


def node_probe() -> Manifest:
    """The DaemonSet that reads a node's network devices and cgroups.

    It needs no privilege: the kernel lets anybody read drivers, statistics and settings of network
    devices (Linux, ``net/ethtool/ioctl.c``, "Allow some commands to be done by anyone"), and
    cgroups' files are world-readable. What it needs is the host's network namespace and a
    read-only view of its cgroups.
    """
    probe = _container(NODE_PROBE, TOOLS_IMAGE, ("sleep", "infinity"), memory="32Mi")
    probe["securityContext"] = {**_CONTAINER_SECURITY, "readOnlyRootFilesystem": True}
    probe["volumeMounts"] = [{"name": "cgroups", "mountPath": HOST_CGROUPS, "readOnly": True}]
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": _metadata(NODE_PROBE, NODES_NAMESPACE, NODE_PROBE),
        "spec": {
            "selector": {"matchLabels": {ROLE_LABEL: NODE_PROBE}},
            "template": {
                "metadata": {"labels": {ROLE_LABEL: NODE_PROBE}},
                "spec": {
                    "containers": [probe],
                    "volumes": [
                        {
                            "name": "cgroups",
                            "hostPath": {"path": "/sys/fs/cgroup", "type": "Directory"},
                        }
                    ],
                    "hostNetwork": True,
                    "nodeSelector": _LINUX,
                    "securityContext": _POD_SECURITY,
                    "tolerations": [{"operator": "Exists"}],
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 1,
                },
            },
        },
    }


def experiment_pod(wanted: PodRequest) -> Manifest:
    """A pod for the time of an experiment, on the node that it asks for."""
    namespace = NODES_NAMESPACE if wanted.host_network else NAMESPACE
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(wanted.name, namespace, wanted.role),
        "spec": {
            "containers": [_container(MAIN, wanted.image, wanted.command, memory="64Mi")],
            "nodeName": wanted.node,
            "hostNetwork": wanted.host_network,
            "securityContext": _POD_SECURITY,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
        },
    }


def _metadata(name: str, namespace: str, role: str) -> Manifest:
    return {
        "name": name,
        "namespace": namespace,
        "labels": {ROLE_LABEL: role, "app.kubernetes.io/part-of": NAMESPACE},
    }
