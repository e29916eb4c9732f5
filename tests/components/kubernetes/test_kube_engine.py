"""The target kubeconfig under the real engine, with stand-ins for provider and cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.kubernetes.manifests import OWNER_ANNOTATION
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.kubernetes.kube_cluster import NODES, cluster
from tests.engine import checkout as checkouts
from tests.engine.eks.world import World, world

pytestmark = pytest.mark.engine

SCENARIO, STACK = "scenario-c", "eks-c"
TOKEN = "a-secret-token"
SHORT = {"profile": "quick", "runs": 1, "durationSeconds": 1}


def _without_cni(api: KubeApi) -> None:
    agents = kube_objects.cilium(NODES)
    for item in agents:
        api.remove(item["kind"], item["metadata"]["name"], item["metadata"].get("namespace"))
    api.put(*(kube_objects.node(name, ready=False) for name in NODES))


def _with_cilium(api: KubeApi) -> None:
    """As the release would leave the cluster, which only a real provider could install."""
    agents = kube_objects.cilium(NODES)
    agents[0]["metadata"]["annotations"] = {OWNER_ANNOTATION: STACK}
    api.put(*(kube_objects.node(name) for name in NODES), *agents)


def _refused(made: World, api: KubeApi) -> None:
    """A cluster with another CNI: said at preview, and nothing is asked of any provider."""
    api.put(kube_objects.daemonset("calico-node", "calico/node:v3.29.1", len(NODES)))
    step = made.step("preview", "--non-interactive")
    assert step.code != 0
    assert "Pulumi.eks-c.yaml: cni-benchmark:scenario.cni: cilium: the cluster already" in step.told
    assert "Traceback" not in step.told
    assert step.asked("create", preview=True) == []
    api.remove("DaemonSet", "calico-node", "kube-system")


def test_from_a_cluster_without_cni_to_results_and_back(lab_host: None, tmp_path: Path) -> None:
    checkout = checkouts.copy(tmp_path / "checkout", tmp_path / "home", SCENARIO)
    api = cluster(SCENARIO)
    _without_cni(api)
    with api.serving():
        settings = {
            "target": "kubeconfig",
            "kubeconfig.path": str(api.kubeconfig(tmp_path / "config", TOKEN)),
            "benchmark": SHORT,
        }
        with world(checkout, tmp_path / "world", SCENARIO, settings) as made:
            _refused(made, api)
            _with_cilium(api)
            up = made.must("up", "--yes", "--skip-preview", "--non-interactive")
            created = [entry.name for entry in up.asked("create")]
            order = ["cilium", "cni-benchmark", "fortio-client", "httpbin"]
            assert [name for name in created if name in order] == order
            assert "every node to be ready: yes" in up.told
            outputs = json.loads(made.pulumi("stack", "output", "--json"))
            assert outputs["toggles"]["hubbleOff"]["requested"] is False
            assert outputs["results"]["metrics"]["tcp_throughput"]["n"] == 1
            assert outputs["environment"]["target"] == (
                f"kubeconfig: the current context, {api.url}"
            )

            # What this stack has installed is its own, and no reason to change anything.
            made.must("up", "--yes", "--skip-preview", "--non-interactive", "--expect-no-changes")
            state = made.pulumi("stack", "export", "--show-secrets")
            for text in (state, up.told, up.log.read_text()):
                assert TOKEN not in text

            destroy = made.must("destroy", "--yes", "--skip-preview", "--non-interactive")
            deleted = [entry.name for entry in destroy.asked("delete")]
            assert [name for name in reversed(deleted) if name in order] == order
            assert made.checkout.resources(made.stack) == {}
