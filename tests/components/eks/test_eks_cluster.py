"""The cluster and its network: what is made, what is left out, who reaches it, its tags."""

from __future__ import annotations

import json

import pytest

from components.eks.settings import CLUSTER_TAG
from tests.components.eks import eks_mocks
from tests.components.eks.declared import (
    chart_values,
    name_of,
    of_type,
)
from tests.components.eks.eks_mocks import ACCOUNT, CALLER
from tests.components.engine_mocks import Program
from tests.components.stack_config import STACKS

# -- the cluster ------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_the_cluster_has_nothing_that_its_scenario_does_not_say(
    stack: str, programs: dict[str, Program]
) -> None:
    cluster = programs[stack].resources["cluster"].inputs
    assert cluster["bootstrapSelfManagedAddons"] is False
    assert cluster["useDefaultVpcCni"] is True  # inverted: it makes no VPC CNI
    assert cluster["kubeProxyAddonOptions"]["enabled"] is False
    assert cluster["corednsAddonOptions"]["enabled"] is False
    assert cluster["skipDefaultNodeGroup"] is True
    assert cluster["skipDefaultSecurityGroups"] is True


@pytest.mark.parametrize("stack", STACKS)
def test_the_cluster_is_as_the_settings_say(stack: str, programs: dict[str, Program]) -> None:
    cluster = programs[stack].resources["cluster"].inputs
    assert cluster["name"] == name_of(stack)
    assert cluster["version"] == "1.35"
    assert cluster["kubernetesServiceIpAddressRange"] == "10.100.0.0/16"
    assert cluster["authenticationMode"] == "API"
    assert cluster["createOidcProvider"] is True


@pytest.mark.parametrize("stack", STACKS)
def test_the_api_is_open_to_the_networks_that_preflight_resolved_only(
    stack: str, programs: dict[str, Program]
) -> None:
    cluster = programs[stack].resources["cluster"].inputs
    assert cluster["endpointPublicAccess"] is True
    assert cluster["publicAccessCidrs"] == [CALLER]
    # Nodes have their own way, so that they need not be among those networks.
    assert cluster["endpointPrivateAccess"] is True


def test_control_plane_subnets_are_in_two_zones_and_nodes_in_one(
    programs: dict[str, Program],
) -> None:
    resources = programs["scenario-e"].resources
    subnets = {each.name: each.inputs for each in of_type(programs["scenario-e"], _SUBNET)}
    given = [each.removesuffix("-id") for each in resources["cluster"].inputs["subnetIds"]]
    assert {subnets[name]["availabilityZone"] for name in given} == {
        "ap-northeast-2a",
        "ap-northeast-2c",
    }
    assert resources["nodes"].inputs["subnetIds"] == ["nodes-subnet-id"]
    assert subnets["nodes-subnet"]["availabilityZone"] == "ap-northeast-2a"


_SUBNET = "aws:ec2/subnet:Subnet"


def test_nodes_are_private_and_go_out_by_one_nat_gateway(programs: dict[str, Program]) -> None:
    resources = programs["scenario-e"].resources
    assert resources["nodes-subnet"].inputs["mapPublicIpOnLaunch"] is False
    assert resources["private-association"].inputs == {
        "routeTableId": "private-routes-id",
        "subnetId": "nodes-subnet-id",
    }
    assert resources["private-way-out"].inputs["natGatewayId"] == "nat-gateway-id"
    assert "gatewayId" not in resources["private-way-out"].inputs
    assert resources["nat-gateway"].inputs["subnetId"] == "public-subnet-id"
    assert len(of_type(programs["scenario-e"], "aws:ec2/natGateway:NatGateway")) == 1


# -- tags -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_everything_is_tagged(stack: str) -> None:
    program = eks_mocks.program(stack, {"eks.tags": {"owner": "team-net"}})
    ours = {
        CLUSTER_TAG: name_of(stack),
        "cni-benchmark:stack": stack,
        "owner": "team-net",
    }
    provider = program.resources["aws"].inputs
    assert json.loads(provider["defaultTags"]) == {"tags": ours}
    # What neither the provider nor EKS tags: what the node group and the CNI make.
    for each in program.resources["node-template"].inputs["tagSpecifications"]:
        assert ours.items() <= each["tags"].items()
    kinds = {
        each["resourceType"]
        for each in program.resources["node-template"].inputs["tagSpecifications"]
    }
    assert kinds == {"instance", "volume", "network-interface"}
    if stack in ("scenario-d", "scenario-e"):
        assert chart_values(program)["eni"]["eniTags"] == ours


@pytest.mark.parametrize("stack", STACKS)
def test_every_aws_resource_is_the_providers_that_tags(
    stack: str, programs: dict[str, Program]
) -> None:
    made = [each for each in programs[stack].resources.values() if each.type.startswith("aws:")]
    assert {each.provider for each in made} == {"aws"}


def test_what_the_console_lists_has_a_name(programs: dict[str, Program]) -> None:
    listed = ("vpc", "subnet", "natGateway", "eip", "internetGateway", "routeTable")
    named = [
        each
        for each in programs["scenario-e"].resources.values()
        if each.type.startswith(tuple(f"aws:ec2/{kind}:" for kind in listed))
    ]
    assert len(named) == 9
    start = name_of("scenario-e")
    assert all(each.inputs["tags"]["Name"].startswith(start) for each in named)


def test_another_account_is_refused_by_the_provider(programs: dict[str, Program]) -> None:
    provider = programs["scenario-a"].resources["aws"].inputs
    assert json.loads(provider["allowedAccountIds"]) == [ACCOUNT]
    assert provider["region"] == "ap-northeast-2"
