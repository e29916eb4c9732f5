"""Everything that the EKS target sends to a cluster, taken by a real kube-apiserver.

Control plane and nodes only, no agents: objects are sent as dry runs, with unknown fields refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cni.decisions import decide
from cni.kubernetes import DEFAULT, VERSIONS
from cni.platform import ClusterEndpoint, Kernel, PlatformFacts, known_facts
from components.kubernetes import manifests as ours
from components.kubernetes.cilium import release_values
from kube.client import Kube
from kube.objects import ApiError
from lab.cluster import Lab, LabSpec
from lab.toolchain.build import Toolchain
from tests.cni.charts import manifests
from tests.components.stack_config import read

pytestmark = pytest.mark.lab

CILIUM = ("scenario-b", "scenario-c", "scenario-d", "scenario-e")
_ROLE = "arn:aws:iam::123456789012:role/cilium-operator"
_TAGS = {"cni-benchmark:stack": "scenario-e", "cost-center": "a b"}

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def api(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """The API server of a lab without agents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        lab = Lab(f"pytest-api-{secrets.token_hex(4)}")
        try:
            version = VERSIONS[DEFAULT].version
            spec = LabSpec(2, "10.100.0.0/16", {}, version, "none", "vpc-cni", "1.19.2", {})
            lab.start(spec, print)
            yield lab.api
        finally:
            lab.remove()


class Sender:
    """Sends objects as dry runs; what others live in has to be there first."""

    def __init__(self, api: Kube) -> None:
        self._api = api

    def take(self, manifest: Manifest) -> Manifest:
        """The object as the server would keep it.

        :raises ApiError: it is refused.
        """
        if manifest["kind"] == "Namespace":
            self._api.ensure(manifest)
        try:
            return self._api.create(manifest, [("dryRun", "All"), ("fieldValidation", "Strict")])
        except ApiError as error:
            if error.status != 409:  # the namespaces of this test, and those of every cluster
                raise
            return manifest


@pytest.fixture(scope="module")
def sender(api: Kube) -> Sender:
    return Sender(api)


@pytest.fixture(scope="module")
def chart() -> tuple[Path, Path]:
    """Helm, and the chart."""
    toolchain = Toolchain.default()
    return toolchain.program("helm"), toolchain.share("cilium") / "install/kubernetes/cilium"


def _release(stack: str, facts: PlatformFacts, chart: tuple[Path, Path]) -> list[Manifest]:
    scenario = read(stack, {"target": "eks"}).scenario
    endpoint = ClusterEndpoint(
        name="cni-benchmark-test",
        api_host="abc.eks.amazonaws.com",
        eni_subnet_ids=["subnet-1"],
        eni_role=_ROLE if scenario.ipam == "eni" else None,
        eni_tags=_TAGS,
        region="ap-northeast-2",
    )
    values = scenario.dataplane.values(scenario, decide(scenario, facts), endpoint)
    return manifests(*chart, release_values(values, stack))


@pytest.mark.parametrize("stack", CILIUM)
def test_every_manifest_of_the_release(
    sender: Sender, chart: tuple[Path, Path], stack: str
) -> None:
    facts = known_facts("m6i.xlarge", kernel=Kernel(6, 1))
    assert facts is not None
    objects = _release(stack, facts, chart)
    kinds = [each["kind"] for each in objects]
    assert {"ConfigMap", "DaemonSet", "Deployment", "ServiceAccount", "ClusterRole"} <= set(kinds)
    for each in sorted(objects, key=lambda each: each["kind"] != "Namespace"):
        assert sender.take(each)["metadata"]["name"] == each["metadata"]["name"]


def test_every_manifest_of_the_workloads(sender: Sender) -> None:
    objects = [
        *ours.namespaces(),
        ours.node_probe(),
        *ours.services(),
        *ours.clients(revision="a1b2"),
        *ours.servers(revision="a1b2"),
    ]
    assert len(objects) > 10
    for each in objects:
        taken = sender.take(each)
        assert taken["metadata"]["name"] == each["metadata"]["name"]
        if each["kind"] == "Deployment":
            containers = taken["spec"]["template"]["spec"]["containers"]
            assert [container["terminationMessagePath"] for container in containers]


def test_what_does_not_fit_is_refused(sender: Sender) -> None:
    """A dry run that takes anything would prove nothing."""
    (service, *_) = ours.services()
    wrong = {**service, "spec": {**service["spec"], "sessionAffinty": "None"}}
    with pytest.raises(ApiError, match="sessionAffinty"):
        sender.take(wrong)
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "number", "namespace": "default"},
        "data": {"mesh-auth-queue-size": 1024},
    }
    with pytest.raises(ApiError, match="ConfigMap"):
        sender.take(config)


def test_the_kinds_that_ciliums_operator_defines(sender: Sender) -> None:
    crds = Toolchain.default().share("cilium") / "pkg/k8s/apis/cilium.io/client/crds"
    files = sorted(crds.rglob("*.yaml"))
    assert len(files) > 10
    for file in files:
        kind = yaml.safe_load(file.read_text())
        assert sender.take(kind)["spec"]["group"] == "cilium.io", file
