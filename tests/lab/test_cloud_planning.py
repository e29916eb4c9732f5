"""What hypervisor and router do for given interfaces, by what they find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.cloud import reconciler
from lab.cloud.reconciler import Plugged, Route
from lab.cloud.vpc import Interface

FIRST = Interface(
    eni="eni-1",
    node="node-1",
    index=0,
    mac="02:00:ac:1e:00:0b",
    primary="172.30.0.11",
    prefixes=("172.30.11.0/28",),
)
SECOND = Interface(
    eni="eni-2",
    node="node-1",
    index=1,
    mac="02:00:ac:1e:00:04",
    primary="172.30.0.4",
    addresses=("172.30.4.0", "172.30.4.1"),
)
BOTH = [FIRST, SECOND]
PLUGGED = {Plugged("node-1-ens5", FIRST.mac), Plugged("node-1-ens6", SECOND.mac)}
ROUTED = reconciler.routes_of(FIRST) | reconciler.routes_of(SECOND)


# -- hypervisor ---------------------------------------------------------------------------------


def test_an_attached_interface_is_plugged_in_under_its_own_name_and_mac() -> None:
    commands = reconciler.plan_plugging(BOTH, {Plugged("node-1-ens5", FIRST.mac)})
    assert commands[0] == (
        "link add node-1-ens6 mtu 9001 type veth "
        "peer name ens6 mtu 9001 address 02:00:ac:1e:00:04 netns node-1"
    )
    # What makes a port whole comes last.
    assert commands[-1] == "link set node-1-ens6 alias 02:00:ac:1e:00:04"


def test_nothing_is_done_twice() -> None:
    assert reconciler.plan_plugging(BOTH, PLUGGED) == []


def test_a_detached_interface_is_taken_out() -> None:
    assert reconciler.plan_plugging([FIRST], PLUGGED) == ["link del node-1-ens6"]


@pytest.mark.parametrize("mac", ["", "02:00:ac:1e:00:05"], ids=["half made", "another's"])
def test_a_port_that_is_not_this_interfaces_makes_way(mac: str) -> None:
    commands = reconciler.plan_plugging(
        BOTH, {Plugged("node-1-ens5", FIRST.mac), Plugged("node-1-ens6", mac)}
    )
    assert commands[0] == "link del node-1-ens6"
    assert commands[1].startswith("link add node-1-ens6 ")


def test_an_interface_that_has_moved_is_taken_out_before_it_is_plugged_in() -> None:
    moved = replace(SECOND, node="node-2")
    commands = reconciler.plan_plugging([FIRST, moved], PLUGGED)
    assert commands[0] == "link del node-1-ens6"
    assert commands[1].startswith("link add node-2-ens6 ")
    assert "netns node-2" in commands[1]


def test_only_ports_of_nodes_are_anybodys_business() -> None:
    printed = [
        {"ifname": "node-1-ens5", "ifalias": FIRST.mac},
        {"ifname": "node-2-ens19"},
        {"ifname": "node-3-ens5", "ifalias": "02:00:ac:1e:00:0d"},
        {"ifname": "outside"},
    ]
    assert reconciler.plugged_in(printed, ["node-1", "node-2"]) == {
        Plugged("node-1-ens5", FIRST.mac),
        Plugged("node-2-ens19"),
    }


# -- router -------------------------------------------------------------------------------------


def test_every_address_is_led_to_its_interface() -> None:
    assert reconciler.plan_routes([SECOND], []) == [
        "neigh replace 172.30.0.4 lladdr 02:00:ac:1e:00:04 dev node-1-ens6 nud permanent",
        "route replace 172.30.0.4/32 dev node-1-ens6 src 172.30.0.1",
        "route replace 172.30.4.0/32 via 172.30.0.4 dev node-1-ens6 onlink",
        "route replace 172.30.4.1/32 via 172.30.0.4 dev node-1-ens6 onlink",
    ]


def test_routes_that_are_there_stay() -> None:
    assert reconciler.plan_routes(BOTH, ROUTED) == []


def test_an_address_that_was_given_or_taken_changes_one_route() -> None:
    given = replace(SECOND, addresses=(*SECOND.addresses, "172.30.4.2"))
    assert reconciler.plan_routes([FIRST, given], ROUTED) == [
        "route replace 172.30.4.2/32 via 172.30.0.4 dev node-1-ens6 onlink"
    ]
    taken = replace(SECOND, addresses=("172.30.4.0",))
    assert reconciler.plan_routes([FIRST, taken], ROUTED) == [
        "route del 172.30.4.1/32 dev node-1-ens6"
    ]


def test_an_address_that_has_moved_loses_its_old_route_first() -> None:
    first = replace(FIRST, addresses=("172.30.4.1",))
    second = replace(SECOND, addresses=("172.30.4.0",))
    assert reconciler.plan_routes([first, second], ROUTED) == [
        "route del 172.30.4.1/32 dev node-1-ens6",
        "route replace 172.30.4.1/32 via 172.30.0.11 dev node-1-ens5 onlink",
    ]


def test_routes_are_found_as_ip_prints_them() -> None:
    # `ip -json -4 route show` of a lab's router, iproute2 6.1.
    printed = [
        {
            "dst": "172.30.0.11",
            "dev": "node-1-ens5",
            "scope": "link",
            "prefsrc": "172.30.0.1",
            "flags": [],
        },
        {
            "dst": "172.30.11.0/28",
            "gateway": "172.30.0.11",
            "dev": "node-1-ens5",
            "flags": ["onlink"],
        },
        {"dst": "198.51.100.0/24", "dev": "outside", "flags": []},
    ]
    assert reconciler.routes_to(printed, ["node-1-ens5"]) == reconciler.routes_of(FIRST)
    assert reconciler.routes_to(printed, ["outside"]) == {Route("198.51.100.0/24", "outside")}
