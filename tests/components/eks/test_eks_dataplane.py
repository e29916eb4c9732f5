"""The CNI, kube-proxy and nodes of each scenario: what there is, and what is absent."""

from __future__ import annotations

import json

import pytest

from cni.cilium.versions import DEFAULT
from cni.registry import DATAPLANES
from components.eks.settings import CLUSTER_TAG
from tests.components.eks import eks_mocks
from tests.components.eks.declared import (
    ATTACHMENT,
    CILIUM,
    RELEASE,
    ROLE,
    chart_values,
    name_of,
    of_type,
)
from tests.components.eks.eks_mocks import ACCOUNT, ENDPOINT, VPC_ARN, VPC_CNI_BUILD
from tests.components.engine_mocks import Program
from tests.components.stack_config import STACKS, read

# -- the dataplane ----------------------------------------------------------------------------


ADDONS = {
    "scenario-a": {"vpc-cni", "kube-proxy", "coredns"},
    "scenario-b": {"kube-proxy", "coredns"},
    "scenario-c": {"coredns"},
    "scenario-d": {"coredns"},
    "scenario-e": {"coredns"},
}


@pytest.mark.parametrize("stack", STACKS)
def test_add_ons_are_the_scenarios_and_dns(stack: str, programs: dict[str, Program]) -> None:
    addons = of_type(programs[stack], "aws:eks/addon:Addon")
    assert {each.inputs["addonName"] for each in addons} == ADDONS[stack]
    assert {each.inputs["clusterName"] for each in addons} == {name_of(stack)}


@pytest.mark.parametrize(("nodes", "replicas"), [(2, 1), (3, 2), (9, 2)])
def test_a_node_is_left_without_dns_for_the_clients(nodes: int, replicas: int) -> None:
    addon = eks_mocks.program("scenario-e", {"eks.nodes": nodes}).resources["coredns"].inputs
    assert json.loads(addon["configurationValues"]) == {"replicaCount": replicas}


def test_the_vpc_cni_is_of_the_scenarios_version_with_a_role_of_its_own(
    programs: dict[str, Program],
) -> None:
    resources = programs["scenario-a"].resources
    addon = resources["vpc-cni"].inputs
    assert addon["addonVersion"] == VPC_CNI_BUILD
    assert addon["serviceAccountRoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/vpc-cni"
    attached = [
        each.inputs["policyArn"]
        for each in of_type(programs["scenario-a"], ATTACHMENT)
        if each.parent == "vpc-cni-identity"
    ]
    assert attached == ["arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"]


@pytest.mark.parametrize("delegated", [False, True])
def test_prefix_delegation_reaches_the_vpc_cni(delegated: bool) -> None:
    resources = eks_mocks.program("scenario-a", {"scenario.prefixDelegation": delegated}).resources
    env = json.loads(resources["vpc-cni"].inputs["configurationValues"])["env"]
    assert env.get("ENABLE_PREFIX_DELEGATION") == ("true" if delegated else None)
    assert json.loads(env["ADDITIONAL_ENI_TAGS"])[CLUSTER_TAG] == name_of("scenario-a")


@pytest.mark.parametrize(
    ("stack", "changes", "mode"),
    [
        ("scenario-a", {}, "iptables"),
        ("scenario-b", {}, "iptables"),
        ("scenario-b", {"scenario.kubeProxy": "nftables"}, "nftables"),
    ],
)
def test_kube_proxy_is_in_the_scenarios_mode(
    stack: str, changes: dict[str, object], mode: str
) -> None:
    addon = eks_mocks.program(stack, changes).resources["kube-proxy"].inputs
    assert addon["addonVersion"] == eks_mocks.KUBE_PROXY_BUILD
    assert json.loads(addon["configurationValues"]) == {"mode": mode}


def test_scenario_a_has_no_cilium(programs: dict[str, Program]) -> None:
    assert not [name for name in programs["scenario-a"].resources if "cilium" in name]


@pytest.mark.parametrize("stack", CILIUM)
def test_cilium_is_the_release_of_the_scenarioschart_values(
    stack: str, programs: dict[str, Program]
) -> None:
    release = programs[stack].resources[RELEASE]
    assert (release.inputs["chart"], release.inputs["version"]) == ("cilium", DEFAULT)
    assert release.inputs["skipAwait"] is True
    assert release.provider == "kubernetes"
    values, scenario = chart_values(programs[stack]), read(stack).scenario
    assert values["cluster"] == {"name": name_of(stack)}
    assert values["kubeProxyReplacement"] is scenario.kube_proxy_replacement
    host = ENDPOINT.removeprefix("https://") if scenario.kube_proxy_replacement else None
    assert values.get("k8sServiceHost") == host
    assert values["ipam"]["mode"] == scenario.ipam
    assert values["operator"]["replicas"] == 1


@pytest.mark.parametrize(("version", "devices"), [("1.35", "veth"), ("1.36", "netkit")])
def test_toggles_follow_the_kernel_of_the_versions_nodes(version: str, devices: str) -> None:
    toggles = {f"scenario.toggles.{name}": True for name in ("netkit", "bigTCP", "wireguard")}
    values = chart_values(eks_mocks.program("scenario-e", {"eks.version": version, **toggles}))
    assert values["bpf"]["datapathMode"] == devices
    assert values["enableIPv4BIGTCP"] is False  # ENA
    assert values["encryption"] == {"enabled": True, "type": "wireguard"}


@pytest.mark.parametrize("stack", ["scenario-d", "scenario-e"])
def test_eni_values_name_the_nodes_subnet_the_operators_role_and_the_tags(
    stack: str, programs: dict[str, Program]
) -> None:
    eni = chart_values(programs[stack])["eni"]
    assert eni["subnetIDsFilter"] == ["nodes-subnet-id"]
    assert eni["iamRole"] == f"arn:aws:iam::{ACCOUNT}:role/cilium-operator"
    assert eni["eniTags"][CLUSTER_TAG] == name_of(stack)
    assert eni["awsEnablePrefixDelegation"] is True


@pytest.mark.parametrize("stack", ["scenario-d", "scenario-e"])
def test_the_operators_account_has_its_role_before_the_release_and_is_helms(
    stack: str, programs: dict[str, Program]
) -> None:
    resources = programs[stack].resources
    account, release = resources["cilium-operator-account"], resources["cilium"]
    named = account.inputs["metadata"]
    assert (named["name"], named["namespace"]) == ("cilium-operator", "kube-system")
    assert named["labels"] == {"app.kubernetes.io/managed-by": "Helm"}
    assert named["annotations"] == {
        "eks.amazonaws.com/role-arn": f"arn:aws:iam::{ACCOUNT}:role/cilium-operator",
        "meta.helm.sh/release-name": "cilium",
        "meta.helm.sh/release-namespace": "kube-system",
    }
    assert "cilium-operator-account" in release.after | resources[release.parent].after


@pytest.mark.parametrize("stack", ["scenario-d", "scenario-e"])
def test_the_operators_policy_is_about_this_cluster_and_this_vpc(
    stack: str, programs: dict[str, Program]
) -> None:
    text = programs[stack].resources["cilium-operator-policy"].inputs["policy"]
    changing = [each for each in json.loads(text)["Statement"] if each["Resource"] != "*"]
    conditions = {json.dumps(each["Condition"]) for each in changing}
    name = name_of(stack)
    assert any(VPC_ARN in each for each in conditions)
    assert any(f'"aws:RequestTag/io.cilium/cluster-name": "{name}"' in each for each in conditions)
    assert any(f'"aws:ResourceTag/{CLUSTER_TAG}": "{name}"' in each for each in conditions)


@pytest.mark.parametrize("filtered", [[], ["team=net"]])
def test_the_operator_reads_instances_only_where_it_passes_over_some(filtered: list[str]) -> None:
    changes: dict[str, object] = {"scenario.values": {"eni": {"instanceTagsFilter": filtered}}}
    made = eks_mocks.program("scenario-d", changes).resources["cilium-operator-policy"]
    statements = json.loads(made.inputs["policy"])["Statement"]
    (read,) = [each for each in statements if each["Sid"] == "Read"]
    assert ("ec2:DescribeInstances" in read["Action"]) is bool(filtered)


@pytest.mark.parametrize("stack", ["scenario-b", "scenario-c"])
def test_an_overlay_gets_no_permissions_and_no_janitor(
    stack: str, programs: dict[str, Program]
) -> None:
    assert "janitor" not in programs[stack].resources
    assert {each.name for each in of_type(programs[stack], ROLE)} == {"node-role"}


@pytest.mark.parametrize("stack", STACKS)
def test_nodes_themselves_may_not_change_the_network(
    stack: str, programs: dict[str, Program]
) -> None:
    attached = {
        each.inputs["policyArn"].rpartition("/")[2]
        for each in of_type(programs[stack], ATTACHMENT)
        if each.parent == "node-identity"
    }
    assert attached == {"AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"}


# -- nodes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_nodes_are_as_the_settings_say(stack: str, programs: dict[str, Program]) -> None:
    nodes = programs[stack].resources["nodes"].inputs
    assert nodes["instanceTypes"] == ["m6i.xlarge"]
    assert nodes["scalingConfig"] == {"desiredSize": 3, "minSize": 3, "maxSize": 3}
    assert nodes["amiType"] == "AL2023_x86_64_STANDARD"
    assert nodes["version"] == "1.35"
    assert nodes["capacityType"] == "ON_DEMAND"
    assert nodes["launchTemplate"] == {"id": "node-template-id", "version": "7"}


def test_nodes_are_in_one_cluster_placement_group(programs: dict[str, Program]) -> None:
    made = programs["scenario-e"].resources
    assert made["placement"].inputs["strategy"] == "cluster"
    group = made["placement"].inputs["name"]
    assert made["node-template"].inputs["placement"] == {"groupName": group}
    # It is there before the nodes, and goes after them.
    assert "placement" in made["node-template"].after


def test_nodes_are_where_aws_puts_them_if_so_asked() -> None:
    made = eks_mocks.program("scenario-e", {"eks.placementGroup": False}).resources
    assert "placement" not in made
    assert "placement" not in made["node-template"].inputs


def test_graviton_nodes_get_its_image() -> None:
    nodes = eks_mocks.program("scenario-c", {"eks.instanceType": "m7g.xlarge"}).resources["nodes"]
    assert nodes.inputs["amiType"] == "AL2023_ARM_64_STANDARD"


@pytest.mark.parametrize("stack", STACKS)
def test_only_cilium_nodes_wait_for_their_agent(stack: str, programs: dict[str, Program]) -> None:
    taint = {"key": DATAPLANES["cilium"].rollout.taint, "value": "true", "effect": "NO_EXECUTE"}
    given = programs[stack].resources["nodes"].inputs.get("taints", [])
    assert given == ([taint] if stack in CILIUM else [])


@pytest.mark.parametrize("stack", STACKS)
def test_metadata_wants_a_session_and_stays_on_the_node(
    stack: str, programs: dict[str, Program]
) -> None:
    options = programs[stack].resources["node-template"].inputs["metadataOptions"]
    assert options == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }


def test_volumes_are_encrypted_and_go_with_their_node(programs: dict[str, Program]) -> None:
    template = programs["scenario-a"].resources["node-template"].inputs
    (device,) = template["blockDeviceMappings"]
    assert device["ebs"] == {
        "volumeType": "gp3",
        "volumeSize": 20,
        "encrypted": "true",
        "deleteOnTermination": "true",
    }
