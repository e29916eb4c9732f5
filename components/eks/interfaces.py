"""Network interfaces (ENIs) that a CNI has left behind, and how they are got rid of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from components.eks.preflight.aws import connect
from components.eks.preflight.credentials import CredentialsError, open_session
from components.eks.preflight.failures import first_line

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, NetworkInterfaceTypeDef

# EC2 detaches the interfaces of a terminated instance within a minute or two.
PATIENCE_SECONDS = 300
_PAUSE_SECONDS = 5
_GONE = "InvalidNetworkInterfaceID.NotFound"
# Between being listed as available and being deleted, EC2 may still hold it.
_BUSY = ("InvalidNetworkInterface.InUse", "InvalidParameterValue", "OperationNotPermitted")


class LeftBehindError(Exception):
    """Interfaces cannot be removed: they are still in use, or AWS refuses."""


def remove_from(
    profile: str | None, region: str, vpc: str, tags: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """:func:`remove_left_behind` in a region, by the credentials of a profile.

    :raises LeftBehindError: also where there are no credentials, or AWS refuses.
    """
    try:
        ec2 = connect(open_session(profile, region), region).ec2
        remove_left_behind(ec2, vpc, tags, say)
    except (CredentialsError, BotoCoreError, ClientError) as error:
        raise LeftBehindError(first_line(error)) from None


def remove_left_behind(
    ec2: EC2Client,
    vpc: str,
    tags: Mapping[str, str],
    say: Callable[[str], None],
    *,
    patience: float = PATIENCE_SECONDS,
    pause: float = _PAUSE_SECONDS,
) -> None:
    """Delete the ENIs of a VPC that bear all of some tags, once nothing uses them.

    Only ENIs in status `available` are deleted; others are waited for, up to ``patience`` seconds.

    :raises LeftBehindError: some are still in use then; it names them and what holds them.
    :raises botocore.exceptions.ClientError: EC2 refuses.
    """
    retrying = Retrying(
        stop=stop_after_delay(patience), wait=wait_fixed(pause), retry=retry_if_result(bool)
    )
    try:
        retrying(lambda: _sweep(ec2, vpc, tags, say))
    except RetryError as error:
        left: Sequence[NetworkInterfaceTypeDef] = error.last_attempt.result()
        raise LeftBehindError(
            f"network interfaces are still in use after {patience:.0f} s: "
            f"{', '.join(map(_described, left))}"
        ) from None


def _sweep(
    ec2: EC2Client, vpc: str, tags: Mapping[str, str], say: Callable[[str], None]
) -> list[NetworkInterfaceTypeDef]:
    """Delete what can be deleted now; the rest."""
    left = []
    for interface in _found(ec2, vpc, tags):
        if interface.get("Status") == "available" and _deleted(ec2, interface):
            say(f"deleted the network interface {interface['NetworkInterfaceId']}, left by the CNI")
        else:
            left.append(interface)
    if left:
        say(f"waiting for network interfaces: {', '.join(map(_described, left))}")
    return left


def _found(ec2: EC2Client, vpc: str, tags: Mapping[str, str]) -> Iterator[NetworkInterfaceTypeDef]:
    filters: list[FilterTypeDef] = [{"Name": "vpc-id", "Values": [vpc]}]
    filters += [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
    for page in ec2.get_paginator("describe_network_interfaces").paginate(Filters=filters):
        yield from page["NetworkInterfaces"]


def _deleted(ec2: EC2Client, interface: NetworkInterfaceTypeDef) -> bool:
    try:
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _BUSY:
            return False
        if code != _GONE:
            raise
    return True


def _described(interface: NetworkInterfaceTypeDef) -> str:
    holder = interface.get("Attachment", {}).get("InstanceId") or interface.get("Status", "unknown")
    return f"{interface['NetworkInterfaceId']} ({holder})"
