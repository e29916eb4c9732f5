"""Which addresses of a subnet a VPC gives away next.

Pure. A subnet's first four addresses and its last one are Amazon's own ("Subnet CIDR blocks",
Amazon VPC User Guide), an address is given once, and a delegated prefix is a whole /28 that no
single address is taken from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from typing import TypeVar

#: A delegated prefix ("Assigning prefixes to network interfaces", Amazon EC2 User Guide).
PREFIX_LENGTH = 28
PREFIX_SIZE = 1 << (32 - PREFIX_LENGTH)
_RESERVED_FIRST = 4
# Where an interface's addresses are looked for: the 256 addresses that its own last byte selects,
# of 16 such regions.
_REGION = 256
_REGIONS = 16

_Given = TypeVar("_Given", IPv4Address, IPv4Network)


class SubnetFullError(Exception):
    """A subnet has fewer free addresses or prefixes than were asked for."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What interfaces have of a subnet."""

    addresses: frozenset[IPv4Address] = field(default_factory=frozenset)
    prefixes: frozenset[IPv4Network] = field(default_factory=frozenset)

    @classmethod
    def of(cls, addresses: Iterable[str], prefixes: Iterable[str]) -> Taken:
        return cls(
            frozenset(map(IPv4Address, addresses)),
            frozenset(map(IPv4Network, prefixes)),
        )


def free_addresses(
    subnet: IPv4Network, taken: Taken, count: int, owner: IPv4Address | None = None
) -> list[IPv4Address]:
    """The next ``count`` free addresses.

    :param owner: the primary address of the interface that they are for. Different interfaces'
        searches begin apart, so what each gets does not depend on who asks first.
    :raises SubnetFullError: fewer are free.
    """
    free = (
        address
        for address in _from(owner, subnet, 1)
        if address not in taken.addresses and _block(address) not in taken.prefixes
    )
    return _first(free, count, f"addresses in {subnet}")


def free_prefixes(
    subnet: IPv4Network, taken: Taken, count: int, owner: IPv4Address | None = None
) -> list[IPv4Network]:
    """The next ``count`` free prefixes; parameters and errors as of :func:`free_addresses`."""
    used = {_block(address) for address in taken.addresses} | taken.prefixes
    reserved = {_block(subnet[0]), _block(subnet[-1])}
    free = (
        block
        for block in map(_block, _from(owner, subnet, PREFIX_SIZE))
        if block not in used and block not in reserved
    )
    return _first(free, count, f"/{PREFIX_LENGTH} prefixes in {subnet}")


def _from(owner: IPv4Address | None, subnet: IPv4Network, step: int) -> Iterator[IPv4Address]:
    """A subnet's addresses that may be given away, every one once, from an owner's region on."""
    size = subnet.num_addresses
    start = 0 if owner is None else int(owner) % _REGIONS * _REGION % size
    for offset in range(0, size, step):
        index = (start + offset) % size
        if step > 1 or _RESERVED_FIRST <= index < size - 1:
            yield subnet[index]


def _block(address: IPv4Address) -> IPv4Network:
    return IPv4Network((address, PREFIX_LENGTH), strict=False)


def _first(free: Iterator[_Given], count: int, what: str) -> list[_Given]:
    found = list(islice(free, count))
    if len(found) < count:
        raise SubnetFullError(f"{count} {what} were asked for, {len(found)} are free")
    return found
