"""The CNIs' roles on EKS: who takes them, by what, and what they may then do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.sts.models import sts_backends

from components.eks.dataplane.cilium import operator_policy
from components.eks.settings import CLUSTER_TAG
from components.kubernetes.gate import ROLE_ANNOTATION
from lab.dataplane.cilium.agents import OPERATOR
from lab.dataplane.vpc_cni.daemons import DAEMON
from tests.aws.account import NUMBER, REGION
from tests.aws.authorisation import ACCOUNT, PARTITION, asked, missing, needless, vpc_of
from tests.aws.issuer import AUDIENCE, Issuer, listening, new_key
from tests.aws.policy import Request, managed
from tests.aws.server import AwsServer
from tests.components.eks import eks_mocks
from tests.lab.recorded import FIXTURES, read_calls

# -- who takes a role ------------------------------------------------------------------------------


@pytest.fixture
def issuer(aws: AwsServer) -> Iterator[Issuer]:
    """The cluster's issuer, known to the account as the EKS target makes it known."""
    with listening() as made:
        aws.account.issuer_authority = made.authority
        boto3.client("iam", region_name=REGION).create_open_id_connect_provider(
            Url=made.url, ClientIDList=[AUDIENCE]
        )
        yield made


@dataclass(frozen=True)
class Identity:
    """A role as a stack declares it, in the account, and who is to take it."""

    role: str
    service_account: str


@pytest.fixture(scope="module")
def declared() -> Mapping[str, Mapping[str, Any]]:
    """Inputs of scenario D's and A's resources."""
    return {
        name: each.inputs
        for stack in ("scenario-a", "scenario-d")
        for name, each in eks_mocks.program(stack).resources.items()
    }


def _make_role(declared: Mapping[str, Mapping[str, Any]], name: str, issuer: Issuer) -> str:
    """A declared role in the account, where the issuer has another name than under mocks."""
    trust = declared[f"{name}-role"]["assumeRolePolicy"]
    assert eks_mocks.ISSUER in trust
    made = boto3.client("iam", region_name=REGION).create_role(
        RoleName=name, AssumeRolePolicyDocument=trust.replace(eks_mocks.ISSUER, issuer.host)
    )
    return str(made["Role"]["Arn"])


@pytest.fixture
def operator(declared: Mapping[str, Mapping[str, Any]], issuer: Issuer) -> Identity:
    """Cilium's operator: the account that the stack declares, and the role that it names."""
    made = _make_role(declared, OPERATOR, issuer)
    account = declared["cilium-operator-account"]["metadata"]
    assert account["annotations"][ROLE_ANNOTATION] == made
    assert account["namespace"] == "kube-system"
    return Identity(made, account["name"])


Take = Callable[[str, str], str]


@pytest.fixture
def take(aws: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Take:
    """Call EC2 as a pod does that EKS's webhook has given a role; the role that called."""

    def call(role: str, token: str) -> str:
        file = tmp_path / "token"
        file.write_text(token)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ROLE_ARN", role)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
        aws.calls.clear()
        session = boto3.Session(region_name=REGION)
        session.client("ec2").describe_vpcs()
        assert aws.calls == ["sts:AssumeRoleWithWebIdentity", "ec2:DescribeVpcs"]
        credentials = session.get_credentials()
        assert credentials is not None
        by = sts_backends[NUMBER]["aws"].get_assumed_role_from_access_key(credentials.access_key)
        assert by is not None
        return by.role_arn

    return call


def test_the_operator_takes_its_role_by_its_token(
    operator: Identity, issuer: Issuer, take: Take
) -> None:
    assert take(operator.role, issuer.token(operator.service_account)) == operator.role


def test_the_vpc_cnis_daemon_takes_its_own(
    declared: Mapping[str, Mapping[str, Any]], issuer: Issuer, take: Take
) -> None:
    role = _make_role(declared, "vpc-cni", issuer)
    assert take(role, issuer.token(DAEMON)) == role


Forge = Callable[[Issuer], str]


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (lambda issuer: issuer.token("aws-node"), "AccessDenied"),
        (lambda issuer: issuer.token("cilium"), "AccessDenied"),
        (lambda issuer: issuer.token(OPERATOR, audience="kubernetes"), "InvalidIdentityToken"),
        (lambda issuer: issuer.token(OPERATOR, key=new_key()), "InvalidIdentityToken"),
        (lambda issuer: issuer.token(OPERATOR, seconds=-30), "ExpiredTokenException"),
        (lambda issuer: "no token", "InvalidIdentityToken"),
    ],
    ids=["another-cnis-account", "the-agents-account", "audience", "signature", "old", "no-token"],
)
def test_no_other_token_takes_it(
    operator: Identity, issuer: Issuer, take: Take, forge: Forge, code: str
) -> None:
    with pytest.raises(ClientError) as caught:
        take(operator.role, forge(issuer))
    assert caught.value.response["Error"]["Code"] == code


def test_another_clusters_issuer_takes_nothing(
    aws: AwsServer, operator: Identity, take: Take
) -> None:
    with listening("id/FF00") as other:
        aws.account.issuer_authority = other.authority
        with pytest.raises(ClientError, match="No OpenIDConnect provider found"):
            take(operator.role, other.token(operator.service_account))
        # Known to the account, it is still not the one that the role trusts.
        iam = boto3.client(
            "iam",
            region_name=REGION,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="example",
        )
        iam.create_open_id_connect_provider(Url=other.url, ClientIDList=[AUDIENCE])
        with pytest.raises(ClientError, match="Not authorized to perform"):
            take(operator.role, other.token(operator.service_account))


# -- what it may do, by the calls that labs have recorded ------------------------------------------

NODE_TAGS = {CLUSTER_TAG: "lab"}


def _requests(stack: str, caller: str) -> list[Request]:
    found = asked(read_calls(FIXTURES / f"{stack}.jsonl"), caller, NODE_TAGS)
    assert found
    return found


def _policy(stack: str) -> dict[str, Any]:
    vpc = vpc_of(read_calls(FIXTURES / f"{stack}.jsonl"))
    return operator_policy(PARTITION, REGION, ACCOUNT, "lab", vpc)


@pytest.mark.parametrize("stack", ["scenario-d", "scenario-e"])
def test_all_that_the_operator_calls_is_allowed(stack: str) -> None:
    assert missing(_policy(stack), _requests(stack, OPERATOR)) == []


def test_nothing_is_granted_that_no_operator_calls() -> None:
    assert needless(_policy("scenario-d"), _requests("scenario-d", OPERATOR)) == []


def _grants() -> list[tuple[str, str]]:
    policy = operator_policy(PARTITION, REGION, ACCOUNT, "lab", "arn")
    return [(each["Sid"], action) for each in policy["Statement"] for action in each["Action"]]


@pytest.mark.parametrize(("sid", "action"), _grants())
def test_every_grant_is_missed_where_it_is_taken_away(sid: str, action: str) -> None:
    policy = _policy("scenario-d")
    (statement,) = [each for each in policy["Statement"] if each["Sid"] == sid]
    statement["Action"].remove(action)
    lacking = missing(policy, _requests("scenario-d", OPERATOR))
    assert {each.action for each in lacking} == {action}


def test_what_is_another_clusters_is_out_of_reach() -> None:
    """The same calls, as if nodes and VPC were another stack's."""
    requests = _requests("scenario-d", OPERATOR)
    own = operator_policy(PARTITION, REGION, ACCOUNT, "another", f"{vpc_of([])}vpc-0f")
    refused = {each.action for each in missing(own, requests)}
    changes = {each.action for each in requests if ":Describe" not in each.action}
    # Tags may be set by whatever makes an interface, which is refused by itself.
    assert refused == changes - {"ec2:CreateTags"}


def test_a_grant_too_many_is_told() -> None:
    policy = _policy("scenario-d")
    policy["Statement"][0]["Action"].append("ec2:TerminateInstances")
    policy["Statement"][0]["Action"].append("ec2:DescribeVolumes")
    told = needless(policy, _requests("scenario-d", OPERATOR))
    assert told == ["Read: ec2:TerminateInstances on *", "Read: ec2:DescribeVolumes on *"]


def test_the_vpc_cnis_daemon_calls_what_awss_own_policy_allows() -> None:
    assert missing(managed("AmazonEKS_CNI_Policy"), _requests("scenario-a", DAEMON)) == []
