"""Network interfaces that a CNI leaves behind: found, waited for, deleted; nobody else's touched.

moto plays EC2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from components.dynamic import UserError
from components.eks.janitor import JanitorProvider, LeftBehindError, remove_left_behind
from components.eks.settings import interface_tags

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

REGION, CLUSTER = "ap-northeast-2", "c-1"
IMAGE = "ami-12c6146b"  # one of moto's


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[EC2Client]:
    """An account's EC2."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


class _Vpc:
    """A VPC with one subnet."""

    def __init__(self, ec2: EC2Client, cidr: str = "10.0.0.0/16") -> None:
        self._ec2 = ec2
        self.id = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        made = ec2.create_subnet(VpcId=self.id, CidrBlock=cidr.replace("/16", "/24"))
        self.subnet = made["Subnet"]["SubnetId"]

    def interface(self, tags: dict[str, str]) -> str:
        """An interface that nothing uses."""
        made = self._ec2.create_network_interface(
            SubnetId=self.subnet,
            TagSpecifications=[
                {
                    "ResourceType": "network-interface",
                    "Tags": [{"Key": name, "Value": value} for name, value in tags.items()],
                }
            ],
        )
        return made["NetworkInterface"]["NetworkInterfaceId"]

    def attached(self, tags: dict[str, str]) -> tuple[str, str]:
        """An interface and the instance that it is attached to."""
        interface = self.interface(tags)
        made = self._ec2.run_instances(
            ImageId=IMAGE, MinCount=1, MaxCount=1, SubnetId=self.subnet, InstanceType="m6i.xlarge"
        )
        instance = made["Instances"][0]["InstanceId"]
        self._ec2.attach_network_interface(
            NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=1
        )
        return interface, instance


def _left(ec2: EC2Client) -> set[str]:
    result = ec2.describe_network_interfaces()["NetworkInterfaces"]
    return {each["NetworkInterfaceId"] for each in result}


CILIUM = interface_tags("cilium", CLUSTER)


def test_what_cilium_left_is_deleted(ec2: EC2Client) -> None:
    vpc, lines = _Vpc(ec2), list[str]()
    ours = [vpc.interface(CILIUM), vpc.interface(CILIUM)]
    remove_left_behind(ec2, vpc.id, CILIUM, lines.append, patience=1, pause=0)
    assert not set(ours) & _left(ec2)
    assert [line for line in lines if ours[0] in line and "deleted" in line]


def test_what_the_vpc_cni_left_is_deleted(ec2: EC2Client) -> None:
    vpc, tags = _Vpc(ec2), interface_tags("vpc-cni", CLUSTER)
    ours = vpc.interface(tags | {"node.k8s.amazonaws.com/instance_id": "i-1"})
    remove_left_behind(ec2, vpc.id, tags, print, patience=1, pause=0)
    assert ours not in _left(ec2)


NOT_OURS = [
    {},
    interface_tags("cilium", "c-2"),
    {"io.cilium/cluster-name": CLUSTER},
    {"io.cilium/cilium-managed": "true"},
    {"Name": CLUSTER},
]


@pytest.mark.parametrize("tags", NOT_OURS)
def test_what_does_not_bear_both_marks_stays(tags: dict[str, str], ec2: EC2Client) -> None:
    vpc = _Vpc(ec2)
    other, ours = vpc.interface(tags), vpc.interface(CILIUM)
    remove_left_behind(ec2, vpc.id, CILIUM, print, patience=1, pause=0)
    assert other in _left(ec2)
    assert ours not in _left(ec2)


def test_another_vpcs_interfaces_stay_whatever_their_marks(ec2: EC2Client) -> None:
    vpc, other = _Vpc(ec2), _Vpc(ec2, "10.1.0.0/16")
    theirs = other.interface(CILIUM)
    remove_left_behind(ec2, vpc.id, CILIUM, print, patience=1, pause=0)
    assert theirs in _left(ec2)


def test_an_interface_in_use_is_waited_for_and_then_deleted(ec2: EC2Client) -> None:
    vpc, lines = _Vpc(ec2), list[str]()
    interface, _ = vpc.attached(CILIUM)

    def say(line: str) -> None:
        lines.append(line)
        if not line.startswith("waiting"):
            return
        result = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])
        attachment = result["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
        ec2.detach_network_interface(AttachmentId=attachment)

    remove_left_behind(ec2, vpc.id, CILIUM, say, patience=5, pause=0)
    assert interface not in _left(ec2)
    assert lines[0].startswith(f"waiting for network interfaces: {interface}")


def test_an_interface_that_stays_in_use_is_named_with_its_instance(ec2: EC2Client) -> None:
    vpc = _Vpc(ec2)
    interface, instance = vpc.attached(CILIUM)
    with pytest.raises(LeftBehindError) as caught:
        remove_left_behind(ec2, vpc.id, CILIUM, print, patience=0.05, pause=0.01)
    assert f"{interface} ({instance})" in str(caught.value)
    assert interface in _left(ec2)


class _Busy:
    """EC2 whose deletions are answered by an error the first time."""

    def __init__(self, ec2: EC2Client, code: str) -> None:
        self._ec2, self._code, self.deletions = ec2, code, 0

    def get_paginator(self, name: str) -> object:
        return self._ec2.get_paginator(name)  # type: ignore[call-overload]

    def delete_network_interface(self, NetworkInterfaceId: str) -> None:  # noqa: N803 -- boto3's
        self.deletions += 1
        if self.deletions == 1:
            error = {"Error": {"Code": self._code, "Message": "no"}}
            raise ClientError(error, "DeleteNetworkInterface")  # type: ignore[arg-type]
        self._ec2.delete_network_interface(NetworkInterfaceId=NetworkInterfaceId)


def _removed_by(busy: _Busy, vpc: str) -> None:
    remove_left_behind(busy, vpc, CILIUM, print, patience=5, pause=0)  # type: ignore[arg-type]


def test_an_interface_that_is_just_being_used_is_tried_again(ec2: EC2Client) -> None:
    vpc = _Vpc(ec2)
    interface, busy = vpc.interface(CILIUM), _Busy(ec2, "InvalidParameterValue")
    _removed_by(busy, vpc.id)
    assert busy.deletions == 2
    assert interface not in _left(ec2)


def test_one_that_somebody_else_has_deleted_meanwhile_is_gone(ec2: EC2Client) -> None:
    vpc = _Vpc(ec2)
    vpc.interface(CILIUM)
    busy = _Busy(ec2, "InvalidNetworkInterfaceID.NotFound")
    _removed_by(busy, vpc.id)
    assert busy.deletions == 1


def test_a_refusal_of_ec2_is_not_waited_out(ec2: EC2Client) -> None:
    vpc = _Vpc(ec2)
    vpc.interface(CILIUM)
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        _removed_by(_Busy(ec2, "UnauthorizedOperation"), vpc.id)


# -- the resource -------------------------------------------------------------------------------


def _props(vpc: str, **more: str) -> dict[str, object]:
    tags = '{"io.cilium/cilium-managed": "true", "io.cilium/cluster-name": "c-1"}'
    known = {"cluster": CLUSTER, "vpc": vpc, "region": REGION, "profile": "", "tags": tags}
    return {**known, "version": 1, **more}


def test_deleting_the_janitor_deletes_the_interfaces(ec2: EC2Client) -> None:
    vpc = _Vpc(ec2)
    ours, other = vpc.interface(CILIUM), vpc.interface({})
    janitor = JanitorProvider()
    made = janitor.create(_props(vpc.id))
    assert ours in _left(ec2)
    janitor.delete(made.id or "", made.outs or {})
    assert ours not in _left(ec2)
    assert other in _left(ec2)


def test_a_profile_that_is_gone_is_told_in_one_line(ec2: EC2Client) -> None:
    with pytest.raises(UserError) as caught:
        JanitorProvider().delete("", _props("vpc-1", profile="nobody"))
    text = str(caught.value)
    assert text.startswith("could not remove the network interfaces of c-1: ")
    assert "nobody" in text
    assert text.endswith("Another pulumi destroy goes on once the cause is gone")
    assert "\n" not in text


def test_another_profile_changes_the_janitor_and_another_cluster_replaces_it() -> None:
    janitor, was = JanitorProvider(), _props("vpc-1")
    assert not janitor.diff("", was, _props("vpc-1")).changes
    profile = janitor.diff("", was, _props("vpc-1", profile="other"))
    assert (profile.changes, profile.replaces) == (True, [])
    assert janitor.update("", was, _props("vpc-1", profile="other")).outs == _props(
        "vpc-1", profile="other"
    )
    assert janitor.diff("", was, _props("vpc-2")).replaces == ["vpc"]
