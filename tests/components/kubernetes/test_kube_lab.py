"""The session against a real kube-apiserver, and real commands in a lab's real pods through it.

A lab has no kubelets: stand-ins run the commands in its pods. All the way to them is real.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from bench.environment import About, Environment
from bench.probes.fortio import fortio_argv, load_of
from bench.probes.iperf import parse_tcp
from bench.session import Session, SessionError, resolve_targets
from bench.workloads import IPERF_PORT, WORKLOADS
from cni.decisions import decide
from components.kubernetes import manifests
from components.kubernetes.manifests import MAIN, NAMESPACE, ROLE_LABEL
from components.kubernetes.watch import parse_notes, watch_command
from components.lab import target
from components.lab.rollout import pods_and_services
from components.targets import open_session
from kube import exec as pod_exec
from kube.client import Kube, settings_of
from kube.exec import Container, Conversation
from kube.objects import NODE, ApiError, Json, NotStartedError
from lab.cgroups import lab_cgroup
from lab.cluster import Lab
from lab.network import Node
from tests.components.kubernetes.exec_replies import Exec, Output, Process
from tests.components.kubernetes.kube_cluster import WATCH
from tests.components.kubernetes.kubelet import kubelet
from tests.components.kubernetes.outside import Server
from tests.components.stack_config import read

pytestmark = pytest.mark.lab

_COMMAND_SECONDS = 30


@dataclass(frozen=True)
class Reached:
    """A lab, and how it is reached from outside."""

    lab: Lab
    kubeconfig: Path
    session: Session
    kubelets: ExitStack
    """Ends the stand-ins when it is closed."""


@pytest.fixture(scope="module")
def reached(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        lab = Lab(f"pytest-k-{secrets.token_hex(4)}")
        stack.callback(lab.remove)
        _bring_up(lab)
        file = tmp_path_factory.mktemp("kube") / "config"
        server = Server(lab, file)
        server.start()
        stack.callback(server.stop)
        kubelets = stack.enter_context(ExitStack())
        for node in lab.nodes:
            _known_by_address(lab, node)
            namespace = lab.sandbox.netns_path(node.name)
            handler = partial(_execute, lab, node.name)
            kubelets.enter_context(kubelet(namespace, node.address.ip, handler))
        yield Reached(lab, file, _session(file), kubelets)


def _bring_up(lab: Lab) -> None:
    settings = read("scenario-a", {"lab.nodes": 2})
    spec, _ = target.spec(settings, decide(settings.scenario, target.facts(settings)))
    lab.start(spec, print)
    lab.install(print)
    lab.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    pods, services = pods_and_services(WORKLOADS, [node.name for node in lab.nodes])
    lab.deploy(
        [replace(pod, namespace=NAMESPACE) for pod in pods],
        [replace(service, namespace=NAMESPACE) for service in services],
        print,
    )


def _known_by_address(lab: Lab, node: Node) -> None:
    """API servers prefer nodes' names, which nothing resolves in a lab."""
    address = {"type": "InternalIP", "address": node.address.ip}
    change = {"status": {"addresses": [address]}}
    lab.api.merge(NODE, node.name, change, subresource="status")


def _execute(lab: Lab, node: str, call: Exec) -> Output | Process:
    if call.argv[:3] == WATCH[:3]:  # as in a node's probe, which sees the node's cgroups
        return Process(call.argv)
    done = subprocess.run(
        lab.pod_command(call.pod, node, call.argv, _COMMAND_SECONDS),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return Output(done.stdout, done.stderr, done.returncode)


def _session(file: Path) -> Session:
    args = {
        "access": {"kind": "kubeconfig", "path": str(file)},
        "cni": "vpc-cni",
        "kube_proxy": "iptables",
    }
    return open_session({"target": "kubeconfig", "args": args})


def test_pods_and_services_are_those_of_the_lab(reached: Reached) -> None:
    targets = resolve_targets(cast("Session", _Domain(reached.session)))
    assert {role: len(pods) for role, pods in targets.pods.items()} == {
        workload.role: workload.replicas for workload in WORKLOADS
    }
    assert targets.one("fortio-client").node != targets.pods["httpbin"][0].node
    address = reached.lab.service_address(NAMESPACE, "httpbin")
    assert (targets.httpbin.host, targets.httpbin.port) == address
    assert targets.dns.port == 53


class _Domain:
    """The session, without asking nodes that have no probe for their environment."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def environment(self) -> Environment:
        return Environment()

    def about(self) -> About:
        return About()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def test_a_load_with_its_request_log_comes_whole_through_the_api_server(reached: Reached) -> None:
    session = reached.session
    service = session.service("httpbin")
    url = f"http://{service.host}:{service.port}/status/200"
    argv = fortio_argv(url, seconds=2, connections=8, rate=2000, resolution_us=None)
    done = session.run(session.pods("fortio-client")[0], argv, timeout=20)
    load = load_of(done, request_log=True)
    assert load.requests >= 1000
    assert done.stdout.count("\n") > load.requests  # a line for each
    assert load.errors == 0
    assert 0 < load.latency[50.0].value < 1e6
    assert done.seconds >= 2


def test_bulk_transfer_and_exit_codes(reached: Reached) -> None:
    session = reached.session
    server = session.pods("iperf3-server")[0]
    client = session.pods("iperf3-client")[0]
    argv = ("iperf3", "-c", server.ip, "-p", str(IPERF_PORT), "-n", "100M", "-J")
    done = session.run(client, argv, timeout=20)
    assert done.returncode == 0
    assert parse_tcp(done.stdout, done.stderr).end.sum_received.bytes > 90 * 2**20
    assert session.run(client, ("iperf3", "--no-such-option"), timeout=20).returncode == 1


def test_a_node_notes_when_a_load_runs_and_what_it_uses(reached: Reached) -> None:
    session, api = reached.session, Kube(settings_of(str(reached.kubeconfig)))
    client = session.pods("fortio-client")[0]
    # A node's pods share its cgroup here.
    cgroup = lab_cgroup(reached.lab.paths.lab_id) / client.node
    command = watch_command([client.node], str(cgroup.parent))
    asked = Conversation(api, Container(NAMESPACE, client.name, MAIN), command, timeout=10)
    asked.ask(timeout=10)
    time.sleep(0.5)
    service = session.service("httpbin")
    url = f"http://{service.host}:{service.port}/status/200"
    session.run(
        client,
        fortio_argv(url, seconds=2, connections=8, rate=None, resolution_us=None),
        timeout=20,
    )
    time.sleep(0.5)
    told = parse_notes(client.node, asked.ask(timeout=10), 1)
    asked.close()
    ((start, end),) = told.busy(0)
    assert 1.7 <= end - start <= told.times[-1] - told.times[0] - 0.7
    load, whole = (
        (after[3] - before[3]) / seconds
        for before, after, seconds in (
            (told.at(start), told.at(end), end - start),
            (told.counters[0], told.counters[-1], told.times[-1] - told.times[0]),
        )
    )
    assert load > 1.2 * whole > 0, "idle time is left out"


def test_a_container_that_is_not_in_the_pod_is_refused_by_the_real_server(
    reached: Reached,
) -> None:
    api = Kube(settings_of(str(reached.kubeconfig)))
    pod = reached.session.pods("fortio-client")[0]
    where = Container(NAMESPACE, pod.name, "tools")
    refused = r"400: container tools is not valid for pod fortio-client"
    with pytest.raises(NotStartedError, match=refused):
        pod_exec.run(api, where, ["true"], timeout=5)


def test_pods_keep_the_strictest_security_level(reached: Reached) -> None:
    # Deployments are never refused for it, only their pods are.
    api = Kube(settings_of(str(reached.kubeconfig)))
    space = next(each for each in manifests.namespaces() if each["metadata"]["name"] == NAMESPACE)
    space["metadata"]["name"] = "strict"
    api.create(space)
    for deployed in (*manifests.clients(), *manifests.servers()):
        pod = _pod(deployed)
        made = _create(api, pod)
        assert made["spec"]["containers"][0]["name"] == MAIN
    pod["spec"]["hostNetwork"] = True
    with pytest.raises(ApiError, match=r'403: .*violates PodSecurity "restricted'):
        _create(api, pod)


def _pod(deployed: dict[str, Any]) -> dict[str, Any]:
    template = deployed["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": template["metadata"]["labels"][ROLE_LABEL], "namespace": "strict"},
        "spec": template["spec"],
    }


def _create(api: Kube, pod: dict[str, Any]) -> Json:
    return api.create(pod, [("dryRun", "All"), ("fieldValidation", "Strict")])


def test_last_a_kubelet_that_is_gone(reached: Reached) -> None:
    reached.kubelets.close()
    client = reached.session.pods("fortio-client")[0]
    with pytest.raises(SessionError, match=r"the command was not taken: .*500: error dialing back"):
        reached.session.run(client, ("fortio", "version"), timeout=5)
