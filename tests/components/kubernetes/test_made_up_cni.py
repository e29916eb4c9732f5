"""A CNI is a folder and a line in the registry: a made-up one is previewed without another edit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from cni.registry import DATAPLANES
from components.scenario import ScenarioStack
from components.settings import Settings
from components.targets import open_session
from tests.components import engine_mocks
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.paper.dataplane import Paper
from tests.components.stack_config import pulumi_config, read, refusal, stack_tree

NODES = ("node-1", "node-2")
IMAGE = "example.org/paper:v1.0.0"
PAPER: dict[str, object] = {
    "scenario.title": "Packets by hand",
    "scenario.cni": "paper",
    "scenario.cniVersion": "1.0.0",
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line in the registry."""
    monkeypatch.setitem(DATAPLANES, Paper.name, Paper())


@pytest.fixture
def settings(server: KubeApi, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a stack for a served cluster on which the CNI runs already."""
    labels = {"k8s-app": "paper-carrier"}
    server.put(
        *(kube_objects.node(name) for name in NODES),
        kube_objects.api_server(),
        kube_objects.daemonset("paper-carrier", IMAGE, len(NODES)),
        *(
            kube_objects.pod(f"paper-{on}", "kube-system", on, labels, {"paper-carrier": IMAGE})
            for on in NODES
        ),
        *kube_objects.proxies(NODES),
        {
            "kind": "ConfigMap",
            "metadata": {"name": "paper-config", "namespace": "kube-system"},
            "data": {"carriers": "3"},
        },
    )
    path = str(server.kubeconfig(tmp_path / "config", token="a-secret-token"))

    def changed(**changes: object) -> Settings:
        how = {"target": "kubeconfig", "kubeconfig.path": path, "kubeconfig.context": "test"}
        return read("scenario-a", {**how, **PAPER, **changes})

    return changed


def test_a_scenario_with_it_is_previewed(settings: Callable[..., Settings]) -> None:
    wanted = settings()
    program = engine_mocks.run("scenario-a", lambda: _declare(wanted))
    resources = program.resources
    assert json.loads(resources["gate"].inputs["spec"])["cni"] == "paper"
    assert {"dataplane", "httpbin", "benchmark"} <= resources.keys()
    # It is measured as it is found, and the reader is told how it differs.
    assert "Paper has 3 carriers on a node, not 2" in program.outputs["warnings"]
    session = json.loads(resources["benchmark"].inputs["session"])
    assert session["target"] == "kubeconfig"
    assert session["args"]["cni"] == "paper"
    assert session["args"]["values"] == {"carriers": {"perNode": 3}}
    requested = {each.name: each.requested for each in open_session(session).configuration()}
    assert requested["kube-proxy"] == "iptables"


def test_another_version_on_the_cluster_is_refused(settings: Callable[..., Settings]) -> None:
    wanted = settings(**{"scenario.cniVersion": "0.9.0"})
    with pytest.raises(pulumi.RunError, match=r"the cluster has Paper 1\.0\.0"):
        engine_mocks.run("scenario-a", lambda: _declare(wanted))


def test_its_own_rules_refuse_a_scenario() -> None:
    tree = stack_tree("scenario-a", {**PAPER, "scenario.kubeProxy": "none"})
    (line,) = refusal(pulumi_config(tree), "scenario-a")
    assert "Paper does not load-balance Services, so nothing would" in line


def _declare(settings: Settings) -> dict[str, pulumi.Input[Any]]:
    stack = ScenarioStack("scenario", settings)
    return {"toggles": stack.toggles, "warnings": stack.warnings}
