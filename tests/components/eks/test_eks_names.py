"""Names, tags and the sharing out of a VPC's addresses."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations

import pytest

from cni.platform import ClusterEndpoint
from components.eks.network import share_out
from components.eks.settings import cluster_name, tags

STACKS = ["scenario-e", "a", "Scenario_E", "dev/with.odd chars", "x" * 100, "-", "9"]


@pytest.mark.parametrize("stack", STACKS)
def test_every_stacks_name_is_one_that_cilium_takes(stack: str) -> None:
    name = cluster_name("acme", stack)
    assert ClusterEndpoint(name=name, api_host="host").name == name


def test_a_name_tells_its_stack_and_stays_the_same() -> None:
    name = cluster_name("acme", "scenario-e")
    assert name.startswith("cni-benchmark-scenario-e-")
    assert name == cluster_name("acme", "scenario-e")


def test_no_two_stacks_share_a_name() -> None:
    alike = [("acme", "scenario-e"), ("acme", "scenario_e"), ("other", "scenario-e")]
    alike += [("acme", "x" * 60 + "1"), ("acme", "x" * 60 + "2")]
    assert len({cluster_name(*each) for each in alike}) == len(alike)


def test_tags_say_whose_something_is_beside_the_users_own() -> None:
    assert tags("c-1", "dev", {"owner": "me"}) == {
        "cni-benchmark:cluster": "c-1",
        "cni-benchmark:stack": "dev",
        "owner": "me",
    }


ZONES = [f"eu-west-1{letter}" for letter in "abcdef"]


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "10.0.0.0/20", "172.16.64.0/18"])
@pytest.mark.parametrize("zones", [ZONES[:2], ZONES])
def test_subnets_are_apart_inside_the_vpc_and_large_enough(cidr: str, zones: list[str]) -> None:
    made = share_out(cidr, zones, zones[1])
    assert set(made.others) == set(zones) - {zones[1]}
    all_of_them = [IPv4Network(each) for each in (made.nodes, made.public, *made.others.values())]
    assert all(each.subnet_of(IPv4Network(cidr)) for each in all_of_them)
    assert not any(one.overlaps(other) for one, other in combinations(all_of_them, 2))
    # EC2's smallest is a /28, of which EKS wants six addresses for itself.
    assert max(each.prefixlen for each in all_of_them) <= 27


def test_half_of_the_vpc_is_the_nodes() -> None:
    made = share_out("10.0.0.0/16", ZONES[:2], ZONES[0])
    assert IPv4Network(made.nodes).num_addresses == IPv4Network("10.0.0.0/16").num_addresses // 2
