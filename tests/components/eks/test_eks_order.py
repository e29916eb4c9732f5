"""What comes before what, and so goes after it on destroy."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.components.eks.declared import (
    CILIUM,
    RELEASE,
    before,
)
from tests.components.engine_mocks import Program
from tests.components.stack_config import STACKS


def _in_order(program: Program, steps: Iterable[str]) -> None:
    steps = list(steps)
    for index, step in enumerate(steps):
        missing = set(steps[:index]) - before(program, step)
        assert not missing, f"{step} could come before {missing}, and go after it"


_ORDER: dict[str, list[str]] = {
    "scenario-a": ["cluster", "vpc-cni-role", "janitor", "vpc-cni", "nodes"],
    "scenario-b": ["cluster", RELEASE],
    "scenario-c": ["cluster", RELEASE],
    "scenario-d": ["cluster", "cilium-operator-policy", "janitor", "cilium", "nodes"],
    "scenario-e": ["cluster", "cilium-operator-policy", "janitor", "cilium", "nodes"],
}


@pytest.mark.parametrize("stack", STACKS)
def test_the_cni_and_its_permissions_outlive_the_nodes(
    stack: str, programs: dict[str, Program]
) -> None:
    _in_order(programs[stack], _ORDER[stack])
    if stack in CILIUM:
        assert programs[stack].resources[RELEASE].parent == "cilium"
        assert "cilium" in before(programs[stack], "nodes")
    if stack in ("scenario-a", "scenario-b"):
        assert "kube-proxy" in before(programs[stack], "nodes")


@pytest.mark.parametrize("stack", STACKS)
def test_nodes_then_gate_then_dns_then_workloads_then_measurement(
    stack: str, programs: dict[str, Program]
) -> None:
    _in_order(programs[stack], ["nodes", "gate", "coredns", "workloads"])
    _in_order(programs[stack], ["nodes", "gate", "dataplane", "workloads"])
    for each in ("httpbin", "iperf3-server", "fortio-client"):
        assert "workloads" in before(programs[stack], each)
        assert each in before(programs[stack], "benchmark")


@pytest.mark.parametrize("stack", STACKS)
def test_nodes_come_when_their_way_out_and_their_role_are_ready(
    stack: str, programs: dict[str, Program]
) -> None:
    wanted = {"private-way-out", "private-association", "public-way-out", "nat-gateway"}
    wanted |= {"node-AmazonEKSWorkerNodePolicy", "node-AmazonEC2ContainerRegistryPullOnly"}
    assert wanted <= before(programs[stack], "nodes")


def test_the_janitor_goes_before_the_subnets_and_the_cluster(
    programs: dict[str, Program],
) -> None:
    for stack in ("scenario-a", "scenario-d", "scenario-e"):
        wanted = {"nodes-subnet", "vpc", "cluster", "cluster-eksCluster"}
        assert wanted <= before(programs[stack], "janitor")


@pytest.mark.parametrize("stack", STACKS)
def test_what_waits_is_bounded(stack: str, programs: dict[str, Program]) -> None:
    resources = programs[stack].resources
    assert resources["nodes"].options["timeouts"] == {"create": "30m"}
    assert resources["nodes"].options["delete_before_replace"] is True
    assert resources["coredns"].options["timeouts"]["create"] == "10m"
