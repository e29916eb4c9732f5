"""Why a call of an AWS API failed, as one finding: what happened, and what mends it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
)

from components.eks.preflight.findings import Refusal

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


def permission_denied(error: Exception, service: str) -> str | None:
    """`ec2:DescribeInstances` where that permission is lacking, else None.

    :param service: the service's prefix in IAM actions.
    """
    if isinstance(error, ClientError) and code_of(error) in _DENIED:
        return f"{service}:{error.operation_name}"
    return None


def of_credentials(error: Exception) -> bool:
    """Whether no call can succeed with these credentials."""
    return isinstance(error, NoCredentialsError) or code_of(error) in _EXPIRED | _INVALID


def unreachable(error: Exception) -> bool:
    """Whether the endpoint did not answer at all."""
    return isinstance(error, ConnectionError | HTTPClientError)


def refusal(error: Exception, service: str, login: str) -> Refusal:
    """A failed call that the deployment cannot do without.

    :param login: the command that gets new credentials.
    """
    code = code_of(error)
    if code in _EXPIRED:
        return Refusal("credentials", "AWS says that they have expired", login)
    if code in _SKEWED or "Signature expired" in str(error):
        return Refusal("clock", "this machine's time is not AWS's", "set it, by NTP say")
    if code in _INVALID:
        return Refusal("credentials", f"AWS does not accept them ({code})", login)
    if permission := permission_denied(error, service):
        found = f"AWS denies {permission}{_denied_to(error)}"
        return Refusal("permissions", found, "allow it; docs/eks.md has the whole policy")
    if unreachable(error):
        fix = "check this machine's network, proxy (HTTPS_PROXY) and AWS_ENDPOINT_URL"
        return Refusal("network", f"{_endpoint(error, service)} cannot be reached", fix)
    return Refusal(f"AWS ({service})", first_line(error), "see https://health.aws.amazon.com")


def first_line(error: Exception) -> str:
    """The error's own words, in one line and without a full stop."""
    if isinstance(error, ClientError):
        text = f"{error.operation_name}: {error.response.get('Error', {}).get('Message', '')}"
        text = f"{text} ({code_of(error)})"
    else:
        text = str(error)
    return " ".join(text.split())[:300].rstrip(". ")


def _denied_to(error: Exception) -> str:
    """Who is denied it, as far as the message tells."""
    who = re.search(r"arn:aws[\w-]*:(?:sts|iam)::\d+:\S+", str(error))
    return f" to {who.group()}" if who else ""


def _endpoint(error: Exception, service: str) -> str:
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    if not url:
        return f"the endpoint of {service}"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
