"""The preflight's checks as pure functions: of regions, versions, types, add-ons, quotas, tools."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.stub import Stubber

from cni.platform import PlatformFacts, known_facts
from cni.settings import Problem
from components.eks.aws import Caution, Refusal, about_credentials, refusal
from components.eks.preflight import account, machine, offers, report
from components.eks.preflight.offers import Version, Zone
from components.eks.settings import EksSettings
from components.settings import StackFile
from tests.components.stack_config import read

if TYPE_CHECKING:
    from mypy_boto3_eks import EKSClient

TODAY = date(2026, 11, 28)
VERSIONS = (
    Version("1.32", True, date(2027, 3, 23)),
    Version("1.33", True, date(2027, 7, 29)),
    Version("1.34", False, date(2026, 12, 2)),
    Version("1.35", False, date(2027, 3, 27)),
    Version("1.36", False, date(2027, 8, 2)),
)


def eks(**changes: object) -> EksSettings:
    return read("scenario-e", {f"eks.{name}": value for name, value in changes.items()}).section(
        EksSettings
    )


def facts(name: str = "m6i.xlarge") -> PlatformFacts:
    result = known_facts(name)
    assert result is not None
    return result


def client_error(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "DescribeVpcs")


def test_a_finding_is_told_once_and_settings_with_their_command() -> None:
    same = Refusal("network", "down", "wait")
    setting = Problem("eks.version", "1.30", "gone", "eks.version", "1.34")
    lines = report([same, Caution("mind"), setting, same, Caution("mind")], StackFile("p", "s"))
    assert lines.problems == (
        "network: down. Fix: wait",
        "Pulumi.s.yaml: p:eks.version: 1.30: gone. "
        "Fix: pulumi config set --path 'eks.version' 1.34 -s s",
    )
    assert lines.warnings == ("mind",)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (client_error("ExpiredToken"), "credentials: AWS says that they have expired. Fix: log in"),
        (client_error("RequestExpired"), "credentials: AWS says that they have expired."),
        (client_error("AuthFailure"), "credentials: AWS does not accept them (AuthFailure)."),
        (
            client_error("SignatureDoesNotMatch", "Signature expired: 20261101T0000Z is now"),
            "clock: this machine's time is not AWS's.",
        ),
        (
            client_error("UnauthorizedOperation", "arn:aws:sts::1:assumed-role/R/s is not"),
            "permissions: AWS denies ec2:DescribeVpcs to arn:aws:sts::1:assumed-role/R/s. Fix:",
        ),
        (
            EndpointConnectionError(endpoint_url="https://ec2.eu-west-1.amazonaws.com/path"),
            "network: https://ec2.eu-west-1.amazonaws.com cannot be reached.",
        ),
        (
            client_error("InternalError", "An internal\n error."),
            "AWS (ec2): DescribeVpcs: An internal error. (InternalError). Fix: see",
        ),
    ],
)
def test_a_failed_call_is_one_line(error: Exception, line: str) -> None:
    text = str(refusal(error, "ec2", "log in"))
    assert text.startswith(line)
    assert "\n" not in text


def test_credentials_that_fail_one_call_fail_all() -> None:
    assert about_credentials(NoCredentialsError())
    assert about_credentials(client_error("ExpiredTokenException"))
    assert not about_credentials(client_error("UnauthorizedOperation"))


def test_a_region_by_its_name_alone() -> None:
    assert list(offers.check_region("eu-west-1", ["eu-west-1"])) == []
    (problem,) = offers.check_region("eu-west-l", ["eu-west-1", "us-east-1"])
    assert isinstance(problem, Problem)
    assert "did you mean eu-west-1?" in problem.reason


def test_a_zone_where_eks_puts_no_cluster() -> None:
    """Its id is the place; the name is different for every account."""
    settings = eks(region="us-east-1", zones=["us-east-1a", "us-east-1b"], nodeZone="us-east-1b")
    zones = [
        Zone("us-east-1a", "use1-az1", True),
        Zone("us-east-1b", "use1-az3", True),
        Zone("us-east-1c", "use1-az4", False),
        Zone("us-east-1d", "use1-az6", True),
    ]
    result = list(offers.check_zones(settings, zones))
    assert [(p.key, p.fix_value) for p in result if isinstance(p, Problem)] == [
        ("eks.zones[1]", "us-east-1d"),
        ("eks.nodeZone", "us-east-1d"),
    ]


def test_the_table_of_support_on_a_day() -> None:
    assert offers.versions_by_table(TODAY) == VERSIONS
    # A version is gone on the day that the calendar names.
    day = date(2026, 11, 26)
    assert offers.versions_by_table(day)[0].name == "1.32"
    assert offers.versions_by_table(day - timedelta(days=1))[0] == Version("1.31", True, day)


def test_a_version_in_extended_support_says_so() -> None:
    (finding,) = offers.check_version("1.32", VERSIONS, TODAY, existing=None)
    assert finding == Caution(
        "Kubernetes 1.32 is in extended support, which ends on 2027-03-23: EKS charges the "
        "surcharge that the estimate has"
    )
    (finding,) = offers.check_version("1.32", VERSIONS, date(2027, 1, 23), existing=None)
    assert isinstance(finding, Caution)
    assert finding.text.endswith("estimate has; then EKS offers it no more")


def test_a_version_whose_standard_support_ends_soon_says_so() -> None:
    (finding,) = offers.check_version("1.34", VERSIONS, TODAY, existing=None)
    assert isinstance(finding, Caution)
    assert "goes into extended support on 2026-12-02" in finding.text
    assert list(offers.check_version("1.35", VERSIONS, TODAY, existing=None)) == []


# 1.34 would have the surcharge within days.
@pytest.mark.parametrize(("wanted", "proposed"), [("1.31", "1.35"), ("1.40", "1.36")])
def test_a_version_that_is_not_offered_has_the_nearest_without_surcharge(
    wanted: str, proposed: str
) -> None:
    (finding,) = offers.check_version(wanted, VERSIONS, TODAY, existing=None)
    assert isinstance(finding, Problem)
    assert finding.fix_value == proposed
    assert "; it offers 1.32 (extended support), 1.33 (extended support), 1.34, 1.35, 1.36 (" in (
        finding.reason
    )
    ended = "does not offer it any more: its extended support ended on 2026-11-26;"
    assert (ended in finding.reason) == (wanted == "1.31")


def test_a_type_of_an_architecture_without_images() -> None:
    odd = dataclasses.replace(facts(), arch="i386")
    (finding,) = offers.check_type_fits(eks(), odd, pods=10)
    assert isinstance(finding, Problem)
    assert finding.reason == "its architecture is i386; nodes' images are for x86_64 and arm64"


def test_a_type_that_cannot_be_in_the_placement_group_that_was_asked_for() -> None:
    apart = dataclasses.replace(facts(), cluster_placement=False)
    asked = eks().model_copy(update={"placement_group": True})
    (finding,) = offers.check_type_fits(asked, apart, pods=10)
    assert isinstance(finding, Problem)
    assert (finding.key, finding.fix_value) == ("eks.placementGroup", False)
    assert list(offers.check_type_fits(eks(), apart, pods=10)) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("m6i.xlarge", "L-1216C47A"),
        ("im4gn.large", "L-1216C47A"),
        ("is4gen.large", "L-1216C47A"),
        ("t3.large", "L-1216C47A"),
        ("trn1.2xlarge", "L-2C3B7624"),
        ("inf2.xlarge", "L-1945791B"),
        ("g4dn.xlarge", "L-DB2E81BA"),
        ("gr6.4xlarge", "L-DB2E81BA"),
        ("dl1.24xlarge", "L-6E869C2A"),
        ("hpc7g.4xlarge", "L-F7808C92"),
        ("u-6tb1.56xlarge", "L-43DA4232"),
        ("u7i-12tb.224xlarge", "L-43DA4232"),
        ("x2idn.16xlarge", "L-7295265B"),
        ("p5.48xlarge", "L-417A185B"),
    ],
)
def test_a_type_counts_against_its_familys_quota(name: str, code: str) -> None:
    assert account.vcpu_quota(name).code == code


@pytest.mark.parametrize(
    ("limit", "ours", "others", "fits"),
    [(12, 0, 0, True), (12, 12, 0, True), (12, 0, 1, False), (20, 12, 8, True), (19, 12, 8, False)],
)
def test_what_is_ours_counts_once(limit: float, ours: int, others: int, fits: bool) -> None:
    use = account.Use(ours, others)
    result = list(account.check_quota(account.VPCS, limit, use, 12, "eu-west-1"))
    assert (not result) is fits


@pytest.mark.parametrize(
    ("printed", "fits"),
    [
        ("aws-cli/2.31.0 Python/3.13.7 Linux/6.1 exe/x86_64.amzn.2023", True),
        ("aws-cli/2.7.0 Python/3.9", True),
        ("aws-cli/2.6.4 Python/3.9", False),
        ("aws-cli/1.24.0 Python/3.9", True),
        ("aws-cli/1.45.11 Python/3.11.7 Linux/6.18 botocore/1.43.11", True),
        ("aws-cli/1.23.13 Python/3.9", False),
        ("aws: command is a wrapper", False),
        ("", False),
        (None, False),
    ],
)
def test_the_aws_cli_must_be_new_enough(printed: str | None, fits: bool) -> None:
    assert (not list(machine.check_aws_cli(printed))) is fits


def test_the_caller_is_one_address_among_the_networks() -> None:
    cidrs = ("198.51.100.0/24", "caller", "203.0.113.7/32")
    assert machine.resolve_caller(cidrs, "203.0.113.7") == ("198.51.100.0/24", "203.0.113.7/32")


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"<html>proxy login</html>", "answered '<html>"), (None, "does not answer")],
)
def test_an_address_that_is_none_is_an_error(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | None, said: str
) -> None:
    def answering(url: str, timeout: float) -> io.BytesIO:
        if answer is None:
            raise TimeoutError("timed out")
        return io.BytesIO(answer)

    monkeypatch.setattr("urllib.request.urlopen", answering)
    with pytest.raises(machine.CallerUnknownError, match=said):
        machine.public_address()


# -- the build of the VPC CNI ------------------------------------------------------------------

OFFERS = ["v1.20.4-eksbuild.1", "v1.19.2-eksbuild.1", "v1.19.2-eksbuild.10", "v1.19.2-eksbuild.5"]


def _page(builds: Iterable[str], token: str | None = None) -> dict[str, Any]:
    """An answer in the shape that botocore's model of EKS has; the stubber checks it."""
    versions = [{"addonVersion": each} for each in builds]
    page: dict[str, Any] = {"addons": [{"addonName": "vpc-cni", "addonVersions": versions}]}
    return {**page, **({"nextToken": token} if token else {})}


@pytest.fixture
def client() -> EKSClient:
    return boto3.client(
        "eks", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def test_all_pages_of_offers_are_read(client: EKSClient) -> None:
    asked = {"addonName": "vpc-cni", "kubernetesVersion": "1.31"}
    with Stubber(client) as stub:
        stub.add_response("describe_addon_versions", _page(OFFERS[:2], "more"), asked)
        stub.add_response(
            "describe_addon_versions", _page(OFFERS[2:]), {**asked, "nextToken": "more"}
        )
        assert offers.addon_builds(client, "vpc-cni", "1.31") == tuple(OFFERS)


def test_the_latest_build_is_by_number() -> None:
    assert offers.latest_build(OFFERS, "1.19.2") == "v1.19.2-eksbuild.10"
    assert offers.latest_build(OFFERS, "1.19.20") is None
    assert offers.latest_build(["v1.19.2", "v1.19.2-eksbuild"], "1.19.2") is None


def _checked(builds: list[str]) -> list[Problem]:
    findings = offers.check_addon("the VPC CNI", "1.19.2", builds, eks())
    return [each for each in findings if isinstance(each, Problem)]


def test_a_version_that_is_offered_is_no_finding() -> None:
    assert _checked(OFFERS) == []


@pytest.mark.parametrize(
    ("builds", "listed", "fix"),
    [
        (["v1.20.4-eksbuild.1", "v1.9.0-eksbuild.1", "v1.21.1-eksbuild.8"], "the VPC CNI 1.9.0, "
         "1.20.4, 1.21.1", "1.20.4"),
        (["v1.9.0-eksbuild.1"], "the VPC CNI 1.9.0", "1.9.0"),
        ([], "no VPC CNI", None),
    ],
)  # fmt: skip
def test_a_version_that_is_not_offered_is_refused_with_those_that_are(
    builds: list[str], listed: str, fix: str | None
) -> None:
    (problem,) = _checked(builds)
    assert problem.key == problem.fix_key == "scenario.cniVersion"
    assert problem.reason == f"EKS 1.35 in ap-northeast-2 offers {listed}"
    assert problem.fix_value == fix
