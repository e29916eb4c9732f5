"""The ENIs of a node as its CNI reports them, and of which of them a pod's address is.

Pure. Cilium reports them in the status of its CiliumNode (1.16.5, `pkg/aws/eni/types`), the VPC CNI
by its daemon's introspection, `/v1/enis` (1.19.2, `pkg/ipamd/datastore`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Eni:
    """A network interface with what it has for pods."""

    id: str
    device: int
    """The attachment's device index; 0 is the interface that the instance was born with."""
    addresses: tuple[str, ...] = ()
    """Single secondary addresses."""
    prefixes: tuple[str, ...] = ()
    """Delegated prefixes, `172.30.11.0/28`."""

    def block_of(self, address: str) -> str | None:
        """The prefix, or the single address, that an address belongs to; None for neither."""
        if address in self.addresses:
            return address
        ip = IPv4Address(address)
        return next((each for each in self.prefixes if ip in IPv4Network(each)), None)


class Origin(NamedTuple):
    """Where an address comes from: the interface, and the prefix or single address of it."""

    eni: Eni
    block: str


def of_cilium_node(status: Mapping[str, Any]) -> tuple[Eni, ...]:
    """From the status of a CiliumNode, by device index."""
    found = status.get("eni", {}).get("enis", {}).values()
    return _ordered(_of_cilium(each) for each in found)


def _of_cilium(eni: Mapping[str, Any]) -> Eni:
    prefixes = tuple(eni.get("prefixes", ()))
    # Cilium lists a prefix's addresses among the single ones as well.
    delegated = {str(ip) for prefix in prefixes for ip in IPv4Network(prefix)}
    single = tuple(each for each in eni.get("addresses", ()) if each not in delegated)
    # A field that is 0 is left out.
    return Eni(id=eni["id"], device=eni.get("number", 0), addresses=single, prefixes=prefixes)


def of_vpc_cni(document: Mapping[str, Any]) -> tuple[Eni, ...]:
    """From the daemon's answer to `GET /v1/enis`, by device index."""
    return _ordered(
        Eni(
            id=each["ID"],
            device=each["DeviceNumber"],
            addresses=tuple(
                cidr.removesuffix("/32")
                for cidr, block in each["AvailableIPv4Cidrs"].items()
                if not block["IsPrefix"]
            ),
            prefixes=tuple(
                cidr for cidr, block in each["AvailableIPv4Cidrs"].items() if block["IsPrefix"]
            ),
        )
        for each in document["ENIs"].values()
    )


def _ordered(enis: Iterable[Eni]) -> tuple[Eni, ...]:
    return tuple(sorted(enis, key=lambda each: each.device))


def origin(address: str, enis: Iterable[Eni]) -> Origin | None:
    """Which of a node's ENIs an address is of; None where it is of none."""
    for eni in enis:
        block = eni.block_of(address)
        if block is not None:
            return Origin(eni, block)
    return None
