"""A CNI's part on EKS is an entry in the registry: a made-up one needs no edit elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pulumi
import pytest

import cni.registry
from cni.dataplane import Component, Dataplane, Rollout
from cni.platform import ClusterEndpoint
from cni.scenario import Scenario
from cni.settings import Problem, ScenarioSettings, Values
from cni.toggles import Decision
from components.eks import dataplane as registry
from components.eks.cluster import Place, make_addon
from components.eks.dataplane.interface import EksDataplane, Installed
from tests.components.eks import eks_mocks
from tests.components.eks.declared import before, of_type

TAINT = "comet.example/not-ready"


class Comet(Dataplane):
    """A CNI that nobody has."""

    name = "comet"
    title = "Comet"
    versions = ("0.1.0",)
    rollout = Rollout(daemonset="comet", taint=TAINT)
    components = (Component(name="comet", label="k8s-app=comet"),)

    def problems(self, scenario: ScenarioSettings) -> Iterable[Problem]:
        return ()

    def values(
        self, scenario: ScenarioSettings, decisions: Iterable[Decision], cluster: ClusterEndpoint
    ) -> Values:
        return {"cluster": cluster.name}


class CometOnEks(EksDataplane):
    """It is an add-on."""

    addon = "comet"

    def install(
        self,
        scenario: Scenario,
        decisions: tuple[Decision, ...],
        build: str | None,
        place: Place,
    ) -> Installed:
        endpoint = ClusterEndpoint(name=place.name, api_host="")
        values = scenario.dataplane.values(scenario, decisions, endpoint)
        addon = make_addon("comet", place, place.after(), version=build, configuration=values)
        made = pulumi.Output.from_input(values)
        return Installed([addon], made, made)


def test_a_made_up_cni_is_declared_before_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cni.registry.DATAPLANES, "comet", Comet())
    monkeypatch.setitem(registry.DATAPLANES, "comet", CometOnEks())
    changes: dict[str, object] = {"scenario.cni": "comet", "scenario.cniVersion": "0.1.0"}
    program = eks_mocks.program("scenario-a", changes)
    addon = program.resources["comet"].inputs
    assert addon["addonVersion"] == eks_mocks.VPC_CNI_BUILD
    assert set(json.loads(addon["configurationValues"])) == {"cluster"}
    assert "comet" in before(program, "nodes")
    (nodes,) = of_type(program, "aws:eks/nodeGroup:NodeGroup")
    assert [each["key"] for each in nodes.inputs["taints"]] == [TAINT]


def test_a_cni_that_eks_does_not_have_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cni.registry.DATAPLANES, "comet", Comet())
    with pytest.raises(pulumi.RunError, match="the EKS target has no CNI comet; it has cilium"):
        registry.dataplane("comet")
