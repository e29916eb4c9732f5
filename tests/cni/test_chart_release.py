"""The release as the EKS target installs it: what the stack adds to the scenario's values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cni.cilium.dataplane import OPERATOR_ACCOUNT
from cni.decisions import decide
from cni.platform import ClusterEndpoint, PlatformFacts
from components.kubernetes.cilium import release_values
from components.kubernetes.gate import ROLE_ANNOTATION
from tests.cni.charts import config_of, manifests
from tests.cni.stackfiles import Load

CILIUM = ("scenario-b", "scenario-c", "scenario-d", "scenario-e")
_ENI = CILIUM[2:]
_ROLE = "arn:aws:iam::123456789012:role/cilium-operator"
_TAGS = {"cni-benchmark:cluster": "bench-e", "cost-center": "a b"}


@pytest.fixture(params=CILIUM)
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint, helm: Path, chart: Path, stack: str
) -> list[dict[str, Any]]:
    """All objects of the stack's release."""
    scenario = load(stack)
    role = _ROLE if scenario.ipam == "eni" else None
    cluster = replace(endpoint, eni_role=role, eni_tags=_TAGS, region="ap-northeast-2")
    values = scenario.dataplane.values(scenario, decide(scenario, m6i), cluster)
    return manifests(helm, chart, release_values(values, stack))


def _one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found


def test_interfaces_get_the_stacks_tags_and_the_clusters_name(
    objects: list[dict[str, Any]], stack: str
) -> None:
    config = config_of(objects)
    assert config["cluster-name"] == "bench-e"
    if stack in _ENI:
        assert json.loads(config["eni-tags"]) == _TAGS
        assert config["subnet-ids-filter"] == "subnet-2a"
    else:
        assert "eni-tags" not in config


def test_the_operator_that_makes_interfaces_has_its_role(
    objects: list[dict[str, Any]], stack: str
) -> None:
    account = _one(objects, "ServiceAccount", OPERATOR_ACCOUNT)
    annotations = account["metadata"].get("annotations", {})
    operator = _one(objects, "Deployment", "cilium-operator")
    pod = operator["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    region = [each for each in container["env"] if each["name"] == "AWS_REGION"]
    assert pod["serviceAccountName"] == OPERATOR_ACCOUNT
    if stack in _ENI:
        assert annotations[ROLE_ANNOTATION] == _ROLE
        assert region == [{"name": "AWS_REGION", "value": "ap-northeast-2"}]
        assert "/operator-aws:" in container["image"]
    else:
        assert ROLE_ANNOTATION not in annotations
        assert region == []
        assert "/operator-generic:" in container["image"]
    # Keys of old would be wanted from a Secret that nobody makes.
    assert "AWS_ACCESS_KEY_ID" not in {each["name"] for each in container["env"]}
    assert operator["spec"]["replicas"] == 1


def test_agents_reach_the_api_server_before_they_serve_it(
    objects: list[dict[str, Any]], stack: str
) -> None:
    """Without kube-proxy its ClusterIP does not work until they do."""
    agent = _one(objects, "DaemonSet", "cilium")
    (container,) = agent["spec"]["template"]["spec"]["containers"]
    host = {each["name"]: each.get("value") for each in container["env"]}.get(
        "KUBERNETES_SERVICE_HOST"
    )
    assert host == (None if stack == "scenario-b" else "ABC.gr7.ap-northeast-2.eks.amazonaws.com")


def test_another_configuration_restarts_what_reads_it(objects: list[dict[str, Any]]) -> None:
    for kind, name in (("DaemonSet", "cilium"), ("Deployment", "cilium-operator")):
        template = _one(objects, kind, name)["spec"]["template"]
        assert "cilium.io/cilium-configmap-checksum" in template["metadata"]["annotations"]


def test_agents_bear_the_taint_that_keeps_others_off(objects: list[dict[str, Any]]) -> None:
    tolerations = _one(objects, "DaemonSet", "cilium")["spec"]["template"]["spec"]["tolerations"]
    assert {"operator": "Exists"} in tolerations
    assert config_of(objects)["agent-not-ready-taint-key"] == "node.cilium.io/agent-not-ready"
