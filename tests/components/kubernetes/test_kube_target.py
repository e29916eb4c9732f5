"""The target kubeconfig as a program: what is refused, what is declared, in which order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pulumi
import pytest

from bench.workloads import WORKLOADS
from cni.cilium.versions import DEFAULT
from cni.decisions import decide
from cni.platform import Kernel
from components.kubeconfig import target
from components.kubernetes.cilium import release_values
from components.kubernetes.manifests import OWNER_ANNOTATION
from components.kubernetes.session import KubernetesSession
from components.scenario import ScenarioStack
from components.settings import Settings
from components.target import Deployment
from components.targets import open_session
from tests.components import engine_mocks
from tests.components.engine_mocks import Program, Registered
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.stack_config import read

NODES = ("node-1", "node-2", "node-3")
RELEASE = "kubernetes:helm.sh/v3:Release"


@pytest.fixture
def settings(server: KubeApi, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a stack for the served cluster, which has three nodes and no CNI."""
    server.put(*(kube_objects.node(name, ready=False) for name in NODES))
    server.put(kube_objects.api_server())
    path = str(server.kubeconfig(tmp_path / "config", token="a-secret-token"))

    def changed(stack: str, **changes: object) -> Settings:
        how: dict[str, object] = {"target": "kubeconfig", "kubeconfig.path": path}
        return read(stack, {**how, "kubeconfig.context": "test", **changes})

    return changed


def _run(settings: Settings, stack: str) -> Program:
    """The program's part for this target."""

    def declare() -> dict[str, pulumi.Input[Any]]:
        parent = pulumi.ComponentResource("test:index:Parent", "scenario")
        found = target.check(settings)
        decisions = decide(settings.scenario, target.facts(settings, found))
        made: Deployment = target.deploy(settings, found, decisions, parent)
        return {
            "session": made.session.apply(json.dumps),
            "toggles": made.toggles,
            "warnings": list(found.warnings),
        }

    return engine_mocks.run(stack, declare)


@pytest.fixture(autouse=True)
def outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "check_pods_programs", lambda: None)
    monkeypatch.setitem(engine_mocks.OUTPUTS, "dataplane", {"toggles": {"dsr": {}}})
    monkeypatch.delitem(engine_mocks.OUTPUTS, "workloads")


def _before(program: Program, name: str) -> set[str]:
    """Everything that a resource waits for: what it or its parent comes after, and so on."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        resource = program.resources.get(waiting.pop())
        direct = {resource.parent, *resource.after} if resource else set()
        waiting += direct - found
        found |= direct
    return found


# -- what is declared -----------------------------------------------------------------------------


def test_a_cluster_without_cni_gets_the_scenarios(settings: Callable[..., Settings]) -> None:
    program = _run(settings("scenario-c"), "scenario-c")
    release = next(each for each in program.resources.values() if each.type == RELEASE)
    inputs = release.inputs
    assert (inputs["chart"], inputs["version"]) == ("cilium", DEFAULT)
    assert inputs["repositoryOpts"] == {"repo": "https://helm.cilium.io/"}
    assert (inputs["name"], inputs["namespace"]) == ("cilium", "kube-system")
    assert inputs["skipAwait"] is True
    values = inputs["values"]
    assert values["kubeProxyReplacement"] is True
    # Not the kubeconfig's address, which is this machine's.
    assert (values["k8sServiceHost"], values["k8sServicePort"]) == ("172.18.0.3", 6443)
    assert values["annotations"] == {OWNER_ANNOTATION: "scenario-c"}
    assert {"cilium", "gate", "dataplane"} <= _before(program, "httpbin")
    # The measurement's session waits for the pods.
    session = json.loads(program.outputs["session"])
    assert session["args"]["values"]["routingMode"] == "tunnel"
    assert session["args"]["kube_proxy"] == "none"


def test_everything_comes_in_order(settings: Callable[..., Settings]) -> None:
    program = _run(settings("scenario-c"), "scenario-c")
    order = ["cilium", "gate", "dataplane", "cni-benchmark", "fortio-client", "httpbin"]
    for earlier, later in pairwise(order):
        assert earlier in _before(program, later), f"{later} does not wait for {earlier}"
    clients = {workload.role for workload in WORKLOADS if workload.side == "client"}
    for workload in WORKLOADS:
        if workload.side == "server":
            assert clients <= _before(program, workload.role)


def _specs(program: Program) -> dict[str, Any]:
    return json.loads(program.resources["gate"].inputs["spec"])  # type: ignore[no-any-return]


def test_what_the_check_warns_of_is_told_at_once(
    server: KubeApi, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(*(kube_objects.node(name) for name in NODES), *kube_objects.cilium(NODES))
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", told.append)

    def declare() -> dict[str, pulumi.Input[Any]]:
        return {"warnings": ScenarioStack("scenario", settings("scenario-c")).warnings}

    program = engine_mocks.run("scenario-c", declare)
    assert any("Cilium was there and is measured as it is" in line for line in told)
    # They are in the outputs, too, with those of the measurement.
    assert [*told, "CPU was short"] == program.outputs["warnings"]


def test_a_kubernetes_that_the_makers_do_not_name_is_told(
    server: KubeApi, settings: Callable[..., Settings]
) -> None:
    server.version = "v1.99.1-eks-1a2b3c4"
    server.put(*(kube_objects.node(name) for name in NODES), *kube_objects.cilium(NODES))
    warnings = _run(settings("scenario-c"), "scenario-c").outputs["warnings"]
    assert any("and the cluster has 1.99; " in line for line in warnings)


def test_a_cilium_that_is_there_is_measured_as_it_is(
    server: KubeApi, settings: Callable[..., Settings]
) -> None:
    server.put(*(kube_objects.node(name) for name in NODES), *kube_objects.cilium(NODES))
    config = {"kube-proxy-replacement": "true", "routing-mode": "native", "ipam": "kubernetes"}
    metadata = {"name": "cilium-config", "namespace": "kube-system"}
    server.put({"kind": "ConfigMap", "metadata": metadata, "data": config})
    program = _run(settings("scenario-c"), "scenario-c")
    assert RELEASE not in {each.type for each in program.resources.values()}
    measured = [line for line in program.outputs["warnings"] if "measured as it is" in line]
    assert measured == [
        f"Cilium was there and is measured as it is: its {difference}"
        for difference in (
            "ipam is kubernetes, the scenario's cluster-pool",
            "routing-mode is native, the scenario's tunnel",
            "tunnel-protocol is not set, the scenario's vxlan",
        )
    ]
    # What its paths are expected to be follows from what it is.
    values = json.loads(program.outputs["session"])["args"]["values"]
    assert (values["routingMode"], values["kubeProxyReplacement"]) == ("native", True)
    assert _specs(program) == {
        "cni": "cilium", "kube_proxy": False, "nodes": 3, "dns": True, "anew": "",
    }  # fmt: skip
    assert program.resources["dataplane"].inputs["expected_nodes"] == "3"


def test_what_this_stack_has_installed_stays_its_own(
    server: KubeApi, settings: Callable[..., Settings]
) -> None:
    before = _run(settings("scenario-c"), "scenario-c")
    installed = kube_objects.cilium(NODES)
    installed[0]["metadata"]["annotations"] = {OWNER_ANNOTATION: "scenario-c"}
    server.put(*(kube_objects.node(name) for name in NODES), *installed)
    after = _run(settings("scenario-c"), "scenario-c")
    # The next `up` changes nothing, though the cluster has a CNI now.
    assert {name: item.inputs for name, item in before.resources.items()} == {
        name: item.inputs for name, item in after.resources.items()
    }
    assert before.outputs == after.outputs


def test_the_vpc_cni_is_measured_with_its_kube_proxy(
    server: KubeApi, settings: Callable[..., Settings]
) -> None:
    server.put(*(kube_objects.node(name) for name in NODES), *kube_objects.vpc_cni(NODES))
    program = _run(settings("scenario-a"), "scenario-a")
    assert RELEASE not in {each.type for each in program.resources.values()}
    assert _specs(program)["cni"] == "vpc-cni"
    assert _specs(program)["kube_proxy"] is True
    assert program.resources["dataplane"].inputs["expected_nodes"] == "0"
    args = json.loads(program.outputs["session"])["args"]
    assert (args["cni"], args["kube_proxy"], args["values"]) == ("vpc-cni", "iptables", {})


def test_the_session_can_be_opened(
    settings: Callable[..., Settings],
) -> None:
    program = _run(settings("scenario-c"), "scenario-c")
    session = open_session(json.loads(program.outputs["session"]))
    assert isinstance(session, KubernetesSession)


def test_no_secret_is_in_any_input_or_output(settings: Callable[..., Settings]) -> None:
    program = _run(settings("scenario-c"), "scenario-c")
    text = repr([each.inputs for each in program.resources.values()]) + repr(program.outputs)
    assert "a-secret-token" not in text
    assert "BEGIN CERTIFICATE" not in text


def test_the_gate_is_passed_anew_when_the_values_change(
    settings: Callable[..., Settings],
) -> None:
    def revisions(changed: Settings) -> set[Any]:
        program = _run(changed, "scenario-c")
        pod = program.resources["httpbin"].inputs["spec"]["template"]["metadata"]
        return {
            program.resources["gate"].inputs["revision"],
            program.resources["dataplane"].inputs["revision"],
            pod["annotations"]["cni-benchmark/revision"],
            json.loads(program.outputs["session"])["boot"],
        }

    before = revisions(settings("scenario-c"))
    after = revisions(settings("scenario-c", **{"scenario.tunnelProtocol": "geneve"}))
    assert len(before) == len(after) == 1
    assert before != after


def test_agents_take_up_changed_settings() -> None:
    values = release_values({"operator": {"replicas": 1}, "annotations": {"a": "b"}}, "mine")
    assert values["rollOutCiliumPods"] is True
    assert values["operator"] == {"rollOutPods": True, "replicas": 1}
    assert values["annotations"] == {OWNER_ANNOTATION: "mine", "a": "b"}


def test_dynamic_resources_are_found_by_their_import_paths(
    settings: Callable[..., Settings],
) -> None:
    program = _run(settings("scenario-c"), "scenario-c")

    def provider(resource: Registered) -> str:
        return str(resource.inputs["__provider"])

    for name in ("gate", "dataplane"):
        assert len(provider(program.resources[name])) < 200


# -- what is refused ------------------------------------------------------------------------------


def _refusal(settings: Settings, stack: str) -> list[str]:
    with pytest.raises(pulumi.RunError) as told:
        _run(settings, stack)
    assert [each.type for each in engine_mocks.PROGRAMS[-1].resources.values()] == [
        "test:index:Parent"
    ]
    return str(told.value).splitlines()


def test_a_cluster_that_does_not_fit_is_refused_at_preview(
    server: KubeApi, settings: Callable[..., Settings]
) -> None:
    server.put(*(kube_objects.node(name) for name in NODES))
    server.put(kube_objects.daemonset("calico-node", "calico/node:v3.29.1", 3))
    server.put(*kube_objects.proxies(NODES))
    assert _refusal(settings("scenario-c"), "scenario-c") == [
        "Pulumi.scenario-c.yaml: cni-benchmark:scenario.cni: cilium: the cluster already has a "
        "CNI, Calico: a second one would fight it. "
        "Fix: pulumi config set --path 'kubeconfig.context' CONTEXT -s scenario-c",
        "Pulumi.scenario-c.yaml: cni-benchmark:scenario.kubeProxy: none: kube-proxy runs in the "
        "cluster (mode iptables): it and Cilium would both load-balance Services. Remove its "
        "DaemonSet and its rules, or measure with it. "
        "Fix: pulumi config set --path 'kubeconfig.context' CONTEXT -s scenario-c",
    ]


def test_a_context_that_does_not_exist(settings: Callable[..., Settings]) -> None:
    changed = settings("scenario-c", **{"kubeconfig.context": "production"})
    (line,) = _refusal(changed, "scenario-c")
    assert line.startswith("target kubeconfig: the cluster cannot be asked: kubeconfig /")
    assert "production" in line
    assert line.endswith("Fix: pulumi config set --path kubeconfig.context CONTEXT -s scenario-c")


def test_a_cluster_that_does_not_answer(settings: Callable[..., Settings], server: KubeApi) -> None:
    server.trouble = [503] * 9
    (line,) = _refusal(settings("scenario-c"), "scenario-c")
    assert "cannot be asked: GET /api/v1: 503: not now" in line


def test_a_misspelt_value_is_refused(settings: Callable[..., Settings]) -> None:
    changed = settings("scenario-c", **{"scenario.values": {"bpf": {"mapDynamicSizeRatios": 1}}})
    (line,) = _refusal(changed, "scenario-c")
    assert line.startswith(
        "Pulumi.scenario-c.yaml: scenario.values: bpf.mapDynamicSizeRatios: not a value"
    )


# -- facts for the guards -------------------------------------------------------------------------


def _found(settings: Settings, stack: str) -> target.Checked:
    found: list[target.Checked] = []
    engine_mocks.run(stack, lambda: (found.append(target.check(settings)), {})[1])  # type: ignore[func-returns-value]
    return found[0]


def test_ec2_nodes_are_known_by_their_type(settings: Callable[..., Settings]) -> None:
    chosen = settings("scenario-c")
    found = target.facts(chosen, _found(chosen, "scenario-c"))
    assert (found.instance_type, found.driver, found.virtualised_ena) == ("m6i.xlarge", "ena", True)
    assert (found.kernel, found.memory_mib) == (Kernel(6, 1), 15555)


@pytest.mark.parametrize(
    ("provider", "driver"), [("aws:///x/i-1", "ena"), ("kind://docker/kind/worker", None)]
)
def test_other_nodes_are_what_they_tell(
    settings: Callable[..., Settings], server: KubeApi, provider: str, driver: str | None
) -> None:
    for number, name in enumerate(NODES):
        node = kube_objects.node(name, ready=False, providerID=provider)
        node["metadata"]["labels"]["node.kubernetes.io/instance-type"] = "x9.huge"
        node["status"]["nodeInfo"]["kernelVersion"] = f"5.{15 - number}.0"
        node["status"]["capacity"] = {"cpu": str(8 + number), "memory": f"{8 + number}Gi"}
        server.put(node)
    chosen = settings("scenario-c")
    found = target.facts(chosen, _found(chosen, "scenario-c"))
    assert found.driver == driver
    assert (found.arch, found.vcpus, found.memory_mib) == ("x86_64", 8, 8192)
    assert found.kernel == Kernel(5, 13)
    assert replace(found, driver="ena").virtualised_ena
