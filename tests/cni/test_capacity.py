"""How many pods fit on a node."""

from __future__ import annotations

import pytest

from cni.capacity import capacity, in_short, recommended_max_pods, table, vpc_cni_max_pods
from cni.platform import PlatformFacts, known_facts
from cni.registry import DATAPLANES

# amazon-vpc-cni-k8s 1.19.2, misc/eni-max-pods.txt.
ENI_MAX_PODS = {
    "c5.metal": 737,
    "c6i.xlarge": 58,
    "c6in.xlarge": 58,
    "c7g.xlarge": 58,
    "m6i.metal": 737,
    "m6i.xlarge": 58,
    "m6in.xlarge": 58,
    "m7g.xlarge": 58,
}


@pytest.mark.parametrize("name", ENI_MAX_PODS)
def test_the_vpc_cnis_own_table_comes_out(name: str) -> None:
    facts = known_facts(name)
    assert facts is not None
    assert vpc_cni_max_pods(facts, prefix_delegation=False) == ENI_MAX_PODS[name]


def test_prefixes_are_more_than_a_kubelet_should_run(m6i: PlatformFacts) -> None:
    assert capacity(m6i, DATAPLANES["vpc-cni"], prefix_delegation=True).pods == 896
    assert vpc_cni_max_pods(m6i, prefix_delegation=True) == 110
    metal = known_facts("m6i.metal")
    assert metal is not None
    assert recommended_max_pods(metal) == 250


def test_ciliums_agent_takes_addresses_of_its_own(m6i: PlatformFacts) -> None:
    assert capacity(m6i, DATAPLANES["cilium"], prefix_delegation=False).pods == 54
    assert capacity(m6i, DATAPLANES["cilium"], prefix_delegation=True).pods == 894
    without = capacity(m6i, DATAPLANES["cilium"], prefix_delegation=False, health_endpoint=False)
    assert (without.addresses, without.pods) == (56, 55)


def test_cilium_takes_no_prefixes_on_bare_metal() -> None:
    metal = known_facts("m6i.metal")
    assert metal is not None
    assert capacity(metal, DATAPLANES["cilium"], prefix_delegation=True).addresses == 15 * 49
    assert capacity(metal, DATAPLANES["vpc-cni"], prefix_delegation=True).addresses == 15 * 49 * 16


def test_in_short_it_is_told_both_ways(m6i: PlatformFacts) -> None:
    told = in_short(m6i, DATAPLANES["cilium"], prefix_delegation=True, health_endpoint=False)
    assert (told["instance_type"], told["enis"], told["recommended_max_pods"]) == (
        "m6i.xlarge",
        4,
        110,
    )
    assert (told["pods"], told["pods_with_prefixes"]) == (895, 895)
    assert told["pods_with_single_addresses"] == 55
    without = in_short(m6i, DATAPLANES["vpc-cni"], prefix_delegation=False)
    assert (without["pods"], without["pods_with_prefixes"]) == (56, 896)


def test_a_platform_without_enis_has_no_such_limit(lab: PlatformFacts) -> None:
    with pytest.raises(ValueError, match="lab: its limits of ENIs are not known"):
        capacity(lab, DATAPLANES["cilium"], prefix_delegation=False)


def test_the_table_has_a_line_per_cni_and_kind(m6i: PlatformFacts) -> None:
    head, _, *rows = table(m6i).splitlines()
    assert head.startswith("m6i.xlarge: 4 ENIs of 15 addresses; ")
    assert [row.split()[-1] for row in rows[:2]] == ["58", "110"]
    assert len(rows) == 4
