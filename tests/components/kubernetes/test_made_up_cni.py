"""A CNI is a folder and a line in the registry: a made-up one is previewed without another edit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from cni.registry import DATAPLANES
from components.kubeconfig import target
from components.scenario import ScenarioStack
from components.settings import Settings
from components.targets import open_session
from tests.cni.made_up.dataplane import MadeUp
from tests.components import engine_mocks
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.exec_replies import Output
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.stack_config import pulumi_config, read, refusal, stack_tree

NODES = ("node-1", "node-2")
IMAGE = "example.org/made-up:v0.2.0"
MADE_UP: dict[str, object] = {
    "scenario.title": "Made up",
    "scenario.cni": "made-up",
    "scenario.cniVersion": "0.2.0",
    "scenario.ipam": "cluster-pool",
    "scenario.podCidr": "10.244.0.0/16",
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line in the registry."""
    monkeypatch.setitem(DATAPLANES, MadeUp.name, MadeUp())


@pytest.fixture
def settings(
    server: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Settings]:
    """Settings of a stack for a served cluster on which the CNI runs already."""
    monkeypatch.setattr(target, "check_pods_programs", lambda: None)
    server.handler = lambda call: Output('{"mtu": 1400}')
    labels = {"k8s-app": "made-up-agent"}
    server.put(
        *(kube_objects.node(name) for name in NODES),
        kube_objects.api_server(),
        kube_objects.daemonset("made-up-agent", IMAGE, len(NODES)),
        *(
            kube_objects.pod(f"made-up-{on}", "kube-system", on, labels, {"agent": IMAGE})
            for on in NODES
        ),
        *kube_objects.proxies(NODES),
        {
            "kind": "ConfigMap",
            "metadata": {"name": "made-up-config", "namespace": "kube-system"},
            "data": {"pool": "10.0.0.0/8"},
        },
    )
    path = str(server.kubeconfig(tmp_path / "config", token="a-secret-token"))

    def changed(**changes: object) -> Settings:
        how = {"target": "kubeconfig", "kubeconfig.path": path, "kubeconfig.context": "test"}
        return read("scenario-a", {**how, **MADE_UP, **changes})

    return changed


def test_a_scenario_with_it_is_previewed(settings: Callable[..., Settings]) -> None:
    wanted = settings()
    program = engine_mocks.run("scenario-a", lambda: _declare(wanted))
    resources = program.resources
    assert json.loads(resources["gate"].inputs["spec"])["cni"] == "made-up"
    assert {"dataplane", "httpbin", "benchmark"} <= resources.keys()
    # It is measured as it is found, and the reader is told how it differs.
    assert "the pool is 10.0.0.0/8, the scenario's 10.244.0.0/16" in program.outputs["warnings"]
    session = json.loads(resources["benchmark"].inputs["session"])
    assert session["target"] == "kubeconfig"
    assert session["args"]["cni"] == "made-up"
    assert session["args"]["values"] == {"pool": "10.0.0.0/8"}
    requested = {each.name: each.requested for each in open_session(session).configuration()}
    assert requested["kube-proxy"] == "iptables"


def test_another_version_on_the_cluster_is_refused(settings: Callable[..., Settings]) -> None:
    wanted = settings(**{"scenario.cniVersion": "0.1.0"})
    with pytest.raises(pulumi.RunError, match=r"the cluster has the made-up CNI 0\.2\.0"):
        engine_mocks.run("scenario-a", lambda: _declare(wanted))


def test_its_own_rules_refuse_a_scenario() -> None:
    tree = stack_tree("scenario-a", {**MADE_UP, "scenario.ipam": "eni", "scenario.podCidr": None})
    (line,) = refusal(pulumi_config(tree), "scenario-a")
    assert "the made-up CNI has a pool of its own" in line


def _declare(settings: Settings) -> dict[str, pulumi.Input[Any]]:
    stack = ScenarioStack("scenario", settings)
    return {"toggles": stack.toggles, "warnings": stack.warnings}
