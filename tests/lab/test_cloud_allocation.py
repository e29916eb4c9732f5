"""Which addresses and prefixes a subnet gives away."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from lab.cloud.vpc import SubnetFullError, Taken, free_addresses, free_prefixes
from lab.network import SUBNET, node_addresses

SMALL = IPv4Network("10.0.0.0/26")


def _all(subnet: IPv4Network, taken: Taken, owner: str | None = None) -> list[str]:
    """Everything that a subnet gives away, one by one."""
    found: list[str] = []
    address = IPv4Address(owner) if owner else None
    held = taken
    while True:
        try:
            (given,) = free_addresses(subnet, held, 1, address)
        except SubnetFullError:
            return found
        found.append(str(given))
        held = Taken(held.addresses | {given}, held.prefixes)


def test_amazons_own_addresses_are_never_given() -> None:
    given = _all(SMALL, Taken())
    assert given == [f"10.0.0.{last}" for last in range(4, 63)]


def test_an_owners_search_goes_once_around() -> None:
    assert sorted(_all(SMALL, Taken(), "10.0.0.9")) == sorted(_all(SMALL, Taken()))
    large = IPv4Network("10.0.0.0/22")
    given = _all(large, Taken(), "10.0.0.2")
    assert given[0] == "10.0.2.0"
    assert len(given) == len(set(given)) == 1024 - 5


def test_no_address_is_given_twice_or_out_of_a_prefix() -> None:
    taken = Taken.of(["10.0.0.4", "10.0.0.6"], ["10.0.0.16/28"])
    given = free_addresses(SMALL, taken, 11, None)
    assert [str(each) for each in given[:3]] == ["10.0.0.5", "10.0.0.7", "10.0.0.8"]
    assert str(given[-1]) == "10.0.0.32"


def test_a_prefix_holds_no_taken_and_no_reserved_address() -> None:
    assert [str(each) for each in free_prefixes(SMALL, Taken(), 2)] == [
        "10.0.0.16/28",
        "10.0.0.32/28",
    ]
    taken = Taken.of(["10.0.0.20"], [])
    assert [str(each) for each in free_prefixes(SMALL, taken, 1)] == ["10.0.0.32/28"]


def test_a_full_subnet_says_what_is_left() -> None:
    with pytest.raises(SubnetFullError, match=r"3 /28 prefixes in 10\.0\.0\.0/26 .*, 2 are free"):
        free_prefixes(SMALL, Taken(), 3)
    with pytest.raises(SubnetFullError, match=r"60 addresses .* 59 are free"):
        free_addresses(SMALL, Taken(), 60)


def test_all_that_is_asked_for_is_given_at_once_or_nothing() -> None:
    assert free_addresses(SMALL, Taken(), 0) == []
    assert len(set(free_addresses(SMALL, Taken(), 59))) == 59


def test_nodes_addresses_do_not_depend_on_who_asks_first() -> None:
    """Prefixes of every node's first interface, however many it may have, lie apart."""
    nodes = [IPv4Address(node.ip) for node in node_addresses(9)]
    alone = {node: free_prefixes(SUBNET, Taken.of([str(node)], []), 14, node) for node in nodes}
    everything = [prefix for prefixes in alone.values() for prefix in prefixes]
    assert len(set(everything)) == len(everything)
    taken = Taken.of(map(str, nodes), map(str, everything[14:]))
    assert free_prefixes(SUBNET, taken, 14, nodes[0]) == alone[nodes[0]]
    (single,) = free_addresses(SUBNET, Taken.of(map(str, nodes), []), 1, nodes[0])
    assert single == alone[nodes[0]][0][0]
