"""What dataplanes count of connections to a Service, as recorded on nodes of the lab.

Each file is the output of a command of ``COMMANDS`` on the client's node, before and after 20 new
connections to the httpbin Service: VPC CNI with kube-proxy, Cilium beside kube-proxy, and Cilium
in its place.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.parse import ParseError
from bench.parse.service_path import (
    COMMANDS,
    IPTABLES,
    NFTABLES,
    PER_PACKET,
    SOCKET,
    count,
    expected,
    mechanisms,
)
from bench.session import Service

FOLDER = Path(__file__).parents[1] / "fixtures" / "bench" / "service-path"
KUBE_PROXY = Service("httpbin", "10.100.62.192", 80)
BESIDE = Service("httpbin", "10.100.123.230", 80)
REPLACED = Service("httpbin", "10.100.7.202", 80)


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
    mechanism: str, name: str, service: Service, connections: int
) -> None:
    output = (FOLDER / f"{name}.txt").read_text()
    assert count(mechanism, output, service) == connections


@pytest.mark.parametrize("mechanism", COMMANDS)
def test_another_service_or_port_is_not_counted(mechanism: str) -> None:
    name = {
        IPTABLES: "kube-proxy-after",
        NFTABLES: "conntrack-after",
        PER_PACKET: "per-packet-after",
        SOCKET: "socket-after",
    }[mechanism]
    output = (FOLDER / f"{name}.txt").read_text()
    for other in (Service("x", "10.100.62.19", 80), Service("x", "10.100.7.202", 8080)):
        assert count(mechanism, output, other) == 0


@pytest.mark.parametrize(
    ("mechanism", "output"), [(IPTABLES, ""), (SOCKET, "Error: bpf obj get: No such file")]
)
def test_what_is_no_listing_is_no_count(mechanism: str, output: str) -> None:
    with pytest.raises(ParseError):
        count(mechanism, output, REPLACED)


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
    kube_proxy: str, values: dict[str, object] | None, wanted: str
) -> None:
    assert expected(kube_proxy, values) == wanted
    assert wanted in mechanisms(kube_proxy, values)


def test_kube_proxys_rules_are_looked_at_beside_cilium() -> None:
    assert mechanisms("iptables", {"kubeProxyReplacement": False}) == (IPTABLES, PER_PACKET)
