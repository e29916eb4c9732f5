"""The benchmark's session over a Kubernetes API, and what becomes of it when things break."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.limits import faults
from bench.session import Pod, Service, Session, SessionError, TimeOfDay, resolve_targets
from bench.workloads import DNS_SERVICE, HTTPBIN_SERVICE, WORKLOADS
from cni.cilium.dataplane import PER_PACKET, SOCKET
from cni.cilium.evidence import EVIDENCE_COMMANDS
from cni.cilium.versions import DEFAULT
from cni.dataplane import IPTABLES
from components.kubernetes import facts
from components.kubernetes.manifests import MAIN, NAMESPACE, NODES_NAMESPACE, TOOLS
from components.kubernetes.pods import kill_command
from components.targets import open_session
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.exec_replies import (
    Exec,
    Failed,
    Output,
    Refused,
    Reply,
    Silence,
    Torn,
)
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.kubernetes.kube_cluster import NODES, cluster

VALUES: dict[str, object] = {"kubeProxyReplacement": True, "routingMode": "native"}


@pytest.fixture
def api() -> Iterator[KubeApi]:
    """The cluster of scenario E."""
    with cluster("scenario-e").serving() as served:
        yield served


Open = Callable[..., Session]


@pytest.fixture
def connect(tmp_path: Path) -> Open:
    """Opens a session as the benchmark does: from its descriptor alone."""

    def opened(api: KubeApi, **args: Any) -> Session:
        access = {"kind": "kubeconfig", "path": str(api.kubeconfig(tmp_path / "config"))}
        return open_session(
            {
                "target": "eks",
                "args": {
                    "access": access,
                    "cni": "cilium",
                    "kube_proxy": "none",
                    "values": VALUES,
                    **args,
                },
            }
        )

    return opened


@pytest.fixture
def session(api: KubeApi, connect: Open) -> Session:
    return connect(
        api, about={"environment": {"target": "eks: bench-e"}, "scenario": {"title": "E"}}
    )


def _by(commands: dict[tuple[str, ...], Reply], api: KubeApi) -> list[Exec]:
    """Let some commands reply otherwise; what is run from now on."""
    before, called = api.handler, []

    def handle(call: Exec) -> Reply:
        called.append(call)
        return commands.get(call.argv) or before(call)

    api.handler = handle
    return called


# -- what is there --------------------------------------------------------------------------------


def test_every_role_has_its_pods_and_services(session: Session) -> None:
    targets = resolve_targets(session)
    assert {role: len(pods) for role, pods in targets.pods.items()} == {
        workload.role: workload.replicas for workload in WORKLOADS
    }
    assert targets.one("fortio-client").node == "node-1"
    assert {pod.node for pod in targets.pods["httpbin"]} == {"node-2", "node-3"}
    assert targets.httpbin == Service(HTTPBIN_SERVICE, "10.100.7.7", 80)
    assert targets.dns == Service(DNS_SERVICE, "10.100.0.10", 53)
    assert targets.dns_name == "kubernetes.default.svc.cluster.local."


def test_only_ready_pods_that_last_are_measured(api: KubeApi, session: Session) -> None:
    first, second = (f"httpbin-{number}" for number in range(2))
    api.object("Pod", first)["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    assert [pod.name for pod in session.pods("httpbin")] == [second]
    api.object("Pod", second)["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert session.pods("httpbin") == []


def test_a_service_that_is_not_there(session: Session) -> None:
    with pytest.raises(SessionError, match="no Service web in the namespace cni-benchmark"):
        session.service("web")


def test_a_cluster_that_cannot_be_logged_in_to(connect: Open, api: KubeApi) -> None:
    with pytest.raises(SessionError, match="kubeconfig /nowhere"):
        connect(api, access={"kind": "kubeconfig", "path": "/nowhere"})


def test_a_refused_request_is_a_session_error(api: KubeApi, session: Session) -> None:
    api.trouble = [403]
    with pytest.raises(SessionError, match="403: not now"):
        session.pods("httpbin")


# -- commands -------------------------------------------------------------------------------------


LOAD = ("fortio", "load", "-json", "-", "http://10.100.7.7/")


def test_a_command_runs_in_its_pods_main_container(api: KubeApi, session: Session) -> None:
    called = _by({LOAD: Output("{}", "log", code=1)}, api)
    pod = session.pods("fortio-client")[0]
    done = session.run(pod, LOAD, timeout=5)
    assert (done.argv, done.returncode, done.stdout, done.stderr) == (LOAD, 1, "{}", "log")
    assert called == [Exec(NAMESPACE, pod.name, MAIN, LOAD)]


def _kill(pod: str, container: str) -> Exec:
    return Exec(NAMESPACE, pod, container, kill_command(LOAD))


@pytest.mark.parametrize(("role", "container"), [("fortio-client", TOOLS), ("iperf3-client", MAIN)])
@pytest.mark.parametrize("reply", [Torn("{"), Silence(9), Failed("EOF")])
def test_what_outlives_its_connection_is_ended_at_once(
    api: KubeApi, session: Session, role: str, container: str, reply: Reply
) -> None:
    called = _by({LOAD: reply, kill_command(LOAD): Output()}, api)
    pod = session.pods(role)[0]
    with pytest.raises(SessionError, match=rf"{pod.name} \(main\)"):
        session.run(pod, LOAD, timeout=0.5)
    assert called[1:] == [_kill(pod.name, container)]


def test_nothing_starts_beside_what_could_not_be_ended(api: KubeApi, session: Session) -> None:
    replies: dict[tuple[str, ...], Reply] = {
        LOAD: Torn("{"),
        kill_command(LOAD): Output("", "sh: no kill", code=1),
    }
    called = _by(replies, api)
    client, other = session.pods("fortio-client")[0], session.pods("iperf3-client")[0]
    with pytest.raises(SessionError, match=r"connection broke.*; `fortio load .* still runs: sh:"):
        session.run(client, LOAD, timeout=1)
    with pytest.raises(SessionError, match=r"still runs: sh: no kill"):
        session.run(other, ("iperf3", "-v"), timeout=1)
    assert [call.argv[0] for call in called] == ["fortio", "sh", "sh"]
    # Once it has been ended, the benchmark goes on.
    replies[kill_command(LOAD)] = Output()
    replies["iperf3", "-v"] = Output("iperf 3.17")
    for _ in range(2):
        assert session.run(other, ("iperf3", "-v"), timeout=1).stdout == "iperf 3.17"
    assert [call.argv[0] for call in called[3:]] == ["sh", "iperf3", "iperf3"]


def test_an_api_server_that_goes_away_and_comes_back(api: KubeApi, session: Session) -> None:
    replies: dict[tuple[str, ...], Reply] = {LOAD: Torn("{"), kill_command(LOAD): Output()}
    called = _by(replies, api)
    client = session.pods("fortio-client")[0]
    api.trouble = []

    def lose(call: Exec) -> Reply:
        api.trouble = [503] * 4  # as many as are tried to find the pod
        return Torn("{")

    before, api.handler = api.handler, lose
    with pytest.raises(SessionError, match=r"connection broke.*may still run: GET .*503"):
        session.run(client, LOAD, timeout=1)
    api.handler = before
    replies[LOAD] = Output("{}")
    assert session.run(client, LOAD, timeout=1).stdout == "{}"
    assert called == [_kill(client.name, TOOLS), Exec(NAMESPACE, client.name, MAIN, LOAD)]


def test_a_pod_that_has_gone_took_its_commands_with_it(api: KubeApi, session: Session) -> None:
    client = session.pods("fortio-client")[0]
    replies: dict[tuple[str, ...], Reply] = {LOAD: Torn(), kill_command(LOAD): Refused(404, "gone")}
    _by(replies, api)
    with pytest.raises(SessionError):
        session.run(client, LOAD, timeout=1)
    api.remove("Pod", client.name, NAMESPACE)
    replies["true",] = Output()
    assert session.run(session.pods("dns-client")[0], ("true",), timeout=1).returncode == 0


def test_a_command_that_never_started_leaves_nothing(api: KubeApi, session: Session) -> None:
    called = _by({LOAD: Refused(403, "forbidden")}, api)
    with pytest.raises(SessionError, match=r"the command was not taken: .*403: forbidden"):
        session.run(session.pods("fortio-client")[0], LOAD, timeout=1)
    assert len(called) == 1


def test_closing_ends_what_is_left_and_never_fails(api: KubeApi, session: Session) -> None:
    replies: dict[tuple[str, ...], Reply] = {LOAD: Torn(), kill_command(LOAD): Refused(403, "no")}
    called = _by(replies, api)
    with pytest.raises(SessionError):
        session.run(session.pods("fortio-client")[0], LOAD, timeout=1)
    session.close()
    assert [call.argv[0] for call in called] == ["fortio", "sh", "sh"]


def test_two_pods_may_be_used_at_once(api: KubeApi, session: Session) -> None:
    met = threading.Barrier(2, timeout=5)

    def meet(call: Exec) -> Reply:
        met.wait()
        return Output(call.pod)

    api.handler = meet
    pods = [session.pods(role)[0] for role in ("fortio-client", "iperf3-client")]
    said: dict[str, str] = {}

    def run(pod: Pod) -> None:
        said[pod.name] = session.run(pod, ("x",), timeout=5).stdout

    threads = [threading.Thread(target=run, args=(pod,)) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {pod.name: pod.name for pod in pods}


# -- usage ----------------------------------------------------------------------------------------


def test_usage_of_every_component_on_every_node(session: Session) -> None:
    found = session.cni_usage()
    assert sorted((each.node, each.component) for each in found) == sorted(
        [("node-1", "cilium-operator"), *((node, "cilium-agent") for node in NODES)]
    )
    assert {each.memory_bytes for each in found} == {120 << 20}
    again = session.cni_usage()
    assert all(a.cpu_seconds > b.cpu_seconds for a, b in zip(again, found, strict=True))


def test_usage_beside_kube_proxy(connect: Open) -> None:
    with cluster("scenario-a").serving() as api:
        session = connect(api, cni="vpc-cni", kube_proxy="iptables", values=None)
        components = {each.component for each in session.cni_usage()}
    assert components == {"aws-node", "aws-eks-nodeagent", "kube-proxy"}


# -- what it consists of ------------------------------------------------------------------------


def test_everything_that_is_measured_is_at_work(session: Session) -> None:
    there = session.health()
    names = {each.name for each in there}
    assert {"cilium-node-1", "cilium-operator-0", "fortio-client-0", "httpbin-1"} <= names
    assert len(names) == len(there)
    assert list(faults(there, session.health())) == []


@pytest.mark.parametrize("name", ["cilium-node-2", "cilium-operator-0", "iperf3-server-0"])
def test_a_pod_that_breaks_is_told(api: KubeApi, session: Session, name: str) -> None:
    pod = api.object("Pod", name)
    before = session.health()
    pod["status"]["containerStatuses"][0]["restartCount"] += 1
    assert list(faults(before, session.health())) == [f"{name} was started anew meanwhile"]
    pod["status"]["conditions"][0]["status"] = "False"
    assert list(faults(before, session.health())) == [f"{name} is not ready"]
    api.remove("Pod", name, pod["metadata"]["namespace"])
    assert list(faults(before, session.health())) == [f"{name} ended meanwhile"]


def test_agents_of_nodes_that_are_not_measured_may_come_and_go(
    api: KubeApi, session: Session
) -> None:
    before = session.health()
    api.put(kube_objects.pod("cilium-far", "kube-system", "far", {"k8s-app": "cilium"}, {"a": "b"}))
    assert list(session.health()) == list(before)


def test_a_cgroup_that_is_not_found_is_an_error(api: KubeApi, session: Session) -> None:
    api.handler = lambda call: Output("")
    with pytest.raises(SessionError, match=r"cgroup of cilium-agent in cilium-node-1 on node-1 is"):
        session.cni_usage()


def test_a_node_without_its_probe_is_an_error(api: KubeApi, session: Session) -> None:
    api.remove("Pod", "node-probe-node-2", NODES_NAMESPACE)
    with pytest.raises(SessionError, match="no ready node probe on node-2"):
        session.machines()


def test_workloads_use_what_their_main_containers_use(session: Session) -> None:
    found = session.workload_usage()
    assert len(found) == sum(workload.replicas for workload in WORKLOADS)
    assert {each.role for each in found} == {workload.role for workload in WORKLOADS}
    client = next(each for each in found if each.role == "fortio-client")
    assert (client.pod, client.node, client.cpu_limit) == ("fortio-client-0", "node-1", None)


def test_every_node_is_a_machine(api: KubeApi, session: Session) -> None:
    _by(
        {
            facts.CPU_COMMAND: Output(
                "1700000000.125000 5000.12 cpu  100 20 30 4000 500 6 7 8 0 0\n"
            )
        },
        api,
    )
    found = session.machines()
    assert [(each.name, each.nodes, each.cpus) for each in found] == [
        (node, (node,), 4) for node in NODES
    ]
    assert {(each.busy_seconds, each.steal_seconds) for each in found} == {(1.63, 0.08)}
    assert {each.interrupt_seconds for each in found} == {0.13}
    assert {each.others_seconds for each in found} == {None}
    assert {each.time_of_day for each in found} == {TimeOfDay(1_699_995_000.0, 0.005)}


def test_the_command_tells_a_real_nodes_clocks_and_cpus() -> None:
    told = subprocess.run(facts.CPU_COMMAND, capture_output=True, text=True, check=True).stdout
    here = facts.parse_cpu("here", told)
    assert here.busy_seconds > here.interrupt_seconds >= 0
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert here.time_of_day.ahead == pytest.approx(booted, abs=0.02)


def test_a_torn_reading_is_asked_for_once_more(api: KubeApi, session: Session) -> None:
    asked: list[str] = []

    def mended(call: Exec) -> Reply:
        asked.append(call.pod)
        return Output("1 1 cpu 1 1 1 1 1 1 1 1") if asked.count(call.pod) > 1 else Torn("cpu")

    api.handler = mended
    assert len(session.machines()) == 3
    assert sorted(asked) == sorted(f"node-probe-{node}" for node in NODES * 2)


# -- held-back traffic ----------------------------------------------------------------------------


def test_allowances_of_nodes_with_ena(api: KubeApi, session: Session) -> None:
    assert session.allowances() == {node: {"bw_in_allowance_exceeded": 0} for node in NODES}
    api.handler.exceeded = 40  # type: ignore[attr-defined]
    assert session.allowances()["node-3"] == {"bw_in_allowance_exceeded": 40}


def test_without_ena_nothing_is_asked(api: KubeApi, session: Session) -> None:
    virtio = "interface: eth0\nmtu: 1500\ndriver: virtio_net\nversion: 1.0.0\n"
    called = _by({facts.NETWORK_COMMAND: Output(virtio)}, api)
    assert session.allowances() == {}
    assert {call.argv for call in called} == {facts.NETWORK_COMMAND}


# -- the environment, and the dataplane ---------------------------------------------------------


def test_the_environment_says_what_was_measured_on(api: KubeApi, session: Session) -> None:
    dns = {"k8s-app": "kube-dns"}
    for name, node, ready in (("b", "node-3", True), ("a", "node-2", True), ("c", "node-1", False)):
        pod = kube_objects.pod(f"coredns-{name}", "kube-system", node, dns, {"a": "b"}, ready=ready)
        api.put(pod)
    found = session.environment().model_dump(exclude_unset=True)
    nodes = found.pop("node_facts")
    assert [node["name"] for node in nodes] == list(NODES)
    assert nodes[0] == {
        "name": "node-1",
        "instance_type": "m6i.xlarge",
        "zone": "ap-northeast-2a",
        "architecture": "amd64",
        "cpus": 4,
        "memory_mib": 15555,
        "kernel": "6.1.119-129.201.amzn2023.x86_64",
        "os_image": "Amazon Linux 2023.6.20250107",
        "container_runtime": "containerd://1.7.25",
        "kubelet": "v1.31.4-eks-aeac579",
        "interface": "ens5",
        "mtu": 9001,
        "driver": "ena",
        "driver_version": "2.13.0g",
    }
    assert found.pop("agents")["host_routing"] == "BPF"
    assert found.pop("images")["httpbin/main"].startswith("ghcr.io/mccutchen/go-httpbin:")
    assert found == {
        "target": "eks: bench-e",
        "instance_type": "m6i.xlarge",
        "region": "ap-northeast-2",
        "zone": "ap-northeast-2a",
        "kernel": "6.1.119-129.201.amzn2023.x86_64",
        "cpus": 4,
        "node_mtu": 9001,
        "pod_mtu": 9001,
        "congestion_control": "cubic",
        "cluster_domain": "cluster.local",
        "dns_nodes": ["node-2", "node-3"],
        "nodes": list(NODES),
        "kube_proxy": "none",
        "versions": {
            "kubernetes": "v1.31.4",
            "cilium-agent": f"v{DEFAULT}",
            "cilium-operator": f"v{DEFAULT}",
        },
    }


def test_nodes_that_differ_are_all_told(api: KubeApi, session: Session) -> None:
    api.object("Node", "node-2")["status"]["nodeInfo"]["kernelVersion"] = "6.12.1"
    assert session.environment().kernel == ["6.1.119-129.201.amzn2023.x86_64", "6.12.1"]


def test_kube_proxy_is_told_with_its_mode(connect: Open) -> None:
    with cluster("scenario-a").serving() as api:
        session = connect(api, cni="vpc-cni", kube_proxy="iptables", values=None)
        assert session.environment().kube_proxy == "iptables"
        assert session.environment().agents == {}
        assert [
            (each.name, each.requested, each.effective) for each in session.configuration()
        ] == [("kube-proxy", "iptables", "iptables")]


def test_settings_are_compared_with_what_agents_report(session: Session) -> None:
    found = {each.name: (each.requested, each.effective) for each in session.configuration()}
    assert found["routing"] == ("native", "native")
    assert found["kube-proxy"] == ("none", "none")
    # Nobody asked for BPF masquerade in these values, and the agents do it.
    assert found["masquerading"] == ("iptables", "bpf")


def test_an_agents_nonsense_is_a_session_error(api: KubeApi, session: Session) -> None:
    _by({EVIDENCE_COMMANDS["status"]: Output("no JSON")}, api)
    with pytest.raises(SessionError, match="cilium-dbg status -o json: no JSON"):
        session.configuration()


def test_the_service_path_is_told_by_the_clients_node(api: KubeApi, session: Session) -> None:
    dump = "key: 01 00\nvalue: 0a 64 07 07 00 50 00 00\nFound 1 element\n"
    replies: dict[tuple[str, ...], Reply] = {
        SOCKET.command: Output(dump),
        PER_PACKET.command: Output(""),
    }
    called = _by(replies, api)
    client = session.pods("fortio-client")[0]
    found = session.service_path(client, Service(HTTPBIN_SERVICE, "10.100.7.7", 80))
    assert found.expected == SOCKET.name
    assert found.translated == {SOCKET.name: 1, PER_PACKET.name: 0}
    assert {(call.pod, call.container) for call in called} == {("cilium-node-1", "cilium-agent")}


def test_kube_proxys_own_pod_tells_its_rules(connect: Open) -> None:
    saved = (
        "*nat\n[7:420] -A KUBE-SERVICES -d 10.100.7.7/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-X\n"
    )
    with cluster("scenario-a").serving() as api:
        replies: dict[tuple[str, ...], Reply] = {IPTABLES.command: Output(saved)}
        called = _by(replies, api)
        session = connect(api, cni="vpc-cni", kube_proxy="iptables", values=None)
        client = session.pods("fortio-client")[0]
        found = session.service_path(client, Service(HTTPBIN_SERVICE, "10.100.7.7", 80))
    assert found.translated == {IPTABLES.name: 7}
    assert [(call.pod, call.container) for call in called] == [("kube-proxy-node-1", "kube-proxy")]


def test_no_pod_that_tells_the_path_is_an_error(api: KubeApi, session: Session) -> None:
    api.remove("Pod", "cilium-node-1", kube_objects.SYSTEM)
    client = session.pods("fortio-client")[0]
    with pytest.raises(SessionError, match="no ready pod with k8s-app=cilium on node-1"):
        session.service_path(client, Service(HTTPBIN_SERVICE, "10.100.7.7", 80))
