"""Plays hypervisor and router of the VPC: makes the network what the EC2 API says it is.

Run inside the sandbox: ``python -m lab.cloud.reconciler ENDPOINT REGION INSTANCES INTERFACES``.
INSTANCES is a file with the nodes' instances, INTERFACES the one that it leaves for the metadata
service. It keeps no state: each round compares what EC2 describes with what the kernel has, so it
can be ended and started again at any moment. Planning is pure: what `ip -json` prints goes in,
commands of ip(8) come out.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lab.cloud.vpc import (
    DOORBELL,
    INSTANCES,
    INTERFACES,
    RECONCILER,
    Interface,
    attached,
    connect,
    describe,
)
from lab.network import add_address, add_port, add_route, port_name

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

#: Without a ring of the doorbell, everything is looked at this often, in seconds.
_ROUND = 60.0
_RETRY = 1.0
#: Device indexes that an instance can have at most (m6i.metal and its like).
_MOST = 15


# -- hypervisor: interfaces plugged into nodes -----------------------------------------------------
#
# A port of the router with its alias is whole (lab.network.add_port); one that a crash has left
# without it, or that belongs to an interface that is gone, is taken out.


@dataclass(frozen=True, slots=True)
class Plugged:
    """A port of the router: its name, and the MAC of the interface at its other end; the MAC is
    empty where plugging it in was interrupted."""

    port: str
    mac: str = ""


def plugged_in(printed: Iterable[Mapping[str, Any]], nodes: Sequence[str]) -> set[Plugged]:
    """The ports that are there, of what ``ip -json link show type veth`` prints."""
    ports = {port_name(node, index) for node in nodes for index in range(_MOST)}
    return {
        Plugged(each["ifname"], each.get("ifalias", ""))
        for each in printed
        if each["ifname"] in ports
    }


def plan_plugging(interfaces: Iterable[Interface], there: Iterable[Plugged]) -> list[str]:
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


# -- router: routes and neighbours of interfaces ---------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route to a port: an interface's own address, or what lies behind it.

    :param destination: ``172.30.0.11/32`` or a delegated prefix.
    :param via: the interface's own address; empty for the route to that address itself.
    """

    destination: str
    port: str
    via: str = ""


def routes_of(interface: Interface) -> set[Route]:
    """The routes that an interface calls for: to its own address, and to all behind it."""
    own = Route(f"{interface.primary}/32", interface.port)
    return {own, *(Route(each, interface.port, interface.primary) for each in interface.routed)}


def routes_to(printed: Iterable[Mapping[str, Any]], ports: Collection[str]) -> set[Route]:
    """The routes to some ports, of what ``ip -json -4 route show`` prints."""
    return {
        Route(_with_length(each["dst"]), each["dev"], each.get("gateway", ""))
        for each in printed
        if each.get("dev") in ports
    }


def plan_routes(interfaces: Iterable[Interface], there: Collection[Route]) -> list[str]:
    """Commands of ip(8) that lead every address to its interface, and none elsewhere.

    :param there: the routes to the interfaces' ports, as :func:`routes_to` reads them.
    """
    commands: list[str] = []
    all_wanted: set[Route] = set()
    for interface in interfaces:
        mine = routes_of(interface)
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


# -- rounds ----------------------------------------------------------------------------------------


def reconcile(ec2: EC2Client, nodes: Mapping[str, str], file: Path) -> list[str]:
    """One round: make ports and routes what EC2 describes.

    :param nodes: node names by instance id.
    :param file: gets the interfaces as JSON once they carry packets.
    :returns: the commands that were needed.
    :raises subprocess.CalledProcessError: the kernel refuses a command.
    """
    interfaces = attached(describe(ec2), nodes)
    links = plugged_in(_show("link", "show", "type", "veth"), list(nodes.values()))
    plugging = plan_plugging(interfaces, links)
    _run(plugging)
    routes = routes_to(_show("-4", "route", "show"), {each.port for each in interfaces})
    routing = plan_routes(interfaces, routes)
    _run(routing)
    draft = file.with_suffix(".new")
    draft.write_bytes(INTERFACES.dump_json(interfaces))
    draft.replace(file)
    return [*plugging, *routing]


def _show(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-json", *words], capture_output=True, text=True, check=True)
    shown: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return shown


def _run(commands: list[str]) -> None:
    if commands:
        text = "".join(f"{line}\n" for line in commands)
        subprocess.run(
            ["ip", "-batch", "-"], input=text, capture_output=True, text=True, check=True
        )


def main() -> None:
    endpoint, region, instances, interfaces = sys.argv[1:]
    nodes = {each.id: each.node for each in INSTANCES.validate_json(Path(instances).read_bytes())}
    ec2 = connect(endpoint, region, RECONCILER)
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell.bind(DOORBELL)
    while True:
        wait = _ROUND
        try:
            for line in reconcile(ec2, nodes, Path(interfaces)):
                print(line, flush=True)
        except (BotoCoreError, ClientError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or ""
            print(f"tried again in {_RETRY:.0f} s: {error} {said}", flush=True)
            wait = _RETRY
        _wait(bell, wait)


def _wait(bell: socket.socket, seconds: float) -> None:
    """Until somebody rings, or some seconds have passed; rings that have piled up count as one."""
    bell.settimeout(seconds)
    deadline = time.monotonic() + seconds
    try:
        bell.recv(1)
        bell.setblocking(False)
        while time.monotonic() < deadline:
            bell.recv(1)
    except (TimeoutError, BlockingIOError):
        pass


if __name__ == "__main__":
    main()
