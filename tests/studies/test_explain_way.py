"""A packet's way, from what perf, iptables and bpftool have told of real labs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.text import ParseError
from report.explain import counts, step_words
from studies.experiments.capabilities import AtDevice
from studies.explain.way import (
    CLIENT,
    CLIENT_POD,
    SERVER,
    SERVER_POD,
    Counters,
    Followed,
    Looked,
    Node,
    Way,
    events,
    looked,
    runs,
    tables,
    way,
)

BEFORE = """\
*filter
:FORWARD ACCEPT [100:6000]
:USER - [0:0]
[10:600] -A FORWARD -m comment --comment "marked" -j MARK --set-xmark 0x1
[10:600] -A FORWARD -p tcp -j USER
[0:0] -A FORWARD -s 192.0.2.1/32 -j DROP
[0:0] -A USER -s 192.0.2.2/32 -j RETURN
[0:0] -A USER -s 192.0.2.3/32 -j ACCEPT
COMMIT
"""
# Of 40 packets: 20 into the chain, of which 5 leave it at its first rule and 10 end at its second.
AFTER = (
    BEFORE.replace("FORWARD ACCEPT [100:6000]", "FORWARD ACCEPT [130:7800]")
    .replace("[10:600] -A FORWARD -m comment", "[50:3000] -A FORWARD -m comment")
    .replace("[10:600] -A FORWARD -p tcp", "[30:1800] -A FORWARD -p tcp")
    .replace("[0:0] -A USER -s 192.0.2.2/32", "[5:300] -A USER -s 192.0.2.2/32")
    .replace("[0:0] -A USER -s 192.0.2.3/32", "[10:600] -A USER -s 192.0.2.3/32")
)


def test_rules_are_those_that_a_packet_is_held_against() -> None:
    met = looked(tables(BEFORE), tables(AFTER), operations=20)
    # Two rules of 40 packets, two of the 20 in the chain less the 5 that leave it, one of the 30
    # that are left.
    held = 2 * 40 + 20 + 15 + 30
    matched = ["FORWARD → MARK", "FORWARD → USER"]
    assert met == {
        "FORWARD": [Looked(table="filter", packets=2.0, rules=held / 40, matched=matched)]
    }


UNCOUNTED = """\
*mangle
:FORWARD ACCEPT [0:0]
[0:0] -A FORWARD -s 192.0.2.4/32 -j DROP
[0:0] -A FORWARD -s 192.0.2.5/32 -j DROP
COMMIT
*nat
:FORWARD ACCEPT [0:0]
[0:0] -A FORWARD -s 192.0.2.6/32 -j DNAT
COMMIT
"""


def test_where_policies_are_not_counted_other_tables_tell_how_many_came() -> None:
    met = looked(tables(UNCOUNTED + BEFORE), tables(UNCOUNTED + AFTER), operations=20)
    assert [(each.table, each.packets, each.rules) for each in met["FORWARD"]] == [
        ("mangle", 2.0, 2.0), ("filter", 2.0, 145 / 40),
    ]  # fmt: skip


def test_rules_that_nothing_matches_are_all_met_but_for_those_of_nat() -> None:
    met = looked(tables(UNCOUNTED), tables(UNCOUNTED), operations=20)
    assert met == {"FORWARD": [Looked(table="mangle", packets=1.0, rules=2.0, matched=[])]}


def test_chains_that_were_changed_meanwhile_tell_nothing() -> None:
    changed = AFTER.replace("192.0.2.1/32", "192.0.2.9/32")
    assert looked(tables(BEFORE), tables(changed), operations=20) == {}


@pytest.mark.parametrize("told", ["", "7", '[{"id": 1}, {}]'])
def test_what_bpftool_does_not_say_is_an_error(told: str) -> None:
    with pytest.raises(ParseError):
        runs(told)


def test_what_perf_does_not_say_is_an_error() -> None:
    with pytest.raises(ParseError, match="is no event"):
        list(events("usage: perf script\n"))


RECORDED = Path(__file__).parents[1] / "fixtures" / "studies" / "way"
"""What labs on a busy machine have told: a node's devices, rules and programs before and after so
many operations, and the first events that perf saw."""


def recorded(name: str) -> tuple[list[Node], str, int]:
    """The client's node and the others, what perf tells, and the number of operations."""
    told = json.loads(gzip.decompress((RECORDED / f"{name}.json.gz").read_bytes()))

    def counters(node: dict[str, Any], when: int) -> Counters:
        return Counters(
            frozenset(node["devices"].split()),
            tables(node["iptables"][when]),
            [AtDevice(*each) for each in node["attached"]],
            runs(node["programs"][when]),
        )

    number = told["operations"]
    begin = name.endswith("connection")
    nodes = [
        Node.of(counters(each, 0), counters(each, 1), number, begin=begin) for each in told["nodes"]
    ]
    return nodes, told["perf"], number


def followed(name: str, begins: str = "tcp_sendmsg") -> Way:
    (client, *servers), text, _ = recorded(name)
    return way(events(text), begins, client, servers)


def there(of: Way, place: str) -> list[str]:
    return [step_words(step) for step in of.steps if step.place == place]


def test_a_packet_of_the_vpc_cni_is_routed_and_held_against_rules_on_both_nodes() -> None:
    found = followed("scenario-a-roundtrip")
    assert (found.packets, found.share) == (30, 1.0)
    forward = "FORWARD, filter: 5 rules (FORWARD → KUBE-FORWARD, KUBE-FORWARD → ACCEPT)"
    marked = "PREROUTING, mangle: 3 rules (PREROUTING → CONNMARK)"
    assert there(found, CLIENT) == [
        "in at eni…",
        marked,
        "route lookup, table local no route",
        "route lookup, table main to ens5",
        "route lookup, table local back to the sender, no route",
        "route lookup, table main back to the sender, to eni…",
        forward,
        "out at ens5",
    ]
    assert there(found, CLIENT_POD) == ["out at eth0"]
    assert there(found, SERVER)[:2] == ["in at ens5", marked]
    assert there(found, SERVER)[-2:] == [forward, "out at eni…"]
    assert there(found, SERVER_POD) == ["in at eth0", "TCP"]


def test_a_connections_first_packet_meets_nat_and_is_sent_on_at_the_clients_node() -> None:
    found = followed("scenario-a-connection", "tcp_v4_connect")
    hooks = [step for step in found.steps if step.kind == "hook"]
    at_each = ["PREROUTING", "FORWARD", "POSTROUTING"]
    assert [step.what for step in hooks] == 2 * at_each
    mangle, _, nat = hooks[0].note.partition("; ")
    assert mangle == "mangle: 3 rules (PREROUTING → CONNMARK)"
    assert nat.startswith("nat: 8 rules (PREROUTING → KUBE-SERVICES, KUBE-SERVICES → KUBE-SVC-")
    assert [step.place for step in hooks if "→ DNAT" in step.note] == [CLIENT]
    assert all("AWS-SNAT-CHAIN-0 → RETURN" in step.note for step in hooks[2::3])


def test_a_packet_of_an_overlay_is_packed_and_looked_up_again() -> None:
    found = followed("scenario-b-roundtrip")
    assert there(found, CLIENT)[:5] == [
        "in at lxc…", "BPF: cil_from_container", "BPF: cil_to_overlay", "out at cilium_vxlan",
        "packed into VXLAN",
    ]  # fmt: skip
    # Of netfilter only the outer packet sees anything.
    assert [step.what for step in found.steps if step.kind == "hook"] == [
        "OUTPUT", "POSTROUTING", "PREROUTING",
    ]  # fmt: skip
    assert there(found, SERVER)[-3:] == [
        "in at cilium_vxlan",
        "BPF: cil_from_overlay",
        "out at lxc…",
    ]


def test_host_routing_leads_past_rules_and_into_the_pod() -> None:
    found = followed("scenario-e-roundtrip")
    assert there(found, CLIENT) == [
        "in at lxc…", "BPF: cil_from_container", "BPF: tail_handle_ipv4",
        "route lookup, table local no route", "route lookup, table 10 to ens5",
        "redirected by BPF", "BPF: cil_to_netdev", "out at ens5",
    ]  # fmt: skip
    assert there(found, SERVER) == ["in at ens5", "BPF: cil_from_netdev"]
    assert there(found, SERVER_POD) == ["TCP"]
    assert not [step for step in found.steps if step.rules]


def test_what_packets_meet_is_counted() -> None:
    ways = {name: followed(f"{name}-roundtrip") for name in ("scenario-a", "scenario-e")}
    assert counts(Followed(packet="data", sides=ways)) == [
        "scenario-a: 8 devices, 11 route lookups, 16 rules (100 % of 30 packets).",
        "scenario-e: 6 devices, 4 BPF programs, 4 route lookups (100 % of 30 packets).",
    ]


def test_answers_and_packets_of_others_are_not_followed() -> None:
    (client, *servers), text, _ = recorded("scenario-a-roundtrip")
    # The answers alone: the client's node is then where they come from.
    at_servers = Node(frozenset(), {}, {})
    with pytest.raises(ParseError, match="too few"):
        way(events(text), "tcp_sendmsg", at_servers, [client, *servers])
    with pytest.raises(ParseError, match="too few"):
        way(events(text), "udp_sendmsg", client, servers)
