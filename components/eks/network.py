"""The VPC: private nodes in one zone, and a NAT gateway for what they fetch.

Nodes have no public address: nobody on the internet reaches them, and a port that an agent opens
is open to the VPC only. The price is one NAT gateway, in the nodes' own zone since there is no
other to keep available. Images come through it, nothing of a measurement does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network

import pulumi
import pulumi_aws as aws

from components.eks.settings import EksSettings

_ANYWHERE = "0.0.0.0/0"
# Below the half that is the nodes': room for six zones and the NAT gateway in a /20 already.
_SMALL_BITS = 5


@dataclass(frozen=True, slots=True)
class Subnets:
    """CIDRs of a VPC's subnets.

    :param nodes: private, in the nodes' zone; with ENI addressing also every pod's.
    :param others: private, one in each other zone, for the control plane's interfaces.
    :param public: in the nodes' zone, for the NAT gateway alone.
    """

    nodes: str
    others: dict[str, str]
    public: str


def share_out(vpc_cidr: str, zones: Iterable[str], node_zone: str) -> Subnets:
    """Half of the VPC is the nodes'; the other half has small subnets for everything else.

    The nodes' half is large and in one piece because prefix delegation takes whole /28 blocks.
    """
    vpc = IPv4Network(vpc_cidr)
    nodes, rest = vpc.subnets(prefixlen_diff=1)
    small = rest.subnets(prefixlen_diff=_SMALL_BITS - 1)
    public = next(small)
    others = {zone: str(next(small)) for zone in zones if zone != node_zone}
    return Subnets(nodes=str(nodes), others=others, public=str(public))


class Network(pulumi.ComponentResource):
    """A VPC of the stack's own.

    :ivar vpc: the VPC.
    :ivar nodes: the nodes' subnet, whose routes lead out once the whole component is there.
    :ivar subnet_ids: of the control plane: the nodes' subnet, and one in each other zone.
    """

    def __init__(
        self, name: str, cluster: str, eks: EksSettings, opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__("cni-benchmark:eks:Network", name, {}, opts)
        self._cluster = cluster
        self._below = pulumi.ResourceOptions(parent=self)
        plan = share_out(eks.vpc_cidr, eks.zones, eks.node_zone)
        self.vpc = aws.ec2.Vpc(
            "vpc",
            cidr_block=eks.vpc_cidr,
            # Both are what makes the private API endpoint's name resolve for nodes.
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._named("vpc"),
            opts=self._below,
        )
        self.nodes = self._subnet("nodes", plan.nodes, eks.node_zone)
        others = [
            self._subnet(f"control-plane-{zone}", cidr, zone) for zone, cidr in plan.others.items()
        ]
        public = self._subnet("public", plan.public, eks.node_zone)
        gateway = aws.ec2.InternetGateway(
            "internet-gateway",
            vpc_id=self.vpc.id,
            tags=self._named("internet-gateway"),
            opts=self._below,
        )
        self._routed("public", public, gateway_id=gateway.id)
        self._routed("private", self.nodes, nat_gateway_id=self._nat(public, gateway).id)
        self.subnet_ids = [subnet.id for subnet in (self.nodes, *others)]
        self.register_outputs({})

    def _subnet(self, name: str, cidr: str, zone: str) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            f"{name}-subnet",
            vpc_id=self.vpc.id,
            cidr_block=cidr,
            availability_zone=zone,
            map_public_ip_on_launch=False,
            tags=self._named(name),
            opts=self._below,
        )

    def _nat(self, public: aws.ec2.Subnet, gateway: aws.ec2.InternetGateway) -> aws.ec2.NatGateway:
        # EC2 releases the address only once the VPC has lost its way to the internet, and gives a
        # NAT gateway none before it has one: both are an order that no input expresses.
        after = pulumi.ResourceOptions(parent=self, depends_on=[gateway])
        address = aws.ec2.Eip("nat-address", domain="vpc", tags=self._named("nat"), opts=after)
        return aws.ec2.NatGateway(
            "nat-gateway",
            allocation_id=address.allocation_id,
            subnet_id=public.id,
            tags=self._named("nat"),
            opts=after,
        )

    def _routed(self, name: str, subnet: aws.ec2.Subnet, **via: pulumi.Input[str]) -> None:
        """A route table of one route to the internet, for one subnet."""
        table = aws.ec2.RouteTable(
            f"{name}-routes", vpc_id=self.vpc.id, tags=self._named(name), opts=self._below
        )
        aws.ec2.Route(
            f"{name}-way-out",
            route_table_id=table.id,
            destination_cidr_block=_ANYWHERE,
            opts=self._below,
            **via,
        )
        aws.ec2.RouteTableAssociation(
            f"{name}-association", route_table_id=table.id, subnet_id=subnet.id, opts=self._below
        )

    def _named(self, what: str) -> dict[str, str]:
        return {"Name": f"{self._cluster}-{what}"}
