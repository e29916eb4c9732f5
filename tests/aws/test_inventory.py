"""What a stack still has in an account: by its tag, with prices and the commands that end it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from cli.main import main
from components.eks import inventory
from components.eks.iam import document
from components.eks.settings import STACK_TAG, EksSettings
from tests.aws.account import REGION
from tests.aws.conftest import STACK
from tests.aws.server import AwsServer
from tests.components.stack_config import read

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import ResourceTypeType
    from mypy_boto3_ec2.type_defs import TagSpecificationTypeDef

ROLE = "arn:aws:iam::123456789012:role/cluster"


def tagged(kind: ResourceTypeType, stack: str = STACK) -> list[TagSpecificationTypeDef]:
    return [{"ResourceType": kind, "Tags": [{"Key": STACK_TAG, "Value": stack}]}]


def lines(hours: float = 1, **changes: object) -> list[str]:
    settings = read(STACK, {"target": "eks", **{f"eks.{k}": v for k, v in changes.items()}})
    now = datetime.now(UTC) + timedelta(hours=hours)
    return list(inventory.report(settings.section(EksSettings), STACK, now))


@pytest.fixture
def account(aws: AwsServer) -> dict[str, str]:
    """A stack that is up, and things of others beside it; the ids of what is the stack's."""
    ec2, eks = boto3.client("ec2", region_name=REGION), boto3.client("eks", region_name=REGION)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))
    ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", "scenario-a"))
    gateway = ec2.create_nat_gateway(
        SubnetId=subnet,
        AllocationId=address["AllocationId"],
        TagSpecifications=tagged("natgateway"),
    )["NatGateway"]["NatGatewayId"]
    nodes = ec2.run_instances(
        ImageId="ami-12c6146b", MinCount=2, MaxCount=2, InstanceType="m6i.xlarge",
        SubnetId=subnet, TagSpecifications=tagged("instance"),
    )["Instances"]  # fmt: skip
    ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="m6i.xlarge")
    volume = ec2.create_volume(
        AvailabilityZone=f"{REGION}a", Size=20, TagSpecifications=tagged("volume")
    )["VolumeId"]
    interface = ec2.create_network_interface(
        SubnetId=subnet, TagSpecifications=tagged("network-interface")
    )["NetworkInterface"]["NetworkInterfaceId"]
    for name, stack in (("ours", STACK), ("theirs", "scenario-a")):
        eks.create_cluster(
            name=name, version="1.35", roleArn=ROLE,
            resourcesVpcConfig={"subnetIds": [subnet]}, tags={STACK_TAG: stack},
        )  # fmt: skip
    eks.create_nodegroup(clusterName="ours", nodegroupName="nodes", subnets=[subnet], nodeRole=ROLE)
    _identities()
    return {
        "vpc": vpc, "address": address["AllocationId"], "gateway": gateway, "volume": volume,
        "interface": interface, "first": nodes[0]["InstanceId"], "second": nodes[1]["InstanceId"],
    }  # fmt: skip


MINE, THEIRS = "cilium-operator-role-0a1b2c3", "cilium-operator-role-4d5e6f7"
PROVIDER = f"oidc.eks.{REGION}.amazonaws.com/id/0A"


def _identities() -> None:
    """Of IAM: a role with policies of both kinds and an issuer, and the same of another stack."""
    iam = boto3.client("iam", region_name=REGION)
    trust = json.dumps(document("service-trust", service="ec2.amazonaws.com"))
    allowed = json.dumps(document("caller"))
    for name, stack in ((MINE, STACK), (THEIRS, "scenario-a"), ("somebodys-role", STACK)):
        iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=trust, Tags=[{"Key": STACK_TAG, "Value": stack}]
        )
    for name in ("first", "second"):
        made = iam.create_policy(PolicyName=name, PolicyDocument=allowed)["Policy"]["Arn"]
        iam.attach_role_policy(RoleName=MINE, PolicyArn=made)
    iam.put_role_policy(
        RoleName=MINE, PolicyName="cilium-operator-policy-1", PolicyDocument=allowed
    )
    for url, stack in ((PROVIDER, STACK), (f"{PROVIDER}FF", "scenario-a")):
        iam.create_open_id_connect_provider(
            Url=f"https://{url}", Tags=[{"Key": STACK_TAG, "Value": stack}]
        )


def test_an_empty_account_has_nothing(aws: AwsServer) -> None:
    assert lines() == [
        "ap-northeast-2 has nothing of scenario-e that costs money, and IAM has no role of it"
    ]


def test_all_of_the_stack_is_listed_with_its_price_and_nothing_of_others(
    account: dict[str, str],
) -> None:
    told = "\n".join(lines())
    for what in (
        "  control plane ours (Kubernetes 1.35, ACTIVE): $0.100 per hour",
        f"  instance {account['first']} (m6i.xlarge, running): $0.236 per hour",
        f"  instance {account['second']} (m6i.xlarge, running): $0.236 per hour",
        f"  volume {account['volume']} (20 GiB, available): $0.002 per hour",
        f"  NAT gateway {account['gateway']} (available): $0.059 per hour",
        f"  network interface {account['interface']}",
        f"  VPC {account['vpc']} with its subnets and routes",
        f"  role {MINE}",
        f"  OpenID Connect provider {PROVIDER}",
    ):
        assert what in told.splitlines()
    assert told.count("  Elastic IP address") == 1
    assert told.count("  instance ") == 2
    assert told.count("  role ") == told.count("  OpenID Connect provider ") == 1
    assert "theirs" not in told
    # 0.10 + 2 x 0.236 + 0.059 + 0.005 + 20 GiB x 0.0912 / 730 h
    assert "$0.64 per hour in all" in told


def test_the_commands_end_it_in_an_order_that_aws_takes(
    account: dict[str, str], tmp_path: Path
) -> None:
    keys = "[bench]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n"
    (tmp_path / ".aws/credentials").write_text(keys)
    told = [line.split() for line in lines(profile="bench") if line.startswith("  aws ")]
    assert all(words[-4:] == ["--region", REGION, "--profile", "bench"] for words in told)
    steps = [words[2] for words in told]
    group = steps.index("delete-nodegroup")
    assert steps[group + 1 :][:3] == ["wait", "delete-cluster", "wait"]
    assert steps.index("delete-nat-gateway") < steps.index("release-address")
    assert steps.count("terminate-instances") == 2
    # A role goes when it has no policy and no cluster any more.
    assert steps[-5:] == [
        "detach-role-policy", "detach-role-policy", "delete-role-policy", "delete-role",
        "delete-open-id-connect-provider",
    ]  # fmt: skip


def test_carrying_out_the_commands_leaves_nothing_that_costs_money(
    account: dict[str, str],
) -> None:
    clients: dict[str, Any] = {
        name: boto3.client(name, region_name=REGION) for name in ("ec2", "eks", "iam")
    }
    lists = {"instance-ids": "InstanceIds"}
    for words in (line.split() for line in lines() if line.startswith("  aws ")):
        _, service, verb, *given = words[: words.index("--region")]
        if verb == "wait":
            continue
        arguments: dict[str, object] = {}
        for option, value in zip(given[::2], given[1::2], strict=True):
            name = option.removeprefix("--")
            method = clients[service].meta.method_to_api_mapping[verb.replace("-", "_")]
            shape = clients[service].meta.service_model.operation_model(method).input_shape
            assert shape is not None
            key = next(each for each in shape.members if each.lower() == name.replace("-", ""))
            arguments[key] = [value] if name in lists else value
        getattr(clients[service], verb.replace("-", "_"))(**arguments)
    left = [line for line in lines() if line.startswith("  ")]
    assert left[0].startswith(f"  VPC {account['vpc']}")
    assert not any("role" in line or "OpenID" in line for line in left)
    assert all("per hour" not in line for line in left)


def test_past_its_time_the_stack_is_told_with_what_it_has_cost(account: dict[str, str]) -> None:
    assert not any("so far" in line for line in lines(hours=11))
    (late,) = [line for line in lines(hours=20) if "so far" in line]
    assert late.startswith("scenario-e exists for 20 hours, and was meant to for 12")
    assert late.endswith("pulumi destroy -s scenario-e")
    assert not any("so far" in line for line in lines(hours=20, ttlHours=48))


def test_without_the_price_list_the_table_stands_in(
    aws: AwsServer, account: dict[str, str]
) -> None:
    listed = lines()
    aws.account.silent = ["pricing"]
    assert lines() == listed


def test_a_price_that_nobody_knows_is_told_as_such(account: dict[str, str]) -> None:
    ec2 = boto3.client("ec2", region_name=REGION)
    ec2.run_instances(
        ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="m6i.2xlarge",
        TagSpecifications=tagged("instance"),
    )  # fmt: skip
    told = lines()
    assert any("(m6i.2xlarge, running): at a price that is not known" in line for line in told)
    assert any(line.startswith("more than $0.64 per hour in all") for line in told)


def test_what_may_not_be_asked_is_told_after_the_rest(
    aws: AwsServer, account: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    aws.account.denied = ["ec2:DescribeNatGateways"]
    assert main(["doctor", "--stack", STACK, "--target", "eks"]) == 4
    told = capsys.readouterr()
    assert "control plane ours" in told.out
    assert "scenario-e may have more in ap-northeast-2: permissions: AWS denies " in told.err


def test_the_command_looks_at_the_target_that_is_named(
    account: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--stack", STACK, "--target", "eks"]) == 0
    assert "control plane ours" in capsys.readouterr().out
    assert main(["doctor", "--stack", STACK, "--target", "lab"]) == 0
    assert capsys.readouterr().out == (
        "scenario-e has nothing that costs money: its target is lab\n"
    )
    assert main(["doctor", "--stack", "none"]) == 2
    assert "there is no Pulumi.none.yaml" in capsys.readouterr().err


def test_without_credentials_that_is_told(
    aws: AwsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.account.credentials = "expired"
    assert main(["doctor", "--stack", STACK, "--target", "eks"]) == 4
    assert "they have expired" in capsys.readouterr().err
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert main(["doctor", "--stack", STACK, "--target", "eks"]) == 4
    assert "AWS has none for you" in capsys.readouterr().err
