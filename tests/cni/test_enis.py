"""ENIs as CNIs report them. Fixtures are what the running programs answered in the lab of one node,
with the addresses of the pods that ran there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from cni.platform import Eni, origin
from cni.registry import DATAPLANES

FIXTURES = Path(__file__).parents[1] / "fixtures/cni/enis"

Read = Callable[[Mapping[str, Any]], tuple[Eni, ...]]


def _recorded(name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The pods' addresses by name, and the CNI's report."""
    found = json.loads((FIXTURES / name).read_text())
    return found["pods"], found["status"]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("cilium-node.json", DATAPLANES["cilium"].enis),
        ("vpc-cni.json", DATAPLANES["vpc-cni"].enis),
        ("vpc-cni-cards.json", DATAPLANES["vpc-cni"].enis),
    ],
)
def test_a_pods_single_address_is_of_an_eni(name: str, read: Read) -> None:
    pods, report = _recorded(name)
    enis = read(report)
    assert pods
    for address in pods.values():
        found = origin(address, enis)
        assert found is not None
        assert found.block == address
        assert address in found.eni.addresses
    assert not any(each.prefixes for each in enis)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("cilium-node-prefixes.json", DATAPLANES["cilium"].enis),
        ("vpc-cni-prefixes.json", DATAPLANES["vpc-cni"].enis),
    ],
)
def test_a_pods_address_of_a_prefix_is_of_that_prefix(name: str, read: Read) -> None:
    pods, report = _recorded(name)
    enis = read(report)
    assert pods
    for address in pods.values():
        found = origin(address, enis)
        assert found is not None
        assert found.block in found.eni.prefixes
        assert IPv4Address(address) in IPv4Network(found.block)
    # What a prefix holds is not told a second time, as single addresses.
    assert not any(each.addresses for each in enis)


def test_the_vpc_cni_takes_all_addresses_of_an_eni_at_once() -> None:
    (only,) = DATAPLANES["vpc-cni"].enis(_recorded("vpc-cni.json")[1])
    assert only.id.startswith("eni-")
    assert (only.device, len(only.addresses)) == (0, 14)


def test_enis_are_in_the_order_of_their_devices() -> None:
    enis = DATAPLANES["cilium"].enis(_recorded("cilium-node.json")[1])
    assert [each.device for each in enis] == [0, 1]
    assert len({each.id for each in enis}) == 2


def test_the_first_eni_has_no_number_in_ciliums_report() -> None:
    (only,) = DATAPLANES["cilium"].enis(_recorded("cilium-node-prefixes.json")[1])
    assert only.device == 0
    assert len(only.prefixes) == 1


def test_an_address_that_no_eni_has_is_of_none() -> None:
    enis = DATAPLANES["cilium"].enis(_recorded("cilium-node-prefixes.json")[1])
    assert origin("172.30.0.12", enis) is None


def test_a_node_that_the_operator_has_not_seen_has_no_enis() -> None:
    assert DATAPLANES["cilium"].enis({}) == ()
