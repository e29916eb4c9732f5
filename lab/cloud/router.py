"""The VPC's router: which routes and neighbours the interfaces call for, against what is there.

Pure: what `ip -json` prints goes in, commands of ip(8) come out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.cloud.interfaces import Interface
from lab.network import add_address, add_route


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route to a port: an interface's own address, or what lies behind it.

    :param destination: ``172.30.0.11/32`` or a delegated prefix.
    :param via: the interface's own address; empty for the route to that address itself.
    """

    destination: str
    port: str
    via: str = ""


def wanted(interface: Interface) -> set[Route]:
    own = Route(f"{interface.primary}/32", interface.port)
    return {own, *(Route(each, interface.port, interface.primary) for each in interface.routed)}


def found(printed: Iterable[Mapping[str, Any]], ports: Collection[str]) -> set[Route]:
    """The routes to some ports, of what ``ip -json -4 route show`` prints."""
    return {
        Route(_with_length(each["dst"]), each["dev"], each.get("gateway", ""))
        for each in printed
        if each.get("dev") in ports
    }


def plan(interfaces: Iterable[Interface], there: Collection[Route]) -> list[str]:
    """Commands of ip(8) that lead every address to its interface, and none elsewhere.

    :param there: the routes to the interfaces' ports, as :func:`found` reads them.
    """
    commands: list[str] = []
    all_wanted: set[Route] = set()
    for interface in interfaces:
        mine = wanted(interface)
        all_wanted |= mine
        missing = mine - set(there)
        if Route(f"{interface.primary}/32", interface.port) in missing:
            commands += add_address(interface.primary, interface.mac, interface.port)
        commands += [
            add_route(each.destination, each.via, each.port) for each in sorted(missing) if each.via
        ]
    surplus = sorted(set(there) - all_wanted)
    # First, since an address that has moved has its new route by the same destination.
    return [f"route del {each.destination} dev {each.port}" for each in surplus] + commands


def _with_length(destination: str) -> str:
    """ip(8) leaves out the length of a single address."""
    return destination if "/" in destination else f"{destination}/32"
