"""The stand-in itself: its answers have AWS's shapes, and other processes can use it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from moto.core.utils import get_service_model

from tests.aws.account import Account
from tests.aws.answers import ANSWERS
from tests.aws.machine import set_up
from tests.aws.server import AwsServer
from tests.engine.eks.standins.aws import COMPUTED, LOOK_UPS

ROOT = Path(__file__).parents[2]
# What is asked of each operation, where its answer depends on it.
ASKED: dict[str, dict[str, Any]] = {
    "DescribeAddonVersions": {"addonName": "vpc-cni"},
    "DescribeCluster": {"name": "made"},
    "DescribeInstanceTypeOfferings": {
        "LocationType": "availability-zone",
        "Filters": [{"Name": "instance-type", "Values": ["m6i.xlarge"]}],
    },
    "GetAWSDefaultServiceQuota": {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"},
    "GetProducts": {
        "ServiceCode": "AmazonEKS",
        "Filters": [{"Field": "regionCode", "Value": "ap-northeast-2"}],
    },
    "GetServiceQuota": {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"},
    "SimulatePrincipalPolicy": {"ActionNames": ["ec2:RunInstances"]},
}


@pytest.mark.parametrize(("service", "operation"), sorted(ANSWERS))
def test_answers_have_the_shapes_of_botocores_models(service: str, operation: str) -> None:
    account = Account(
        zones=["ap-northeast-2a"],
        zones_with_type={"m6i.xlarge": ["ap-northeast-2a"]},
        clusters={"made": {"endpoint": "https://127.0.0.1:1", "tags": {"a": "b"}}},
    )
    answer = ANSWERS[service, operation](account, ASKED.get(operation, {}))
    assert answer
    shape = get_service_model(service).operation_model(operation).output_shape
    result = ParamValidator().validate(answer, shape)
    assert not result.has_errors(), result.generate_report()


@pytest.mark.parametrize(
    "answer",
    [*ANSWERS.values(), *COMPUTED.values(), *LOOK_UPS.values()],
    ids=lambda answer: answer.__name__,
)
def test_every_answer_says_where_it_is_from(answer: Callable[..., object]) -> None:
    assert re.search(r"\bSource: \S", answer.__doc__ or ""), answer.__name__


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("ec2", "describe_vpcs", "UnauthorizedOperation"),
        ("iam", "list_roles", "AccessDenied"),
        ("service-quotas", "list_services", "AccessDeniedException"),
        ("eks", "list_clusters", "AccessDeniedException"),
    ],
)
def test_refusals_are_what_boto3_takes_for_one_in_each_protocol(
    aws: AwsServer, service: str, call: str, code: str
) -> None:
    name = "".join(part.capitalize() for part in call.split("_"))
    aws.account.denied = [f"{service.replace('-', '')}:{name}"]
    client: Any = boto3.client(service, region_name="eu-west-1")  # type: ignore[call-overload]
    with pytest.raises(ClientError) as caught:
        getattr(client, call)()
    assert caught.value.response["Error"]["Code"] == code
    assert f"to perform: {aws.account.denied[0]}" in caught.value.response["Error"]["Message"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """A stand-in in another process: its URL, its account's file and its log."""
    account, log = tmp_path / "account.json", tmp_path / "calls"
    account.write_text("{}")
    words: list[str | Path] = [sys.executable, "-m", "tests.aws.server"]
    words += ["--account", account, "--log", log]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip(), account, log
        finally:
            running.terminate()


def test_another_process_changes_in_the_middle(
    process: tuple[str, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, account, log = process
    set_up(monkeypatch, tmp_path, url)
    once = Config(retries={"total_max_attempts": 1})
    sts = boto3.client("sts", region_name="ap-northeast-2", config=once)
    eks = boto3.client("eks", region_name="ap-northeast-2", config=once)
    assert sts.get_caller_identity()["Account"] == "123456789012"
    cluster = {"endpoint": "https://127.0.0.1:1", "certificateAuthority": {"data": "Q0E="}}
    account.write_text(json.dumps({"clusters": {"made": cluster}}))
    result = eks.describe_cluster(name="made")["cluster"]
    assert (result["endpoint"], result["status"]) == ("https://127.0.0.1:1", "ACTIVE")
    account.write_text(json.dumps({"credentials": "expired"}))
    with pytest.raises(ClientError, match="ExpiredToken"):
        sts.get_caller_identity()
    assert log.read_text().split() == [
        "sts:GetCallerIdentity",
        "eks:DescribeCluster",
        "sts:GetCallerIdentity",
    ]
