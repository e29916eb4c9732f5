"""The hypervisor: which interfaces the nodes must have, against those that are plugged in.

Pure. A port of the router with its alias is whole (:func:`lab.network.add_port`); one that a crash
has left without it, or that belongs to an interface that is gone, is taken out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.cloud.interfaces import Interface
from lab.network import add_port, port_name

#: Device indexes that an instance can have at most (m6i.metal and its like).
_MOST = 15


@dataclass(frozen=True, slots=True)
class Plugged:
    """A port of the router: its name, and the MAC of the interface at its other end; the MAC is
    empty where plugging it in was interrupted."""

    port: str
    mac: str = ""


def found(printed: Iterable[Mapping[str, Any]], nodes: Sequence[str]) -> set[Plugged]:
    """The ports that are there, of what ``ip -json link show type veth`` prints."""
    ports = {port_name(node, index) for node in nodes for index in range(_MOST)}
    return {
        Plugged(each["ifname"], each.get("ifalias", ""))
        for each in printed
        if each["ifname"] in ports
    }


def plan(interfaces: Iterable[Interface], there: Iterable[Plugged]) -> list[str]:
    """Commands of ip(8) that plug in what is attached and take out what is not.

    Taking out one end of a veth pair removes the node's device, and all routes to the port.
    """
    wanted = {Plugged(each.port, each.mac): each for each in interfaces}
    present = set(there)
    out = sorted(each.port for each in present - wanted.keys())
    new = sorted((each for port, each in wanted.items() if port not in present), key=_by_port)
    plugging = (add_port(each.port, each.device, each.mac, each.node) for each in new)
    return [f"link del {port}" for port in out] + [line for lines in plugging for line in lines]


def _by_port(interface: Interface) -> tuple[str, int]:
    return interface.node, interface.index
