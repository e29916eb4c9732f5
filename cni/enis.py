"""The ENIs of a node, and of which of them a pod's address is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple


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


def by_device(enis: Iterable[Eni]) -> tuple[Eni, ...]:
    """In the order of their attachments."""
    return tuple(sorted(enis, key=lambda each: each.device))


def origin(address: str, enis: Iterable[Eni]) -> Origin | None:
    """Which of a node's ENIs an address is of; None where it is of none."""
    for eni in enis:
        block = eni.block_of(address)
        if block is not None:
            return Origin(eni, block)
    return None
