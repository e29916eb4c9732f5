"""The chart's values on EKS, the kubeconfig and the endpoint's host, as pure functions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cni.decisions import decide
from cni.platform import ClusterEndpoint, PlatformFacts, known_facts
from cni.scenario import Scenario
from components.eks.cluster import host_of, with_profile
from tests.components.eks.eks_mocks import KUBECONFIG
from tests.components.stack_config import STACKS, read

CLUSTER = ClusterEndpoint(name="c-1", api_host="host", eni_subnet_ids=["subnet-1"])


def _values(stack: str, role: str | None, changes: dict[str, object] | None = None) -> object:
    scenario, facts = read(stack, changes).scenario, known_facts("m6i.xlarge")
    assert facts is not None
    values = scenario.dataplane.values(
        scenario,
        decide(scenario, facts),
        replace(CLUSTER, eni_role=role, eni_tags={"owner": "me"}),
    )
    return values.get("eni")


def test_an_overlay_has_no_eni_values() -> None:
    assert _values("scenario-c", None) is None


def test_eni_values_have_the_role_and_the_tags_beside_the_users() -> None:
    changes: dict[str, object] = {
        "scenario.values": {"eni": {"eniTags": {"mine": "1", "owner": "you"}, "gcInterval": "1m"}}
    }
    assert _values("scenario-d", "arn:role", changes) == {
        "enabled": True,
        "awsEnablePrefixDelegation": True,
        "subnetIDsFilter": ["subnet-1"],
        "iamRole": "arn:role",
        "eniTags": {"mine": "1", "owner": "me"},
        "gcInterval": "1m",
    }


def _unknown(scenario: Scenario, facts: PlatformFacts) -> list[str]:
    values = scenario.dataplane.values(scenario, decide(scenario, facts), CLUSTER)
    return scenario.dataplane.unknown_values(scenario.cni_version, values)


@pytest.mark.parametrize("stack", STACKS)
def test_the_chart_knows_every_scenarios_values(stack: str) -> None:
    scenario, facts = read(stack).scenario, known_facts("m6i.xlarge")
    assert facts is not None
    assert _unknown(scenario, facts) == []


def test_a_misspelt_value_is_found_without_the_chart() -> None:
    facts = known_facts("m6i.xlarge")
    assert facts is not None
    changes: dict[str, object] = {"scenario.values": {"eni": {"gcIntervall": "1m"}}}
    scenario = read("scenario-d", changes).scenario
    (line,) = _unknown(scenario, facts)
    assert line.startswith("eni.gcIntervall: not a value of this chart (did you mean eni.gcInt")


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://0A1B.gr7.eu-west-1.eks.amazonaws.com", "0A1B.gr7.eu-west-1.eks.amazonaws.com"),
        ("https://127.0.0.1:8443", "127.0.0.1"),
    ],
)
def test_the_api_host_is_without_scheme_and_port(endpoint: str, host: str) -> None:
    assert host_of(endpoint) == host


def test_an_endpoint_without_a_host_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'0A1B\.eks' is no URL"):
        host_of("0A1B.eks")


def test_a_kubeconfig_without_a_profile_stays_as_it_is() -> None:
    text = json.dumps(KUBECONFIG)
    assert with_profile(text, None) == text


def test_a_profile_is_given_to_the_login_and_nothing_else_changes() -> None:
    changed = json.loads(with_profile(json.dumps(KUBECONFIG), "bench"))
    arguments = changed["users"][0]["user"]["exec"]["args"]
    assert arguments[-2:] == ["--profile", "bench"]
    del arguments[-2:]
    assert changed == KUBECONFIG
