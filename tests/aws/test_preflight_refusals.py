"""Preflight where something is in the way: one line for each, all of them at once."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.eks.preflight import machine
from tests.aws.conftest import Check
from tests.aws.machine import put_aws_cli
from tests.aws.server import AwsServer

SET = "Pulumi.scenario-e.yaml: cni-benchmark:eks"


def end_in(minutes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary credentials, as `aws configure export-credentials` exports them."""
    end = datetime.now(UTC) + timedelta(minutes=minutes)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", end.isoformat(timespec="seconds"))


def test_expired_credentials(check: Check, aws: AwsServer) -> None:
    """Nothing else is asked with them, so there is one line."""
    aws.account.credentials = "expired"
    result, report = check()
    assert report.problems == (
        "credentials: AWS says that they have expired. Fix: aws configure sso, or export new "
        "AWS_ACCESS_KEY_ID, … variables",
    )
    assert result.account is None
    assert set(aws.calls) <= {"sts:GetCallerIdentity", "ec2:DescribeRegions"}


def test_credentials_that_aws_does_not_know(check: Check, aws: AwsServer) -> None:
    aws.account.credentials = "invalid"
    (problem,) = check()[1].problems
    assert problem.startswith("credentials: AWS does not accept them (InvalidClientTokenId).")


def test_a_session_that_ends_before_the_run_would(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 20 minutes to create and up to 12 to measure."""
    end_in(30, monkeypatch)
    (problem,) = check()[1].problems
    expected = (
        r"credentials: they end at \d\d:\d\d UTC, in 30 min, and this run may take 32 min\. Fix: "
    )
    assert re.match(expected, problem)
    end_in(34, monkeypatch)
    assert check()[1].problems == ()
    # Measured longer, the same session is too short.
    assert "may take" in check(runs=30)[1].problems[0]


def test_a_session_that_has_ended(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    end_in(-10, monkeypatch)
    (problem,) = check()[1].problems
    assert problem.startswith("credentials: they ended at ")


def test_no_credentials(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert check()[1].problems == (
        "credentials: AWS has none for you. Fix: aws configure sso, or pulumi config set --path "
        "eks.profile <your profile>",
    )


def test_a_profile_that_is_not_there(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".aws/config").write_text("[profile work]\nregion = eu-west-1\n")
    assert check({"eks.profile": "wrok"})[1].problems == (
        f"{SET}.profile: wrok: no such AWS profile (did you mean work?); there are work. "
        "Fix: pulumi config set --path 'eks.profile' work -s scenario-e",
    )
    monkeypatch.setenv("AWS_PROFILE", "wrok")
    (problem,) = check()[1].problems
    assert problem.startswith("credentials: AWS_PROFILE names a profile that ~/.aws/config does")


def test_unreachable(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    assert check()[1].problems == (
        f"network: {url} cannot be reached. Fix: check this machine's network, proxy "
        "(HTTPS_PROXY) and AWS_ENDPOINT_URL",
    )


def test_a_service_whose_connections_break(check: Check, aws: AwsServer) -> None:
    aws.account.silent = ["ec2"]
    problems = check()[1].problems
    assert problems == (
        f"network: {aws.url} cannot be reached. Fix: check this machine's network, proxy "
        "(HTTPS_PROXY) and AWS_ENDPOINT_URL",
    )


def test_a_region_that_does_not_exist(check: Check) -> None:
    changes: dict[str, object] = {
        "eks.region": "ap-northeast-9",
        "eks.zones": ["ap-northeast-9a", "ap-northeast-9c"],
        "eks.nodeZone": "ap-northeast-9a",
    }
    assert check(changes)[1].problems == (
        f"{SET}.region: ap-northeast-9: no region of AWS (did you mean ap-northeast-2?). "
        "Fix: pulumi config set --path 'eks.region' ap-northeast-2 -s scenario-e",
    )


def test_a_region_that_is_not_enabled(check: Check, aws: AwsServer) -> None:
    aws.account.closed_regions = ["ap-east-1"]
    changes: dict[str, object] = {
        "eks.region": "ap-east-1",
        "eks.zones": ["ap-east-1a", "ap-east-1b"],
        "eks.nodeZone": "ap-east-1a",
    }
    assert check(changes)[1].problems == (
        "region: ap-east-1 is not enabled for this account. Fix: aws account enable-region "
        "--region-name ap-east-1 (takes some minutes)",
    )


def test_one_zone_only(check: Check, aws: AwsServer) -> None:
    aws.account.zones = ["ap-northeast-2a"]
    (problem,) = check()[1].problems
    assert problem.startswith(
        f"{SET}.region: ap-northeast-2: EKS wants two zones, and ap-northeast-2 offers this "
        "account only ap-northeast-2a for a cluster."
    )


def test_a_zone_that_the_account_does_not_have(check: Check, aws: AwsServer) -> None:
    aws.account.zones = ["ap-northeast-2a", "ap-northeast-2b"]
    assert check()[1].problems == (
        f"{SET}.zones[1]: ap-northeast-2c: ap-northeast-2 has no such zone; there are "
        "ap-northeast-2a, ap-northeast-2b. Fix: pulumi config set --path 'eks.zones[1]' "
        "ap-northeast-2b -s scenario-e",
    )


def test_the_nodes_zone_does_not_have_the_type(check: Check, aws: AwsServer) -> None:
    aws.account.zones_with_type = {"m6i.xlarge": ["ap-northeast-2c", "ap-northeast-2d"]}
    assert check()[1].problems == (
        f"{SET}.nodeZone: ap-northeast-2a: has no m6i.xlarge; ap-northeast-2c, ap-northeast-2d "
        "have. Fix: pulumi config set --path 'eks.nodeZone' ap-northeast-2c -s scenario-e",
    )


def test_only_a_zone_outside_the_cluster_has_the_type(check: Check, aws: AwsServer) -> None:
    """Both settings that have to change are reported at once."""
    aws.account.zones_with_type = {"m6i.xlarge": ["ap-northeast-2d"]}
    assert [line.partition("Fix: ")[2] for line in check()[1].problems] == [
        "pulumi config set --path 'eks.zones[0]' ap-northeast-2d -s scenario-e",
        "pulumi config set --path 'eks.nodeZone' ap-northeast-2d -s scenario-e",
    ]


def test_a_region_without_the_type(check: Check) -> None:
    assert check({"eks.instanceType": "m6i.xlarg"})[1].problems[0] == (
        f"{SET}.instanceType: m6i.xlarg: ap-northeast-2 does not have this instance type (did "
        "you mean m6i.xlarge?). Fix: pulumi config set --path 'eks.instanceType' m6i.xlarge "
        "-s scenario-e"
    )


def test_a_type_too_small_for_the_pods(check: Check) -> None:
    problems = check({"eks.instanceType": "t3.small"})[1].problems
    assert any("let a node hold 11 pods" in line for line in problems)


def test_a_version_that_is_gone(check: Check) -> None:
    assert check({"eks.version": "1.31"})[1].problems == (
        f"{SET}.version: 1.31: EKS does not offer it any more: its extended support ended on "
        "2026-11-26; it offers 1.32 (extended support), 1.33 (extended support), 1.34, 1.35, 1.36 "
        "(for all stacks at once: eks.version in Pulumi.yaml). Fix: pulumi config set "
        "--path 'eks.version' 1.34 -s scenario-e",
    )


def test_a_vpc_cni_that_the_kubernetes_version_does_not_have(check: Check) -> None:
    study = {"scenario.cniVersion": "1.19.2"}
    result, report = check(study, stack="scenario-a")
    assert report.problems == (
        "Pulumi.scenario-a.yaml: cni-benchmark:scenario.cniVersion: 1.19.2: EKS 1.35 in "
        "ap-northeast-2 offers the VPC CNI 1.21.1, 1.22.4, 1.23.2. Fix: pulumi config set --path "
        "'scenario.cniVersion' 1.21.1 -s scenario-a",
    )
    assert result.cni_build is None
    result, report = check({**study, "eks.version": "1.32"}, stack="scenario-a")
    assert report.problems == ()
    assert result.cni_build == "v1.19.2-eksbuild.5"
    # Which of them there are for a version that is not offered is another question.
    (problem,) = check({"eks.version": "1.29"}, stack="scenario-a")[1].problems
    assert "eks.version" in problem


def test_the_ceiling(check: Check) -> None:
    (problem,) = check({"eks.maxCostUsd": 0.5})[1].problems
    assert problem.startswith(f"{SET}.maxCostUsd: 0.5: this run is estimated at about $0.8")
    assert problem.endswith("Fix: pulumi config set --path 'eks.maxCostUsd' 1 -s scenario-e")
    assert "3 x m6i.xlarge $0.708" in problem


def test_no_aws_cli(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_aws_cli(tmp_path / "bin", "aws-cli/1.22.34 Python/3.10.6 Linux/5.15")
    (problem,) = check()[1].problems
    assert problem.startswith("AWS CLI: version 1.22.34 is too old: it takes 1.24.0 or later.")
    (tmp_path / "bin/aws").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (problem,) = check()[1].problems
    assert problem.startswith("AWS CLI: not found on PATH, and the cluster's kubeconfig runs")


CHECKIP = "https://checkip.amazonaws.com"


def test_an_address_that_cannot_be_found(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise machine.CallerUnknownError(
            "https://checkip.amazonaws.com does not answer (timed out)"
        )

    monkeypatch.setattr(machine, "public_address", fail)
    result, report = check({"eks.apiCidrs": ["198.51.100.0/24", "caller"]})
    assert report.problems == (
        f"{SET}.apiCidrs[1]: caller: https://checkip.amazonaws.com does not answer (timed out); "
        "name the networks that this machine reaches AWS from. Fix: pulumi config set --path "
        "'eks.apiCidrs[1]' '<your public address>/32' -s scenario-e",
    )
    assert result.facts is not None


def test_an_image_that_is_gone(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = "ghcr.io/group/tool:1"
    monkeypatch.setattr(
        machine,
        "look_up_images",
        lambda wanted: {**dict.fromkeys(wanted, "there"), gone: "missing"},
    )
    assert check()[1].problems == (
        f"images: ghcr.io has no {gone} (any more). Fix: name another version in "
        "bench/workloads.py",
    )


def test_all_at_once(
    check: Check, aws: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_in(20, monkeypatch)
    put_aws_cli(tmp_path / "bin", "aws-cli/2.6.4 Python/3.9.11 Linux/6.1")
    aws.account.zones_with_type = {"m6i.xlarge": ["ap-northeast-2c"]}
    aws.account.quotas["L-1216C47A"] = 1
    problems = check({"eks.maxCostUsd": 0.5, "eks.version": "1.31"})[1].problems
    causes = [line.partition("cni-benchmark:")[2] or line for line in problems]
    assert [cause.partition(": ")[0] for cause in causes] == [
        "AWS CLI",
        "credentials",
        "eks.version",
        "eks.nodeZone",
        "quota",
        "eks.maxCostUsd",
    ]
    assert all(line.count("Fix: ") == 1 and "\n" not in line for line in problems)
