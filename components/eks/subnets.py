"""How a VPC's addresses are shared out, as pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network

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
