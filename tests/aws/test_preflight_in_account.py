"""Preflight in an account that has all it takes, and in one where an earlier run has been."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3
import pytest

from bench.workloads import RUNNER_IMAGE
from cni.platform import Kernel
from components.eks.preflight import Account, machine
from components.eks.preflight.account import POLICY
from components.eks.settings import CLUSTER_TAG, cluster_name
from tests.aws.account import REGION
from tests.aws.conftest import ADDRESS, STACK, Check
from tests.aws.server import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import ResourceTypeType
    from mypy_boto3_ec2.type_defs import TagSpecificationTypeDef, TagTypeDef

CLUSTER = cluster_name("organization", STACK)
TAGS: list[TagTypeDef] = [{"Key": CLUSTER_TAG, "Value": CLUSTER}]


def tagged(kind: ResourceTypeType) -> list[TagSpecificationTypeDef]:
    return [{"ResourceType": kind, "Tags": TAGS}]


def test_everything_that_is_known_afterwards(check: Check) -> None:
    result, report = check()
    assert report.problems == ()
    assert report.warnings == ()
    assert result.account == Account("123456789012", "aws")
    assert result.api_cidrs == (f"{ADDRESS}/32",)
    assert result.facts is not None
    assert (result.facts.driver, result.facts.vcpus, result.facts.kernel) == (
        "ena",
        4,
        Kernel(6, 12),
    )
    assert result.cost is not None
    # 0.10 + 3 x 0.236 + 60 GiB x 0.0912 / 730 h + 0.059 + 0.005
    assert result.cost.usd_per_hour == pytest.approx(0.8795, abs=0.0001)
    # 20 min to create, 12 to measure, 14 to destroy; and 1 GiB a node through the NAT gateway.
    assert result.cost.usd == pytest.approx(0.8795 * 46 / 60 + 3 * 0.059, abs=0.001)
    assert result.cost.source == "AWS's price list for ap-northeast-2"


def test_only_permissions_of_the_policy_are_used_and_none_that_changes_anything(
    check: Check, aws: AwsServer
) -> None:
    check()
    # Nobody needs a permission to ask who he is.
    assert set(aws.calls) - {"sts:GetCallerIdentity"} <= set(POLICY["Statement"][0]["Action"])
    verbs = {action.partition(":")[2] for action in aws.calls}
    assert all(verb.startswith(("Describe", "Get", "Simulate")) for verb in verbs)


def test_questions_are_asked_at_once(check: Check, aws: AwsServer) -> None:
    check()
    start = time.monotonic()
    check()
    quick = time.monotonic() - start
    aws.calls.clear()
    aws.account.delay = 1.0
    start = time.monotonic()
    check()
    waits = (time.monotonic() - start - quick) / aws.account.delay
    assert len(aws.calls) > 15
    # Who asks, and then everything else; one after the other there would be one for each.
    assert waits < len(aws.calls) / 3


def test_networks_are_taken_as_they_are_and_nobody_is_asked(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("components.eks.preflight.machine.public_address")
    result, report = check({"eks.apiCidrs": ["198.51.100.0/24"]})
    assert report.problems == ()
    assert result.api_cidrs == ("198.51.100.0/24",)


def test_own_nodes_count_once(check: Check, aws: AwsServer) -> None:
    """A stack that is up needs its vCPUs, VPC and address no second time."""
    ec2 = boto3.client("ec2", region_name=REGION)
    ec2.run_instances(
        ImageId="ami-12c6146b",
        MinCount=3,
        MaxCount=3,
        InstanceType="m6i.xlarge",
        TagSpecifications=tagged("instance"),
    )
    ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc"))
    ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))
    aws.account.clusters[CLUSTER] = {"tags": {CLUSTER_TAG: CLUSTER}}
    # The default VPC is one of the two.
    aws.account.quotas = {"L-1216C47A": 12, "L-F678F1CE": 2, "L-0263D0A3": 1}
    result, report = check()
    assert report.problems == ()
    assert result.cost is not None
    assert result.cost.duration.create == 0


def test_others_instances_take_from_the_quota(check: Check, aws: AwsServer) -> None:
    ec2 = boto3.client("ec2", region_name=REGION)
    ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="m6i.2xlarge")
    # Those have quotas of their own.
    ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="p3.2xlarge")
    aws.account.quotas["L-1216C47A"] = 20
    assert check()[1].problems == ()
    aws.account.quotas["L-1216C47A"] = 19
    assert check()[1].problems == (
        "quota: vCPUs of running on-demand standard instances in ap-northeast-2: 19, of which "
        "others use 8, and this stack needs 12. Fix: aws service-quotas "
        "request-service-quota-increase --service-code ec2 --quota-code L-1216C47A "
        "--desired-value 20 --region ap-northeast-2",
    )


def test_a_quota_that_nobody_has_changed_is_awss_default(check: Check, aws: AwsServer) -> None:
    del aws.account.quotas["L-1216C47A"]
    (problem,) = check()[1].problems
    assert "instances in ap-northeast-2: 5, of which others use 0, and this stack needs 12" in (
        problem
    )


def test_a_strange_cluster_of_that_name_is_not_touched(check: Check, aws: AwsServer) -> None:
    aws.account.clusters[CLUSTER] = {"tags": {"owner": "somebody"}}
    assert check()[1].problems == (
        f"cluster: {CLUSTER} exists in ap-northeast-2 already, and is not of this stack. "
        "Fix: delete it, or give this stack another name",
    )


def test_own_cluster_changes_its_version_to_the_next_one_only(check: Check, aws: AwsServer) -> None:
    aws.account.clusters[CLUSTER] = {"tags": {CLUSTER_TAG: CLUSTER}, "version": "1.32"}
    assert check({"eks.version": "1.33"})[1].problems == ()
    (problem,) = check({"eks.version": "1.34"})[1].problems
    assert "the stack's cluster has 1.32" in problem
    assert problem.endswith("pulumi config set --path 'eks.version' 1.32 -s scenario-e")


def test_a_version_that_is_gone_does_not_stop_a_cluster_that_has_it(
    check: Check, aws: AwsServer
) -> None:
    aws.account.clusters[CLUSTER] = {"tags": {CLUSTER_TAG: CLUSTER}, "version": "1.31"}
    assert check({"eks.version": "1.31"})[1].problems == ()


def test_the_default_add_ons_are_offered_and_kube_proxy_follows_the_cluster(check: Check) -> None:
    result, report = check(stack="scenario-a")
    assert report.problems == ()
    assert result.cni_build == "v1.22.4-eksbuild.5"
    # EKS's own choice, which is neither its newest build nor its last in the list.
    assert result.kube_proxy_build == "v1.35.3-eksbuild.1"
    assert check({"eks.version": "1.36"}, stack="scenario-b")[0].kube_proxy_build == (
        "v1.36.0-eksbuild.1"
    )
    assert check(stack="scenario-e")[0].kube_proxy_build is None


def test_what_ends_within_60_days_is_told_also_of_a_cluster_that_is_there(
    check: Check, aws: AwsServer
) -> None:
    def standard_support_ends(days: int) -> str:
        day = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
        aws.account.versions["1.35"] = {**aws.account.versions["1.35"], "standard": day}
        return day

    soon = standard_support_ends(59)
    told = (f"Kubernetes 1.35 goes into extended support on {soon}, at a surcharge",)
    assert check()[1].warnings == told
    aws.account.clusters[CLUSTER] = {"tags": {CLUSTER_TAG: CLUSTER}, "version": "1.35"}
    assert check()[1].warnings == told
    standard_support_ends(62)
    assert check()[1].warnings == ()


def test_extended_support_is_told_and_in_the_estimate(check: Check) -> None:
    result, report = check({"eks.version": "1.33"})
    assert "Kubernetes 1.33 is in extended support, which ends on 2097-07-29" in report.warnings[0]
    assert result.cost is not None
    assert result.cost.usd_per_hour == pytest.approx(0.8795 + 0.5, abs=0.0001)


def test_what_an_earlier_run_has_left_is_told(check: Check) -> None:
    ec2 = boto3.client("ec2", region_name=REGION)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc"))["Vpc"]
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.0.0/24")["Subnet"]
    interface = ec2.create_network_interface(
        SubnetId=subnet["SubnetId"], TagSpecifications=tagged("network-interface")
    )["NetworkInterface"]
    left = interface["NetworkInterfaceId"]
    report = check()[1]
    assert report.problems == ()
    interfaces, network = report.warnings
    assert f"for i in {left}; do aws ec2 delete-network-interface" in interfaces
    assert "a VPC of an earlier run of scenario-e is left" in network


def test_a_region_that_is_far_away_is_in_the_estimate_and_told(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, report = check()
    assert not any("ms away" in line for line in report.warnings)
    monkeypatch.setattr(machine, "round_trip", lambda url: 1.0)
    far, report = check()
    assert any(
        line.startswith("ap-northeast-2 is 1000 ms away, there and back: ")
        for line in report.warnings
    )
    assert near.cost is not None
    assert far.cost is not None
    assert far.cost.usd > near.cost.usd
    assert far.cost.duration.measure == near.cost.duration.measure + far.cost.duration.late


def test_a_benchmark_in_the_region_takes_no_longer_from_afar(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def there(wanted: Iterable[str]) -> dict[str, str]:
        asked.extend(wanted)
        return dict.fromkeys(asked, "there")

    monkeypatch.setattr(machine, "look_up_images", there)
    monkeypatch.setattr(machine, "round_trip", lambda url: 1.0)
    result, report = check({"benchmark.runner": "pod"})
    assert not any("ms away" in line for line in report.warnings)
    assert result.cost is not None
    assert result.cost.duration.late == 0
    assert RUNNER_IMAGE in asked


def test_behind_a_proxy_nobody_knows_how_far_it_is(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "round_trip", lambda url: None)
    result, report = check()
    assert result.cost is not None
    assert result.cost.duration.late == 0
    assert any(
        line.startswith("not checked: how far ap-northeast-2 is") for line in report.warnings
    )
