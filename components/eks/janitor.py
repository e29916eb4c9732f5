"""Removes, on destroy, the network interfaces (ENIs) that the CNI has left in the VPC.

A node that ends takes its attached ENIs along. What remains are those that the CNI had just made,
and they keep subnets, security groups and the VPC from being deleted. This resource stands between
the CNI and its permissions: on destroy its turn comes when no node and no CNI is there any more.

A stack finds the provider again by its import path for as long as the stack lives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pulumi
from botocore.exceptions import BotoCoreError, ClientError
from pulumi.dynamic import CreateResult, Resource, UpdateResult
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from components.dynamic import VERSION, Provider, UserError, inputs
from components.eks.aws import code_of, connect, first_line
from components.eks.credentials import CredentialsError, open_profile

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, NetworkInterfaceTypeDef

_INPUTS = ("cluster", "vpc", "region", "profile", "tags", "version")
# EC2 detaches the interfaces of a terminated instance within a minute or two.
_PATIENCE_SECONDS = 300
_PAUSE_SECONDS = 5
_GONE = "InvalidNetworkInterfaceID.NotFound"
# Between being listed as available and being deleted, EC2 may still hold it.
_BUSY = ("InvalidNetworkInterface.InUse", "InvalidParameterValue", "OperationNotPermitted")


class LeftBehindError(Exception):
    """Interfaces are still in use; the text names them and what holds them."""


class JanitorProvider(Provider):
    """Does nothing until it is deleted. Other settings only change how it will."""

    replaced_by = ("cluster", "vpc", "region")

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(f"{props['cluster']}-interfaces", inputs(props, _INPUTS))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(inputs(_news, _INPUTS))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        region = _props["region"]
        try:
            session = open_profile(_props["profile"] or None).session(region)
            ec2 = connect(session, region).ec2
            tags = json.loads(_props["tags"])
            remove_left_behind(ec2, _props["vpc"], tags, partial(print, flush=True))
        except LeftBehindError as error:
            reason = str(error)
        except (CredentialsError, BotoCoreError, ClientError) as error:
            reason = first_line(error)
        else:
            return
        raise UserError(
            f"could not remove the network interfaces of {_props['cluster']}: {reason}. "
            "Another pulumi destroy goes on once the cause is gone"
        )


class Janitor(Resource):
    """The janitor of one cluster's interfaces.

    :param tags: of the interfaces that it removes; an interface has to have all of them.
    :param inputs: cluster, vpc, region and profile; none is None, which the engine drops.
    """

    def __init__(
        self,
        tags: Mapping[str, str],
        inputs: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
    ) -> None:
        as_json = json.dumps(dict(tags), sort_keys=True)
        props = {**inputs, "tags": as_json, "version": VERSION}
        super().__init__(JanitorProvider(), "janitor", props, opts)


def remove_left_behind(
    ec2: EC2Client,
    vpc: str,
    tags: Mapping[str, str],
    say: Callable[[str], None],
    *,
    patience: float = _PATIENCE_SECONDS,
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
            f"{', '.join(map(_description, left))}"
        ) from None


def _sweep(
    ec2: EC2Client, vpc: str, tags: Mapping[str, str], say: Callable[[str], None]
) -> list[NetworkInterfaceTypeDef]:
    """Delete the interfaces that can be deleted now.

    :returns: the others.
    """
    left = []
    for interface in _tagged_interfaces(ec2, vpc, tags):
        if interface.get("Status") == "available" and _try_to_delete(ec2, interface):
            say(f"deleted the network interface {interface['NetworkInterfaceId']}, left by the CNI")
        else:
            left.append(interface)
    if left:
        say(f"waiting for network interfaces: {', '.join(map(_description, left))}")
    return left


def _tagged_interfaces(
    ec2: EC2Client, vpc: str, tags: Mapping[str, str]
) -> Iterator[NetworkInterfaceTypeDef]:
    filters: list[FilterTypeDef] = [{"Name": "vpc-id", "Values": [vpc]}]
    filters += [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
    for page in ec2.get_paginator("describe_network_interfaces").paginate(Filters=filters):
        yield from page["NetworkInterfaces"]


def _try_to_delete(ec2: EC2Client, interface: NetworkInterfaceTypeDef) -> bool:
    try:
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    except ClientError as error:
        code = code_of(error)
        if code in _BUSY:
            return False
        if code != _GONE:
            raise
    return True


def _description(interface: NetworkInterfaceTypeDef) -> str:
    holder = interface.get("Attachment", {}).get("InstanceId") or interface.get("Status", "unknown")
    return f"{interface['NetworkInterfaceId']} ({holder})"
