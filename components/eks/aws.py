"""Calls of AWS: boto3 clients with bounded waits, calls in parallel, and failures as findings."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
)

from cni.settings import Problem

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_sts import STSClient

P = ParamSpec("P")
T = TypeVar("T")


# -- findings ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem whose cause lies outside the stack's settings: credentials, a tool, a quota."""

    cause: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.reason}. Fix: {self.fix}"


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that the reader should know and that refuses nothing."""

    text: str


Finding = Problem | Refusal | Caution
"""What a check yields. A `Problem` is about a setting, `eks.version` for example."""

# -- clients ----------------------------------------------------------------------------------

# A call that is not answered within these seconds is tried once more; then it is a finding.
_BOUNDS = Config(
    connect_timeout=4,
    read_timeout=8,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=16,
)
# A region of each partition that is enabled for every account.
_HOME = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients of one account: those of the region, and those of the partition's home region."""

    ec2: EC2Client
    eks: EKSClient
    quotas: ServiceQuotasClient
    sts: STSClient
    home_ec2: EC2Client
    iam: IAMClient
    pricing: PricingClient


def connect(session: boto3.Session, region: str) -> Clients:
    """Clients for a region; nothing is called yet.

    :raises botocore.exceptions.UnknownRegionError: no partition of AWS has such a region.
    """
    home = _HOME.get(session.get_partition_for_region(region), region)
    return Clients(
        ec2=session.client("ec2", region_name=region, config=_BOUNDS),
        eks=session.client("eks", region_name=region, config=_BOUNDS),
        quotas=session.client("service-quotas", region_name=region, config=_BOUNDS),
        # A region that is not enabled refuses valid credentials, so the caller's identity and the
        # list of regions come from the home region.
        sts=session.client("sts", region_name=home, config=_BOUNDS),
        home_ec2=session.client("ec2", region_name=home, config=_BOUNDS),
        iam=session.client("iam", region_name=home, config=_BOUNDS),
        pricing=session.client("pricing", region_name=_pricing_region(region), config=_BOUNDS),
    )


def _pricing_region(region: str) -> str:
    """The nearest of the three regions that serve the price list, which is the same in all."""
    continent = region.partition("-")[0]
    return {"ap": "ap-south-1", "eu": "eu-central-1"}.get(continent, "us-east-1")


# -- failed calls -----------------------------------------------------------------------------

# The codes differ between the APIs: EC2 has its own, and JSON services append "Exception".
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_INVALID = {
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "UnrecognizedClient",
    "AuthFailure",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
_SKEWED = {"RequestTimeTooSkewed"}

AwsError = (BotoCoreError, ClientError)
"""What a call through boto3 can raise."""


def code_of(error: Exception) -> str:
    """The API's error code, or the exception's own name where no API has answered."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__


def first_line(error: Exception) -> str:
    """The error's own words, in one line and without a full stop."""
    if isinstance(error, ClientError):
        text = f"{error.operation_name}: {error.response.get('Error', {}).get('Message', '')}"
        text = f"{text} ({code_of(error)})"
    else:
        text = str(error)
    return " ".join(text.split())[:300].rstrip(". ")


def refusal(error: Exception, service: str, login: str) -> Refusal:
    """The finding for a failed call that the deployment cannot do without.

    :param service: the service's prefix in IAM actions, `ec2` for example.
    :param login: the command that gets new credentials.
    """
    code = code_of(error)
    if code in _EXPIRED:
        return Refusal("credentials", "AWS says that they have expired", login)
    if code in _SKEWED or "Signature expired" in str(error):
        return Refusal("clock", "this machine's time is not AWS's", "set it, by NTP say")
    if code in _INVALID:
        return Refusal("credentials", f"AWS does not accept them ({code})", login)
    if permission := _denied_permission(error, service):
        # The message usually tells who is denied it.
        who = re.search(r"arn:aws[\w-]*:(?:sts|iam)::\d+:\S+", str(error))
        reason = f"AWS denies {permission}{f' to {who.group()}' if who else ''}"
        return Refusal("permissions", reason, "allow it; docs/eks.md has the whole policy")
    if isinstance(error, ConnectionError | HTTPClientError):
        fix = "check this machine's network, proxy (HTTPS_PROXY) and AWS_ENDPOINT_URL"
        return Refusal("network", f"{_endpoint(error, service)} cannot be reached", fix)
    return Refusal(f"AWS ({service})", first_line(error), "see https://health.aws.amazon.com")


def _denied_permission(error: Exception, service: str) -> str | None:
    """`ec2:DescribeInstances` where that permission is lacking, else None."""
    if isinstance(error, ClientError) and code_of(error) in _DENIED:
        return f"{service}:{error.operation_name}"
    return None


def _endpoint(error: Exception, service: str) -> str:
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    if not url:
        return f"the endpoint of {service}"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


# -- calls in parallel ------------------------------------------------------------------------

_WORKERS = 24  # more than any preflight has calls


@dataclass(frozen=True, slots=True)
class Pending(Generic[T]):
    """A call under way, and the service whose permission it takes."""

    service: str
    answer: Future[T]


class Calls:
    """Runs calls in parallel, and keeps what the failed ones say.

    :param login: the command that gets new credentials, for the findings.
    """

    def __init__(self, login: str) -> None:
        self._login = login
        self._pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="preflight")
        self.findings: list[Finding] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What still runs is bounded by its own time-outs, and nobody waits for its answer.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def start(
        self, service: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Pending[T]:
        """Start a call.

        :param service: the prefix of the IAM actions that it takes, `ec2` for example.
        """
        return Pending(service, self._pool.submit(call, *args, **kwargs))

    def required(self, call: Pending[T]) -> T | None:
        """The answer that the deployment cannot do without; a failure is noted as a problem."""
        try:
            return call.answer.result()
        except AwsError as error:
            self.findings.append(refusal(error, call.service, self._login))
            return None

    def optional(self, call: Pending[T], unchecked: str) -> T | None:
        """The answer that only makes a check better; a failure is noted as a warning.

        :param unchecked: what is not checked without it, as the warning says.
        """
        try:
            return call.answer.result()
        except AwsError as error:
            reason = self._reason(error, call.service)
            if not about_credentials(error):
                self.findings.append(Caution(f"not checked: {unchecked} ({reason})"))
            return None

    def answer_or_reason(self, call: Pending[T]) -> T | str:
        """The answer, or a few words why there is none, for a caller that has another source."""
        try:
            return call.answer.result()
        except AwsError as error:
            return self._reason(error, call.service)

    def _reason(self, error: Exception, service: str) -> str:
        """Why a call has failed; that credentials are of no use is always a problem."""
        if about_credentials(error):
            self.findings.append(refusal(error, service, self._login))
        permission = _denied_permission(error, service)
        return f"AWS denies {permission}" if permission else first_line(error)


def about_credentials(error: Exception) -> bool:
    """Whether no call can succeed with these credentials."""
    return isinstance(error, NoCredentialsError) or code_of(error) in _EXPIRED | _INVALID
