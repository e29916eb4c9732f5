"""The VPC's router and hypervisor on the real kernel: two nodes, no cluster."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab import network
from lab.cloud import reconciler
from lab.cloud.vpc import Interface
from lab.network import node_addresses
from lab.sandbox import LabPaths, Place, Sandbox

pytestmark = pytest.mark.lab

NODES = node_addresses(2)
NAMES = [node.name for node in NODES]
FIRST = [Interface(f"eni-{node.name}", node.name, 0, node.mac, node.ip) for node in NODES]
SECOND = Interface(
    "eni-2",
    "node-2",
    1,
    network.mac_of("172.30.0.4"),
    "172.30.0.4",
    addresses=("172.30.4.0",),
    prefixes=("172.30.12.0/28",),
)
ON_NODE_1 = Place(netns="node-1")
ON_NODE_2 = Place(netns="node-2")
#: Connects over TCP and prints how that went; optionally from an address of its own.
CONNECT = """
import socket, sys
probe = socket.socket()
probe.settimeout(1)
if len(sys.argv) > 2:
    probe.bind((sys.argv[2], 0))
try:
    probe.connect((sys.argv[1], 9))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def sandbox(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        made = Sandbox(LabPaths.of(f"pytest-fabric-{secrets.token_hex(4)}"))
    made.start()
    try:
        network.make_fabric(made)
        for node in NODES:
            network.attach_node(made, node)
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def first_interfaces_only(sandbox: Sandbox) -> Iterator[None]:
    yield
    _reconcile(sandbox, FIRST)


def _plan(sandbox: Sandbox, interfaces: list[Interface]) -> tuple[list[str], list[str]]:
    """What hypervisor and router would do now."""
    links = json.loads(sandbox.run(["ip", "-json", "link", "show", "type", "veth"]).stdout)
    routes = json.loads(sandbox.run(["ip", "-json", "-4", "route", "show"]).stdout)
    ports = {each.port for each in interfaces}
    return (
        reconciler.plan_plugging(interfaces, reconciler.plugged_in(links, NAMES)),
        reconciler.plan_routes(interfaces, reconciler.routes_to(routes, ports)),
    )


def _reconcile(sandbox: Sandbox, interfaces: list[Interface]) -> None:
    for step in (0, 1):  # routes need the ports
        commands = _plan(sandbox, interfaces)[step]
        if commands:
            network.batch(sandbox, commands)


def _connect(sandbox: Sandbox, place: Place, *words: str) -> str:
    return sandbox.run(["python3", "-c", CONNECT, *words], place).stdout.strip()


def _devices(sandbox: Sandbox, place: Place) -> dict[str, str]:
    shown = json.loads(sandbox.run(["ip", "-json", "link", "show"], place).stdout)
    return {each["ifname"]: each["address"] for each in shown}


def _refused_sources(sandbox: Sandbox) -> int:
    """Packets that the router has dropped since their sender does not have their source."""
    shown = sandbox.run(["cat", "/proc/thread-self/net/netstat"]).stdout.splitlines()
    names, values = (line.split() for line in shown if line.startswith("TcpExt:"))
    return int(values[names.index("IPReversePathFilter")])


# -- the VPC ------------------------------------------------------------------------------------


def test_nodes_reach_each_other_and_the_router(sandbox: Sandbox) -> None:
    # Nothing listens, so a refusal is the other side's own answer.
    assert _connect(sandbox, ON_NODE_1, NODES[1].ip) == "ConnectionRefusedError"
    assert _connect(sandbox, ON_NODE_2, str(network.GATEWAY)) == "ConnectionRefusedError"


def test_the_router_answers_arp_in_everybodys_place(sandbox: Sandbox) -> None:
    _connect(sandbox, ON_NODE_1, NODES[1].ip)
    shown = json.loads(sandbox.run(["ip", "-json", "neigh", "show"], ON_NODE_1).stdout)
    (mac,) = [each["lladdr"] for each in shown if each["dst"] == NODES[1].ip]
    assert mac == _devices(sandbox, Place())[NODES[0].port] != NODES[1].mac


def test_an_address_that_nobody_has_is_not_found(sandbox: Sandbox) -> None:
    assert _connect(sandbox, ON_NODE_1, "172.30.0.200") in ("OSError", "TimeoutError")


def test_a_packet_must_come_from_an_address_of_its_interface(sandbox: Sandbox) -> None:
    assert _connect(sandbox, ON_NODE_1, str(network.GATEWAY)) == "ConnectionRefusedError"
    before = _refused_sources(sandbox)
    sandbox.script(f"ip addr add {NODES[1].ip}/32 dev lo", ON_NODE_1)
    assert _connect(sandbox, ON_NODE_1, str(network.GATEWAY), NODES[1].ip) == "TimeoutError"
    sandbox.script(f"ip addr del {NODES[1].ip}/32 dev lo", ON_NODE_1)
    assert _refused_sources(sandbox) > before


def test_frames_are_as_large_as_in_a_vpc(sandbox: Sandbox) -> None:
    for place, device in ((ON_NODE_1, "ens5"), (Place(), NODES[0].port)):
        (shown,) = json.loads(
            sandbox.run(["ip", "-json", "link", "show", "dev", device], place).stdout
        )
        assert shown["mtu"] == 9001


def test_a_routed_subnet_is_led_to_its_node(sandbox: Sandbox) -> None:
    sandbox.script("ip addr add 172.30.102.2/32 dev lo", ON_NODE_2)
    assert _connect(sandbox, ON_NODE_1, "172.30.102.2") != "ConnectionRefusedError"
    network.route_to(sandbox, NODES[1], NODES[1].pod_cidr)
    assert _connect(sandbox, ON_NODE_1, "172.30.102.2") == "ConnectionRefusedError"
    sandbox.script("ip addr del 172.30.102.2/32 dev lo", ON_NODE_2)


# -- interfaces ---------------------------------------------------------------------------------


def test_what_nodes_are_born_with_is_what_their_first_interfaces_call_for(
    sandbox: Sandbox,
) -> None:
    assert _plan(sandbox, FIRST)[0] == []


def test_an_attached_interface_appears_with_its_mac_and_carries_its_addresses(
    sandbox: Sandbox,
) -> None:
    _reconcile(sandbox, [*FIRST, SECOND])
    assert _devices(sandbox, ON_NODE_2)["ens6"] == SECOND.mac
    sandbox.script("ip addr add 172.30.4.0/32 dev lo; ip addr add 172.30.12.7/32 dev lo", ON_NODE_2)
    addresses = ("172.30.4.0", "172.30.12.7")
    # Answers would leave by the node's first interface, which does not have their source.
    assert {_connect(sandbox, ON_NODE_1, each) for each in addresses} == {"TimeoutError"}
    # What Cilium's agent sets up for an interface.
    sandbox.script(
        f"""
ip link set ens6 up
ip route add {network.GATEWAY} dev ens6 table 11
ip route add default via {network.GATEWAY} dev ens6 table 11
ip rule add from 172.30.4.0 lookup 11
ip rule add from 172.30.12.0/28 lookup 11
""",
        ON_NODE_2,
    )
    assert {_connect(sandbox, ON_NODE_1, each) for each in addresses} == {"ConnectionRefusedError"}
    sandbox.script(
        """
ip addr del 172.30.4.0/32 dev lo
ip addr del 172.30.12.7/32 dev lo
ip rule del from 172.30.4.0 lookup 11
ip rule del from 172.30.12.0/28 lookup 11
""",
        ON_NODE_2,
    )


def test_a_second_round_finds_nothing_to_do(sandbox: Sandbox) -> None:
    _reconcile(sandbox, [*FIRST, SECOND])
    assert _plan(sandbox, [*FIRST, SECOND]) == ([], [])


def test_a_detached_interface_takes_its_device_and_routes_along(sandbox: Sandbox) -> None:
    _reconcile(sandbox, [*FIRST, SECOND])
    _reconcile(sandbox, FIRST)
    assert "ens6" not in _devices(sandbox, ON_NODE_2)
    assert SECOND.port not in sandbox.run(["ip", "route", "show"]).stdout
    assert _connect(sandbox, ON_NODE_1, NODES[1].ip) == "ConnectionRefusedError"


def test_a_round_that_was_interrupted_is_gone_on_with(sandbox: Sandbox) -> None:
    everything = _plan(sandbox, [*FIRST, SECOND])[0]
    for done in range(1, len(everything)):
        network.batch(sandbox, everything[:done])
        _reconcile(sandbox, [*FIRST, SECOND])
        assert _plan(sandbox, [*FIRST, SECOND]) == ([], [])
        _reconcile(sandbox, FIRST)


def test_an_address_that_moves_is_led_to_its_new_interface(sandbox: Sandbox) -> None:
    _reconcile(sandbox, [*FIRST, SECOND])
    to_first = replace(FIRST[0], addresses=SECOND.addresses)
    left = replace(SECOND, addresses=())
    interfaces = [to_first, FIRST[1], left]
    _reconcile(sandbox, interfaces)
    assert _plan(sandbox, interfaces) == ([], [])
    shown = sandbox.run(["ip", "route", "get", "172.30.4.0"]).stdout
    assert "dev node-1-ens5" in shown
