"""The VPC that a lab's nodes are in, made through the EC2 API as a cluster's owner makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from lab import network
from lab.network import NodeAddress

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import InstanceTypeType

_IMAGE = "ami-00000000000000000"


@dataclass(frozen=True, slots=True)
class Instance:
    """A node as EC2 knows it.

    :param eni: its first network interface.
    """

    id: str
    node: str
    type: str
    zone: str
    address: str
    mac: str
    eni: str
    vpc: str
    subnet: str

    @property
    def provider_id(self) -> str:
        """As the cloud provider writes it into the Node object."""
        return f"aws:///{self.zone}/{self.id}"


#: Instances as JSON.
INSTANCES = TypeAdapter(list[Instance])


def create(
    ec2: EC2Client,
    nodes: Sequence[NodeAddress],
    *,
    instance_type: InstanceTypeType,
    zones: Sequence[str],
) -> list[Instance]:
    """Make a VPC with a subnet in each zone, and an instance per node in the first one.

    :raises botocore.exceptions.ClientError: the API refuses.
    """
    vpc = ec2.create_vpc(CidrBlock=str(network.VPC_CIDR))["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=str(cidr), AvailabilityZone=zone)["Subnet"]
        for zone, cidr in zip(zones, network.SUBNETS, strict=False)
    ]
    group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
    made = []
    for node in nodes:
        answer = ec2.run_instances(
            ImageId=_IMAGE,
            InstanceType=instance_type,
            MinCount=1,
            MaxCount=1,
            SubnetId=subnets[0]["SubnetId"],
            SecurityGroupIds=[group],
            PrivateIpAddress=node.ip,
        )
        instance = answer["Instances"][0]
        interface = instance["NetworkInterfaces"][0]
        made.append(
            Instance(
                id=instance["InstanceId"],
                node=node.name,
                type=instance_type,
                zone=zones[0],
                address=node.ip,
                mac=interface["MacAddress"],
                eni=interface["NetworkInterfaceId"],
                vpc=vpc,
                subnet=subnets[0]["SubnetId"],
            )
        )
    return made
