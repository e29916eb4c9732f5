"""The workloads' objects: where their pods go, what they may do, when they count as ready."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.workloads import TOOLS_IMAGE, WORKLOADS
from components.kubernetes import manifests
from components.kubernetes.manifests import (
    HOST_CGROUPS,
    MAIN,
    NAMESPACE,
    NODE_PROBE,
    NODES_NAMESPACE,
    ROLE_LABEL,
    SIDE_LABEL,
    TOOLS,
)
from components.kubernetes.pods import DNS_LABEL
from components.programs import path_in_pods
from tests.components.kubernetes.scheduling import placements, pods_of

ALL = [*manifests.clients(), *manifests.servers()]
NAMES = [item["metadata"]["name"] for item in ALL]


def _pod(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def test_a_program_of_ours_is_waited_for(tmp_path: Path) -> None:
    shell, option, wait, path, *words = manifests.started(("turns", "serve", "-cpu", "1"))
    program = tmp_path / "turns"
    with subprocess.Popen(
        [shell, option, wait, str(program), *words], stdout=subprocess.PIPE, text=True
    ) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
        whole = tmp_path / "new"
        whole.write_text('#!/bin/sh\necho "$$ $@"\n')
        whole.chmod(0o755)
        whole.rename(program)
        assert waiting.communicate(timeout=10)[0] == f"{waiting.pid} serve -cpu 1\n"
    assert path == path_in_pods()
    (server,) = (each for each in ALL if each["metadata"]["name"] == "turns-server")
    assert manifests.waits_for(server["spec"]["template"]) == path


@pytest.mark.parametrize("item", ALL, ids=NAMES)
def test_other_pods_wait_for_nothing(item: dict[str, Any]) -> None:
    if item["metadata"]["name"] != "turns-server":
        assert manifests.waits_for(item["spec"]["template"]) is None


# -- placement ------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_clients_and_servers_never_share_a_node(nodes: int) -> None:
    names = [f"node-{number}" for number in range(nodes)]
    # Servers follow clients; of those, all are alike, so two and three of them show every case.
    clients, servers = pods_of(manifests.clients())[:2], pods_of(manifests.servers())[:3]
    found = list(placements([*clients, *servers], names))
    assert {} not in found  # every choice of the scheduler leads to a whole placement
    for placement in found:
        on_clients = {placement[name] for name, _ in clients}
        assert len(on_clients) == 1
        assert not on_clients & {placement[name] for name, _ in servers}
    # Servers are not bound to one node.
    assert any(len(set(placement.values())) == min(nodes, 4) for placement in found)


def test_servers_that_come_first_may_leave_no_node_to_clients() -> None:
    # Why clients are made first.
    servers, clients = pods_of(manifests.servers())[:2], pods_of(manifests.clients())[:1]
    assert {} in list(placements([*servers, *clients], ["node-1", "node-2"]))


def test_replicas_are_spread_where_there_is_room() -> None:
    for item in ALL:
        constraints = _pod(item)["topologySpreadConstraints"]
        if item["spec"]["replicas"] == 1:
            assert constraints == []
            continue
        (constraint,) = constraints
        assert constraint["topologyKey"] == "kubernetes.io/hostname"
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
        selected = constraint["labelSelector"]["matchLabels"].items()
        assert selected <= item["spec"]["template"]["metadata"]["labels"].items()


def test_pods_go_to_linux_nodes() -> None:
    for item in (*ALL, manifests.node_probe()):
        assert _pod(item)["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_clients_prefer_a_node_without_the_clusters_dns() -> None:
    for item in manifests.clients():
        (preferred,) = _pod(item)["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        term = preferred["podAffinityTerm"]
        assert preferred["weight"] == 100
        assert term["namespaces"] == ["kube-system"]
        assert "=".join(*term["labelSelector"]["matchLabels"].items()) == DNS_LABEL
        assert term["topologyKey"] == "kubernetes.io/hostname"


def test_servers_prefer_the_clients_zone() -> None:
    for item in manifests.servers():
        (preferred,) = _pod(item)["affinity"]["podAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        term = preferred["podAffinityTerm"]
        assert term["topologyKey"] == "topology.kubernetes.io/zone"
        assert term["labelSelector"]["matchLabels"] == {SIDE_LABEL: "client"}


# -- every workload is there, as bench describes it ---------------------------------------------


def test_every_workload_is_a_deployment() -> None:
    assert sorted(NAMES) == sorted(workload.role for workload in WORKLOADS)
    for workload, item in itertools.product(WORKLOADS, ALL):
        if item["metadata"]["name"] != workload.role:
            continue
        assert item["spec"]["replicas"] == workload.replicas
        assert item["metadata"]["namespace"] == NAMESPACE
        selector = item["spec"]["selector"]["matchLabels"].items()
        assert selector <= item["spec"]["template"]["metadata"]["labels"].items()
        main = _pod(item)["containers"][0]
        assert (main["name"], main["image"]) == (MAIN, workload.image)
        assert main["command"] == manifests.started(workload.command)


def test_services_lead_to_their_workloads() -> None:
    services = {item["metadata"]["name"]: item for item in manifests.services()}
    wanted = {workload.service.name: workload for workload in WORKLOADS if workload.service}
    assert services.keys() == wanted.keys()
    for name, workload in wanted.items():
        assert workload.service
        (port,) = services[name]["spec"]["ports"]
        assert services[name]["spec"]["selector"] == {ROLE_LABEL: workload.role}
        assert (port["port"], port["targetPort"], port["protocol"]) == (
            workload.service.port,
            workload.service.target_port,
            workload.service.protocol,
        )


def test_another_dataplane_replaces_the_pods() -> None:
    before, after = (manifests.clients(revision=each)[0] for each in ("a", "b"))
    assert before["spec"]["template"] != after["spec"]["template"]
    assert before["spec"]["strategy"] == {"type": "Recreate"}
    assert manifests.clients(revision="a") == manifests.clients(revision="a")


# -- what pods may do, and what runs in them ----------------------------------------------------


@pytest.mark.parametrize("item", ALL, ids=NAMES)
def test_the_strictest_pod_security_level_is_kept(item: dict[str, Any]) -> None:
    # Kubernetes "Pod Security Standards", restricted.
    pod = _pod(item)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys()
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in container["securityContext"]


@pytest.mark.parametrize("item", ALL, ids=NAMES)
def test_nothing_of_kubernetes_is_measured_with_it(item: dict[str, Any]) -> None:
    pod = _pod(item)
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        assert "cpu" not in container["resources"]["limits"]
        assert not {"readinessProbe", "livenessProbe"} & container.keys()
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert container["workingDir"] == "/"


@pytest.mark.parametrize("item", ALL, ids=NAMES)
def test_commands_that_outlive_a_connection_can_be_ended(item: dict[str, Any]) -> None:
    # By a shell in the same container, or in one beside it that sees its processes.
    pod = _pod(item)
    if item["spec"]["template"]["metadata"]["labels"][SIDE_LABEL] == "server":
        assert len(pod["containers"]) == 1
        return
    names = [container["name"] for container in pod["containers"]]
    assert pod["containers"][-1]["image"] == TOOLS_IMAGE
    assert names == ([MAIN] if pod["containers"][0]["image"] == TOOLS_IMAGE else [MAIN, TOOLS])
    assert pod["shareProcessNamespace"] is (len(names) == 2)
    # Only a process's own user may end it.
    assert not any("runAsUser" in each["securityContext"] for each in pod["containers"])


def test_servers_are_ready_once_they_answer() -> None:
    probes = {item["metadata"]["name"]: _pod(item)["containers"][0] for item in ALL}
    http = probes["httpbin"]["startupProbe"]
    assert http["httpGet"] == {"path": "/status/200", "port": 8080}
    iperf = probes["iperf3-server"]["startupProbe"]
    assert iperf["exec"]["command"][:3] == ["iperf3", "-c", "127.0.0.1"]
    assert probes["echo-server"]["startupProbe"]["tcpSocket"] == {"port": 8078}
    for probe in (http, iperf):
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 60
    servers = {item["metadata"]["name"] for item in manifests.servers()}
    # Whether it answers is looked at once it has its program.
    assert {name for name in servers if "startupProbe" not in probes[name]} == {"turns-server"}


# -- the node probe -----------------------------------------------------------------------------


def test_the_node_probe_sees_its_node_and_may_change_nothing() -> None:
    item = manifests.node_probe()
    pod = _pod(item)
    (container,) = pod["containers"]
    assert (item["metadata"]["name"], item["metadata"]["namespace"]) == (
        NODE_PROBE,
        NODES_NAMESPACE,
    )
    assert pod["hostNetwork"] is True
    assert pod["volumes"] == [
        {"name": "cgroups", "hostPath": {"path": "/sys/fs/cgroup", "type": "Directory"}}
    ]
    assert container["volumeMounts"] == [
        {"name": "cgroups", "mountPath": HOST_CGROUPS, "readOnly": True}
    ]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert not {"hostPID", "hostIPC"} & pod.keys()
    assert pod["tolerations"] == [{"operator": "Exists"}]  # on every node


def test_only_the_node_probes_namespace_is_permissive() -> None:
    levels = {
        item["metadata"]["name"]: item["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for item in manifests.namespaces()
    }
    assert levels == {NAMESPACE: "restricted", NODES_NAMESPACE: "privileged"}
