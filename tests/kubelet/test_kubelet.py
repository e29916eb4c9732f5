"""The stand-in of a kubelet does with pods what others rely on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.session import Session, SessionError
from bench.workloads import TOOLS_IMAGE, WORKLOADS
from components.kubernetes import manifests, pods
from components.kubernetes.gate import why_not_ready
from components.kubernetes.manifests import MAIN, NAMESPACE, ROLE_LABEL, TOOLS
from components.targets import open_session
from kube import exec as pod_exec
from kube.client import Kube
from kube.exec import Container
from kube.objects import POD, NotStartedError, is_ready
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import PROVIDER
from lab.wait import until
from tests.kubelet.cluster import UsersCluster, users_cluster
from tests.kubelet.containers import CONTROLLERS, Cgroups, hierarchy

pytestmark = [pytest.mark.engine, pytest.mark.provider]

_SECONDS = 60.0


@pytest.fixture(scope="module")
def cluster(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsersCluster]:
    if missing := Toolchain.default().missing({PROVIDER}):
        pytest.skip(f"not built ({', '.join(missing)}): python3 -m lab.toolchain ensure --every")
    if not all(map(hierarchy, CONTROLLERS)):
        pytest.skip(f"no cgroups of version 1 for {' and '.join(CONTROLLERS)}")
    with users_cluster(tmp_path_factory.mktemp("kubelet") / "cluster") as made:
        for each in (*manifests.namespaces(), manifests.node_probe(), *manifests.clients("1")):
            made.lab.api.create(each)
        _all_ready(made.lab.api)
        for each in (*manifests.servers("1"), *manifests.services()):
            made.lab.api.create(each)
        _all_ready(made.lab.api)
        yield made
    assert not [branch for branch in Cgroups("", "").branches.values() if any(branch.glob("*"))]


def _all_ready(api: Kube) -> None:
    def missing() -> str | None:
        there = api.items(POD, NAMESPACE)
        lacking = [each["metadata"]["name"] for each in there if not is_ready(each)]
        return ", ".join(lacking) if there else "none is there"

    until("all pods to be ready", lambda: missing() or None, timeout=_SECONDS)


@pytest.fixture
def api(cluster: UsersCluster) -> Kube:
    return cluster.lab.api


@pytest.fixture(scope="module")
def session(cluster: UsersCluster) -> Session:
    access = {"kind": "kubeconfig", "path": str(cluster.kubeconfig)}
    args = {"access": access, "cni": "vpc-cni", "kube_proxy": "iptables"}
    return open_session({"target": "kubeconfig", "args": args})


def _one(api: Kube, role: str) -> dict[str, Any]:
    return pods.ready(api, NAMESPACE, f"{ROLE_LABEL}={role}")[0]


def _in(pod: dict[str, Any], container: str = MAIN) -> Container:
    return pods.container(pod, container)


def test_commands_find_the_programs_of_their_image_alone(api: Kube) -> None:
    fortio = _in(_one(api, "fortio-client"))
    assert pod_exec.run(api, fortio, ["fortio", "version"], timeout=10).returncode == 0
    with pytest.raises(NotStartedError, match='"sh": executable file not found'):
        pod_exec.run(api, fortio, ["sh", "-c", "true"], timeout=10)


def test_a_container_has_files_a_user_and_a_resolver_of_its_own(api: Kube) -> None:
    one, other = _in(_one(api, "dns-client")), _in(_one(api, "iperf3-client"))
    assert pods.output(api, one, ["sh", "-c", "echo here >/tmp/file; id -u"]) == "65532\n"
    assert pods.output(api, one, ["cat", "/tmp/file"]) == "here\n"
    assert pod_exec.run(api, other, ["cat", "/tmp/file"], timeout=10).returncode == 1
    assert not Path("/tmp/file").exists()
    assert "nameserver 10.100.0.10" in pods.output(api, one, ["cat", "/etc/resolv.conf"])
    assert pods.output(api, one, ["sh", "-c", "echo again >/dev/stdout"]) == "again\n"


def test_a_command_that_outlived_its_connection_is_ended(api: Kube, session: Session) -> None:
    client = session.pods("fortio-client")[0]
    (server,) = session.pods("echo-server")
    load = ("fortio", "load", "-qps", "7", "-t", "47s", f"tcp://{server.ip}:8078")
    with pytest.raises(SessionError, match="had not ended after 2 s"):
        session.run(client, load, timeout=2)

    def runs() -> str | None:
        there = [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"]]
        left = [each.pid for each in there if each.info["cmdline"][-5:] == [*load[-5:]]]
        return f"{left}" if left else None

    until("the load to be gone", runs, timeout=5)


def test_what_ends_is_started_again(api: Kube) -> None:
    pod = _one(api, "fortio-client")
    name = pod["metadata"]["name"]
    command = next(each.command for each in WORKLOADS if each.role == "fortio-client")
    # By another container's hand, which sees it and has its user.
    pods.output(api, _in(pod, TOOLS), pods.kill_command(command))

    def missing() -> str | None:
        status = api.get(POD, name, NAMESPACE)["status"]
        restarts = {each["name"]: each["restartCount"] for each in status["containerStatuses"]}
        return None if restarts == {MAIN: 1, TOOLS: 0} else f"{restarts}"

    until("the container to be started again", missing, timeout=_SECONDS)
    _all_ready(api)


def test_logs_are_what_a_container_has_said(api: Kube) -> None:
    name = _one(api, "echo-server")["metadata"]["name"]
    path = f"{api.path(POD, NAMESPACE, name)}/log"
    said = api.read(path, [("container", MAIN), ("tailLines", "1")])
    assert "servers started!" in said
    assert said.count("\n") == 1


def test_an_image_that_is_not_there_and_a_pod_that_goes(cluster: UsersCluster, api: Kube) -> None:
    pod = _pod("unknown", "registry.test/unknown:1", ["true"])
    api.create(pod)
    until(
        "the image to be missed",
        lambda: None if "ErrImagePull" in _why(api, "unknown") else _why(api, "unknown"),
        timeout=_SECONDS,
    )
    assert "no stand-in of registry.test/unknown:1" in _why(api, "unknown")
    _goes(cluster, api, "unknown")


def test_a_pod_that_is_to_end_once(cluster: UsersCluster, api: Kube) -> None:
    api.create(_pod("once", TOOLS_IMAGE, ["sh", "-c", "sleep 1; exit 3"]))
    until(
        "it to fail",
        lambda: None if api.get(POD, "once", NAMESPACE)["status"]["phase"] == "Failed" else "no",
        timeout=_SECONDS,
    )
    (status,) = api.get(POD, "once", NAMESPACE)["status"]["containerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 3
    _goes(cluster, api, "once")


def _pod(name: str, image: str, command: list[str]) -> dict[str, Any]:
    (container,) = manifests.clients()[2]["spec"]["template"]["spec"]["containers"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"test": name}},
        "spec": {
            **manifests.clients()[2]["spec"]["template"]["spec"],
            "affinity": {},
            "restartPolicy": "Never",
            "containers": [{**container, "image": image, "command": command}],
        },
    }


def _why(api: Kube, name: str) -> str:
    return why_not_ready(api, NAMESPACE, f"test={name}")


def _goes(cluster: UsersCluster, api: Kube, name: str) -> None:
    network = cluster.lab.sandbox.netns_path(name)
    assert network.exists()
    api.delete(POD, name, NAMESPACE)

    def left() -> str | None:
        # A server forgets a pod that has ended at once, before its kubelet has cleared up.
        return "it is there" if api.find(POD, name, NAMESPACE) or network.exists() else None

    until(f"{name} to be gone", left, timeout=_SECONDS)
