"""What dataplanes count of connections to a Service, as recorded on nodes of the lab.

Each file is the output of a command of a mechanism on the client's node, before and after 20 new
connections to the httpbin Service: VPC CNI with kube-proxy, Cilium beside kube-proxy, and Cilium
in its place.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cni.cilium.dataplane import PER_PACKET, SOCKET
from cni.dataplane import IPTABLES, NFTABLES, CountError, Mechanism
from cni.registry import DATAPLANES

FOLDER = Path(__file__).parents[1] / "fixtures" / "bench" / "service-path"
KUBE_PROXY = ("10.100.62.192", 80)
BESIDE = ("10.100.123.230", 80)
REPLACED = ("10.100.7.202", 80)


@pytest.mark.parametrize(
    ("mechanism", "name", "service", "connections"),
    [
        (IPTABLES, "kube-proxy-before", KUBE_PROXY, 0),
        (IPTABLES, "kube-proxy-after", KUBE_PROXY, 20),
        (NFTABLES, "conntrack-after", KUBE_PROXY, 20),
        (IPTABLES, "beside-cilium-after", BESIDE, 0),
        (PER_PACKET, "per-packet-before", BESIDE, 0),
        (PER_PACKET, "per-packet-after", BESIDE, 20),
        (SOCKET, "socket-before", REPLACED, 0),
        (SOCKET, "socket-after", REPLACED, 20),
        (PER_PACKET, "socket-ct-after", REPLACED, 0),
    ],
)
def test_twenty_connections_are_counted_by_what_led_them_and_by_nothing_else(
    mechanism: Mechanism, name: str, service: tuple[str, int], connections: int
) -> None:
    output = (FOLDER / f"{name}.txt").read_text()
    assert mechanism.count(output, *service) == connections


@pytest.mark.parametrize("mechanism", [IPTABLES, NFTABLES, SOCKET, PER_PACKET])
def test_another_service_or_port_is_not_counted(mechanism: Mechanism) -> None:
    name = {
        IPTABLES.name: "kube-proxy-after",
        NFTABLES.name: "conntrack-after",
        PER_PACKET.name: "per-packet-after",
        SOCKET.name: "socket-after",
    }[mechanism.name]
    output = (FOLDER / f"{name}.txt").read_text()
    for other in (("10.100.62.19", 80), ("10.100.7.202", 8080)):
        assert mechanism.count(output, *other) == 0


@pytest.mark.parametrize(
    ("mechanism", "output"), [(IPTABLES, ""), (SOCKET, "Error: bpf obj get: No such file")]
)
def test_what_is_no_listing_is_no_count(mechanism: Mechanism, output: str) -> None:
    with pytest.raises(CountError):
        mechanism.count(output, *REPLACED)


@pytest.mark.parametrize(
    ("kube_proxy", "values", "wanted"),
    [
        ("iptables", None, IPTABLES),
        ("nftables", None, NFTABLES),
        ("none", {"kubeProxyReplacement": True}, SOCKET),
        ("none", {"kubeProxyReplacement": "true", "socketLB": {"enabled": True}}, SOCKET),
        ("iptables", {"kubeProxyReplacement": False}, PER_PACKET),
        ("iptables", {"kubeProxyReplacement": False, "socketLB": {"enabled": True}}, SOCKET),
        (
            "none",
            {"kubeProxyReplacement": True, "socketLB": {"hostNamespaceOnly": True}},
            PER_PACKET,
        ),
    ],
)
def test_settings_say_what_is_expected_and_that_it_is_looked_at(
    kube_proxy: str, values: dict[str, object] | None, wanted: Mechanism
) -> None:
    plan = DATAPLANES["vpc-cni" if values is None else "cilium"].services(kube_proxy, values or {})
    assert plan.expected == wanted
    assert wanted in plan.possible


def test_kube_proxys_rules_are_looked_at_beside_cilium() -> None:
    plan = DATAPLANES["cilium"].services("iptables", {"kubeProxyReplacement": False})
    assert plan.possible == (IPTABLES, PER_PACKET)
