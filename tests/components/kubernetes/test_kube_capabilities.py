"""What experiments may ask of a cluster: pods of their own, objects, components' metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.session import Session, SessionError
from components.kubernetes import session as kube_session
from components.kubernetes.manifests import MAIN, NAMESPACE, NODES_NAMESPACE
from components.targets import open_session
from studies.experiments.capabilities import (
    ComponentCommands,
    ComponentMetrics,
    ExperimentPods,
    ObjectStore,
    PodRequest,
)
from studies.experiments.scale.services import total
from tests.components.kubernetes.exec_replies import Exec, Output, Reply
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.kubernetes.kube_cluster import NODES, cluster


@pytest.fixture
def api() -> Iterator[KubeApi]:
    """The cluster of scenario E."""
    with cluster("scenario-e").serving() as served:
        yield served


@pytest.fixture
def session(api: KubeApi, tmp_path: Path) -> Session:
    access = {"kind": "kubeconfig", "path": str(api.kubeconfig(tmp_path / "config"))}
    args: dict[str, Any] = {"access": access, "cni": "cilium", "kube_proxy": "none"}
    return open_session({"target": "kubeconfig", "args": args})


def _request(name: str, *, host_network: bool = False) -> PodRequest:
    return PodRequest(name, "step", NODES[0], "image:1", ("sleep", "1"), host_network)


def test_pods_of_an_experiment_last_as_long_as_it_does(api: KubeApi, session: Session) -> None:
    assert isinstance(session, ExperimentPods)
    before = list(api.objects)
    with session.experiment_pods([_request("one"), _request("two", host_network=True)]) as pods:
        assert [(pod.name, pod.role, pod.node, pod.ip) for pod in pods] == [
            ("one", "step", NODES[0], "10.0.0.7"),
            ("two", "step", NODES[0], "10.0.0.7"),
        ]
        made = {name: api.object("Pod", name) for name in ("one", "two")}
        assert made["one"]["metadata"]["namespace"] == NAMESPACE
        assert not made["one"]["spec"]["hostNetwork"]
        # Only there pods may be in the node's network.
        assert made["two"]["metadata"]["namespace"] == NODES_NAMESPACE
        assert made["two"]["spec"]["hostNetwork"] and made["two"]["spec"]["nodeName"] == NODES[0]
        api.handler = lambda call: Output("hello")
        for pod in pods:
            assert session.run(pod, ["echo"], timeout=5).stdout == "hello"
        places = {call.pod: (call.namespace, call.container) for call in api.executed[-2:]}
        assert places == {"one": (NAMESPACE, MAIN), "two": (NODES_NAMESPACE, MAIN)}
    assert api.objects == before


def test_none_is_left_when_one_does_not_come_up(
    api: KubeApi, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(session, ExperimentPods)
    monkeypatch.setattr(kube_session, "_START_SECONDS", 0.2)
    monkeypatch.setattr(kube_session, "_LOOK_SECONDS", 0.05)
    api.pods_never_ready = True
    before = list(api.objects)
    told = r"waited 0 s for the pod one on .*: not ready"
    wanted = [_request("one"), _request("two")]
    with pytest.raises(SessionError, match=told), session.experiment_pods(wanted):
        pytest.fail("there are no pods")
    assert api.objects == before


def test_an_agents_metrics_are_told_by_every_agent(api: KubeApi, session: Session) -> None:
    assert isinstance(session, ComponentMetrics)

    def metrics(call: Exec) -> Reply:
        assert call.argv == ("cilium-dbg", "metrics", "list", "-o", "json")
        return Output('[{"name": "x_total", "labels": {"action": "add"}, "value": 3}]')

    api.handler = metrics
    texts = session.component_metrics("cilium-agent")
    assert set(texts) == set(NODES)
    assert {total(text, "x_total", action="add") for text in texts.values()} == {3.0}
    assert session.component_metrics("kube-proxy") == {}
    assert session.component_metrics("aws-node") == {}


def test_commands_run_beside_a_component_of_the_node(api: KubeApi, session: Session) -> None:
    assert isinstance(session, ComponentCommands)
    api.handler = lambda call: Output("[]")
    done = session.run_beside("cilium-agent", NODES[1], ["bpftool", "map"], timeout=5)
    assert (done.returncode, done.stdout) == (0, "[]")
    assert api.executed[-1].container == "cilium-agent"
    with pytest.raises(SessionError, match=f"there is no ready kube-proxy on {NODES[1]}"):
        session.run_beside("kube-proxy", NODES[1], ["iptables-save"], timeout=5)


def test_objects_are_listed_and_refusals_told(api: KubeApi, session: Session) -> None:
    assert isinstance(session, ObjectStore)
    names = [each["metadata"]["name"] for each in session.list_objects("v1", "Service")]
    assert "httpbin" in names
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
    with pytest.raises(
        SessionError, match=r"POST /api/v1/namespaces/cni-benchmark/services\S*: 405"
    ):
        session.create_objects([service], lambda line: None)
