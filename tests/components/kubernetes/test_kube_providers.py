"""The gate and the dataplane's verification as the engine runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic.dynamic import serialize_provider

from cni.decisions import decide
from cni.platform import Kernel, known_facts
from cni.scenario import Scenario
from components.dynamic import Provider, UserError
from components.kubernetes import gate
from components.kubernetes.access import KubeconfigAccess, to_json
from components.kubernetes.gate import GateSpec
from components.kubernetes.providers import DECISIONS, DataplaneProvider, GateProvider
from tests.cni.stackfiles import stack_scenario
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.exec_replies import Output
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.kubernetes.kube_cluster import Recorded

NODES = ("node-1", "node-2")


@pytest.fixture
def access(server: KubeApi, tmp_path: Path) -> str:
    """How to reach a cluster of two nodes that runs scenario E."""
    server.put(*(kube_objects.node(name) for name in NODES), *kube_objects.cilium(NODES))
    server.handler = Recorded("scenario-e")
    return to_json(KubeconfigAccess(path=str(server.kubeconfig(tmp_path / "config"))))


def _gate(access: str, **changes: object) -> dict[str, Any]:
    spec = GateSpec(cni="cilium", kube_proxy=False, nodes=2).to_json()
    return {"access": access, "spec": spec, "revision": "1", "version": 1, **changes}


def _dataplane(access: str, **changes: object) -> dict[str, Any]:
    facts = known_facts("m6i.xlarge", kernel=Kernel(6, 1))
    assert facts is not None
    scenario = Scenario.model_validate(stack_scenario("scenario-e"))
    decisions = DECISIONS.dump_json(decide(scenario, facts)).decode()
    props = {"access": access, "cni": "cilium", "decisions": decisions, "expected_nodes": "2"}
    return {**props, "revision": "1", "version": 1, "toggles": None, **changes}


def test_a_gate_is_there_once_the_network_is(access: str, capsys: Any) -> None:
    made = GateProvider().create(_gate(access))
    assert made.outs == _gate(access)
    assert "every node to be ready: yes (0 s)" in capsys.readouterr().out


def test_a_gate_that_stays_shut_is_one_message(
    access: str, server: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_AGENTS_SECONDS", 0)
    server.put(kube_objects.daemonset("cilium", "x", 2, ready=1))
    with pytest.raises(UserError) as told:
        GateProvider().create(_gate(access))
    assert str(told.value).startswith(
        "the cluster's network is not ready: waited 0 s for cilium to run on every node: ready on 1"
    )


def test_a_cluster_that_cannot_be_reached_is_one_message(tmp_path: Path) -> None:
    access = to_json(KubeconfigAccess(path=str(tmp_path / "none")))
    for provider, props in (
        (GateProvider(), _gate(access)),
        (DataplaneProvider(), _dataplane(access)),
    ):
        with pytest.raises(UserError, match="kubeconfig /"):
            provider.create(props)


def test_toggles_are_what_every_agent_proves(access: str) -> None:
    outs = DataplaneProvider().create(_dataplane(access)).outs
    assert outs is not None
    toggles = outs["toggles"]
    verdicts = {
        name: (state["requested"], state["applied"], state["verified"])
        for name, state in toggles.items()
    }
    proven, fallen_back = (True, True, True), (True, False, False)
    assert verdicts["hostRouting"] == proven
    assert verdicts["ctTables"] == proven
    assert verdicts["xdp"] == fallen_back
    # Recorded on nodes without fq, where the agents' silent fall-back is found out.
    assert verdicts["bandwidthManager"] == (True, False, False)
    assert "the agent reports" in toggles["bandwidthManager"]["reason"]
    assert [said.partition(":")[0] for said in toggles["hostRouting"]["evidence"]] == list(NODES)


def test_a_node_without_an_agent_leaves_toggles_unverified(access: str, server: KubeApi) -> None:
    server.remove("Pod", "cilium-node-2", "kube-system")
    outs = DataplaneProvider().create(_dataplane(access)).outs
    assert outs is not None
    state = outs["toggles"]["hostRouting"]
    assert (state["applied"], state["verified"]) == (True, False)
    assert state["reason"] == "no evidence from node-2"


def test_fewer_nodes_than_expected_is_an_error(access: str) -> None:
    with pytest.raises(UserError, match="could not verify the toggles: 2 of 3 nodes are there"):
        DataplaneProvider().create(_dataplane(access, expected_nodes="3"))


def test_a_cni_without_agents_is_asked_nothing(access: str, server: KubeApi) -> None:
    outs = DataplaneProvider().create(_dataplane(access, expected_nodes="0")).outs
    assert outs is not None
    assert outs["toggles"]["hostRouting"]["evidence"] == []
    assert server.requests == []


def test_an_agent_that_fails_is_one_message(access: str, server: KubeApi) -> None:
    server.handler = lambda call: Output("", "cannot connect to agent", code=1)
    with pytest.raises(UserError, match=r"cilium-node-\d .*ended with 1: cannot connect to agent"):
        DataplaneProvider().create(_dataplane(access))


@pytest.mark.parametrize(
    ("provider", "props"), [(GateProvider(), _gate("a")), (DataplaneProvider(), _dataplane("a"))]
)
def test_another_input_is_looked_at_again(provider: Provider, props: dict[str, Any]) -> None:
    assert not provider.diff("id", props, props).changes
    for name in ("access", "revision", "version"):
        found = provider.diff("id", props, {**props, name: "another"})
        assert found.changes
        assert not found.replaces  # nothing is there that would have to go


def test_updating_looks_again(access: str, server: KubeApi) -> None:
    asked = len(server.requests)
    made = GateProvider().update("gate", _gate(access), _gate(access, revision="2"))
    assert made.outs == _gate(access, revision="2")
    assert len(server.requests) > asked
    updated = DataplaneProvider().update("x", _dataplane(access), _dataplane(access, revision="2"))
    assert updated.outs is not None
    assert updated.outs["toggles"]["hostRouting"]["verified"] is True


@pytest.mark.parametrize("provider", [GateProvider, DataplaneProvider])
def test_a_provider_is_the_same_in_every_program_run(provider: type[Provider]) -> None:
    text = serialize_provider(provider())
    assert text == serialize_provider(provider())
    assert len(text) < 200
