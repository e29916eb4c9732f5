"""A CNI is added by its folder and a line in the registry: nothing else is edited here."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cni.capacity import table
from cni.dataplane import Setting, configuration
from cni.decisions import decide, verify
from cni.platform import ClusterEndpoint, PlatformFacts
from cni.registry import DATAPLANES, TOGGLES
from cni.scenario import Scenario
from tests.cni.made_up.dataplane import MadeUp
from tests.components.stack_config import pulumi_config, refusal, stack_tree

SETTINGS: dict[str, Any] = {
    "title": "Made up",
    "cni": "made-up",
    "cniVersion": "0.1.0",
    "kubeProxy": "nftables",
    "ipam": "cluster-pool",
    "podCidr": "10.244.0.0/16",
    "values": {"mtu": 1400},
}


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """The CNI, in the registry."""
    dataplane = MadeUp()
    monkeypatch.setitem(DATAPLANES, MadeUp.name, dataplane)
    return dataplane


def scenario(**changes: object) -> Scenario:
    return Scenario.model_validate(SETTINGS | changes, by_alias=True, by_name=False)


def test_settings_know_it_and_refuse_by_its_rules() -> None:
    assert scenario().overlay == "geneve"
    with pytest.raises(ValidationError, match="the made-up CNI has a pool of its own"):
        scenario(ipam="eni")


def test_a_misspelt_name_is_refused_with_the_names_that_there_are() -> None:
    (line,) = refusal(pulumi_config(stack_tree("scenario-b", {"scenario.cni": "made-upp"})), "dev")
    assert "must be one of 'vpc-cni', 'cilium' or 'made-up'" in line
    assert "pulumi config set --path 'scenario.cni' made-up -s dev" in line


def test_toggles_of_other_cnis_are_told_as_not_applicable(m6i: PlatformFacts) -> None:
    decisions = decide(scenario(), m6i)
    assert [each.toggle for each in decisions] == list(TOGGLES)
    reason = "not applicable: the made-up CNI has no Cilium dataplane"
    assert {(each.applied, each.reason) for each in decisions} == {(False, reason)}


def test_values_and_those_that_it_does_not_have(
    made_up: MadeUp, m6i: PlatformFacts, endpoint: ClusterEndpoint
) -> None:
    mine = scenario()
    values = mine.dataplane.values(mine, decide(mine, m6i), endpoint)
    assert values == {"pool": "10.244.0.0/16", "api": endpoint.api_host, "mtu": 1400}
    assert made_up.unknown_values("0.1.0", values) == []
    assert made_up.unknown_values("0.1.0", {"mtuu": 1}) == ["mtuu: not a value of this CNI"]


def test_verification_and_the_precondition_ask_its_agents(
    made_up: MadeUp, m6i: PlatformFacts
) -> None:
    evidence = [
        made_up.parse_evidence(node, {"status": f'{{"mtu": {mtu}}}'})
        for node, mtu in (("node-1", 1400), ("node-2", 1500))
    ]
    settings = configuration(made_up, {"mtu": 1400}, evidence, kube_proxy=("none", "none"))
    assert settings[1:] == (Setting("MTU", "1400", "1400, 1500"),)
    assert made_up.summary(evidence) == {"mtu": ["1400", "1500"]}
    states = verify(decide(scenario(), m6i), evidence, ["node-1", "node-2"])
    assert not any(state.applied for state in states)


def test_services_and_addresses_are_as_of_a_cni_that_says_nothing_of_them(
    made_up: MadeUp, m6i: PlatformFacts
) -> None:
    assert made_up.services("nftables", {}).expected.name == "kube-proxy nftables"
    assert made_up.reported({}).overlay is True
    assert "made-up" in table(m6i)
