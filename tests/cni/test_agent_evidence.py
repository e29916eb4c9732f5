"""What agents say, recorded and made up, and what becomes of the toggles by it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cni.cilium.evidence import AgentEvidence
from cni.decisions import ToggleState, decide, verify
from cni.platform import Kernel, PlatformFacts
from cni.toggles import EvidenceError
from tests.cni.stackfiles import Load, recorded_agents

NEWER = ("netkit", "bigTCP", "wireguard")


def _states(
    load: Load, stack: str, facts: PlatformFacts, agents: list[AgentEvidence], **toggles: object
) -> dict[str, ToggleState]:
    decisions = decide(load(stack, toggles=toggles), facts)
    return {state.toggle: state for state in verify(decisions, agents)}


def test_a_recorded_agent_is_read() -> None:
    agent = recorded_agents("scenario-e")[0]
    assert agent == replace(
        AgentEvidence(node="node-1"),
        host_routing="BPF",
        network_routing="Native",
        masquerading="BPF",
        bandwidth_manager=False,
        kube_proxy_replacement=True,
        socket_lb=True,
        socket_lb_coverage="Full",
        node_port_mode="DSR",
        acceleration="Disabled",
        devices=("eth0",),
        map_sizes=agent.map_sizes,
        hubble="Disabled",
        kinds={},
        xdp={},
        qdiscs=dict.fromkeys(("lo", "eth0", "cilium_host"), frozenset({"noqueue"})),
        config=agent.config,
    )
    assert agent.config is not None
    assert agent.config["IPAM"] == "kubernetes"


def test_scenario_e_in_the_lab(load: Load, lab: PlatformFacts) -> None:
    states = _states(load, "scenario-e", lab, recorded_agents("scenario-e"))
    verdicts = {name: (s.requested, s.applied, s.verified) for name, s in states.items()}
    proven, left_out = (True, True, True), (True, False, None)
    assert verdicts == {
        "hostRouting": proven,
        "bandwidthManager": left_out,
        "bbr": left_out,
        "bpfMasquerade": proven,
        "socketLB": proven,
        "nativeRouting": proven,
        "ctTables": proven,
        "hubbleOff": proven,
        "dsr": proven,
        "xdp": left_out,
        **dict.fromkeys(NEWER, (False, False, None)),
    }
    assert states["ctTables"].evidence == (
        "node-1: conntrack maps: TCP 1048576, any 524288",
        "node-2: conntrack maps: TCP 1048576, any 524288",
    )
    assert states["xdp"].reason == "XDP wants a physical interface, and veth is not one"


def test_on_by_default_is_told_without_a_request(load: Load, lab: PlatformFacts) -> None:
    states = _states(load, "scenario-c", lab, recorded_agents("scenario-c"))
    on = {name for name, state in states.items() if state.applied}
    assert on == {"socketLB"}
    state = states["socketLB"]
    assert (state.requested, state.verified) == (False, True)
    assert state.reason == (
        "on without being requested, by the agent's defaults with these settings"
    )


def test_beside_kube_proxy_nothing_is_on(load: Load, lab: PlatformFacts) -> None:
    states = _states(load, "scenario-b", lab, recorded_agents("scenario-b"))
    assert not any(state.applied for state in states.values())
    assert states["nativeRouting"].evidence[0] == "node-1: Network Routing: Tunnel [vxlan]"
    assert states["dsr"].evidence[0] == "node-1: NodePort Mode: Disabled"


def test_one_toggle_is_the_difference(load: Load, lab: PlatformFacts) -> None:
    states = _states(load, "scenario-d", lab, recorded_agents("scenario-d"))
    assert states["nativeRouting"].verified is True
    assert states["hostRouting"].evidence[0] == "node-1: Host Routing: Legacy"


def test_an_agent_that_disabled_it_in_silence(load: Load, lab: PlatformFacts) -> None:
    states = _states(
        load, "scenario-e", replace(lab, lacks=frozenset()), recorded_agents("scenario-e")
    )
    state = states["bandwidthManager"]
    assert (state.requested, state.applied, state.verified) == (True, False, False)
    assert state.reason == (
        "the agent reports BandwidthManager: Disabled although bandwidthManager.enabled=true was "
        "set"
    )


def test_one_agent_against_it_is_enough(load: Load, lab: PlatformFacts) -> None:
    first, second = recorded_agents("scenario-e")
    agents = [first, replace(second, host_routing="Legacy")]
    state = _states(load, "scenario-e", lab, agents)["hostRouting"]
    assert (state.applied, state.verified) == (False, False)
    assert state.reason == (
        "node-2: Host Routing: Legacy although bpf.hostLegacyRouting=false was set"
    )


def test_a_node_without_evidence_leaves_it_unverified(load: Load, lab: PlatformFacts) -> None:
    decisions = decide(load("scenario-e"), lab)
    agents = recorded_agents("scenario-e")
    states = {s.toggle: s for s in verify(decisions, agents, ["node-1", "node-2", "node-3"])}
    assert (states["dsr"].applied, states["dsr"].verified) == (True, None)
    assert states["dsr"].reason == "no evidence from node-3"
    none = {s.toggle: s for s in verify(decisions, [])}
    assert none["dsr"].reason == "no evidence from any agent"


def test_an_agent_that_does_not_tell(load: Load, lab: PlatformFacts) -> None:
    first, second = recorded_agents("scenario-e")
    agents = [first, replace(second, map_sizes=None)]
    state = _states(load, "scenario-e", lab, agents)["ctTables"]
    assert (state.applied, state.verified) == (True, None)
    assert state.reason == "no evidence from node-2"


def test_on_although_decided_off(load: Load, m6i: PlatformFacts) -> None:
    state = _states(load, "scenario-e", m6i, recorded_agents("scenario-e"))["dsr"]
    assert (state.requested, state.applied, state.verified) == (True, True, False)
    assert state.reason is not None
    assert state.reason.startswith("on although it was decided off: direct server return")


def test_nothing_to_verify_with_the_vpc_cni(load: Load, lab: PlatformFacts) -> None:
    for state in _states(load, "scenario-a", lab, []).values():
        assert (state.requested, state.applied, state.verified) == (False, False, None)
        assert state.reason == "not applicable: the VPC CNI has no Cilium dataplane"


_BANDWIDTH = {"enabled": True, "congestionControl": "bbr", "devices": ["ens5"]}
_LOAD_BALANCING = {
    "mode": "True",
    "devices": ["ens5"],
    "features": {
        "nodePort": {"enabled": True, "mode": "SNAT", "acceleration": "Best-Effort"},
        "socketLB": {"enabled": True},
        "bpfSocketLBHostnsOnly": True,
    },
}
_QDISCS = [
    {"kind": "mq", "dev": "ens5", "root": True},
    {"kind": "fq", "dev": "ens5", "parent": ":1"},
]


def _ec2_agent(links: list[object], qdiscs: list[object]) -> AgentEvidence:
    status = {"bandwidth-manager": _BANDWIDTH, "kube-proxy-replacement": _LOAD_BALANCING}
    return AgentEvidence.parse(
        "node-1",
        {
            "status": json.dumps(status),
            "links": json.dumps(links),
            "qdiscs": json.dumps(qdiscs),
        },
    )


def test_the_bandwidth_manager_needs_fq_on_its_devices(load: Load, m6i: PlatformFacts) -> None:
    fair = _states(load, "scenario-e", m6i, [_ec2_agent([], list(_QDISCS))])
    assert fair["bandwidthManager"].verified is True
    assert fair["bbr"].verified is True
    assert fair["bbr"].evidence == ("node-1: BandwidthManager: EDT with BPF [BBR], fq on ens5",)
    unfair = _states(load, "scenario-e", m6i, [_ec2_agent([], list(_QDISCS[:1]))])
    assert unfair["bbr"].verified is False
    assert unfair["bbr"].reason == (
        "the agent reports BandwidthManager: EDT with BPF [BBR], but no fq qdisc on ens5 although "
        "bandwidthManager.bbr=true was set"
    )


@pytest.mark.parametrize(
    ("xdp", "verified", "said"),
    [
        ({"mode": 1, "prog": {"id": 4}}, True, "attached: ens5 driver"),
        ({"mode": 2, "prog": {"id": 4}}, False, "attached: ens5 generic"),
        (None, False, "attached: ens5 none"),
    ],
)
def test_xdp_is_proven_by_the_interface_and_not_by_the_setting(
    load: Load, m6i: PlatformFacts, xdp: object, verified: bool, said: str
) -> None:
    link = {"ifname": "ens5", "mtu": 3498} | ({"xdp": xdp} if xdp else {})
    metal = replace(m6i, bare_metal=True)
    state = _states(load, "scenario-e", metal, [_ec2_agent([link, {}], [])])["xdp"]
    assert state.verified is verified
    assert state.evidence == (f"node-1: XDP Acceleration: Best-Effort, {said}",)


def test_a_real_agent_that_could_not_attach_xdp(load: Load, m6i: PlatformFacts) -> None:
    metal = replace(m6i, bare_metal=True)
    state = _states(load, "scenario-e", metal, recorded_agents("scenario-e-xdp"))["xdp"]
    assert (state.requested, state.applied, state.verified) == (True, False, False)
    assert state.reason == (
        "the agent reports XDP Acceleration: Best-Effort, attached: eth0 none although "
        "loadBalancer.acceleration=best-effort was set"
    )


def test_socket_lb_of_the_host_alone_is_no_proof(load: Load, m6i: PlatformFacts) -> None:
    state = _states(load, "scenario-e", m6i, [_ec2_agent([], [])])["socketLB"]
    assert state.verified is False
    assert state.evidence == ("node-1: Socket LB: Enabled, Coverage: Hostns-only",)


@pytest.mark.parametrize("version", ["1.16.5", "1.20.2"])
def test_big_tcp_on_veth_was_at_work(load: Load, lab: PlatformFacts, version: str) -> None:
    asked = dict.fromkeys(("bpfMasquerade", "hostRouting", "bigTCP"), True)
    agents = recorded_agents("scenario-d-big-tcp", version)
    states = _states(load, "scenario-d", lab, agents, **asked)
    assert (states["bigTCP"].applied, states["bigTCP"].verified) == (True, True)
    assert {name: states[name].evidence for name in NEWER} == {
        "netkit": ("node-1: Device Mode: veth",),
        "bigTCP": ("node-1: BIG TCP: IPv4 196608",),
        "wireguard": ("node-1: Encryption: Disabled",),
    }


# As `pkg/status`, `pkg/wireguard/agent` and `api/v1/models` of 1.16.5 and 1.20.2 write it: the
# lab's kernel had neither netkit nor WireGuard.
_NEWER = {
    "datapath-mode": "netkit",
    "ipv4-big-tcp": {"enabled": True, "maxGRO": 196608, "maxGSO": 196608},
    "ipv6-big-tcp": {"maxGRO": 65536, "maxGSO": 65536},
    "encryption": {
        "mode": "Wireguard",
        "wireguard": {
            "node-encryption": "Disabled",
            "interfaces": [{"name": "cilium_wg0", "listen-port": 51871, "peer-count": 2}],
        },
    },
}
_KINDS = [
    {"ifname": "ens5"},
    {"ifname": "lxc1b14086930ee", "linkinfo": {"info_kind": "netkit"}},
    {"ifname": "cilium_wg0", "linkinfo": {"info_kind": "wireguard"}},
]


def _newer_states(
    load: Load, facts: PlatformFacts, *, links: list[Any] | None = None, **sections: object
) -> dict[str, ToggleState]:
    status, shown = {**_NEWER, **sections}, _KINDS if links is None else links
    outputs = {"status": json.dumps(status), "links": json.dumps(shown)}
    agent = AgentEvidence.parse("node-1", outputs)
    able = replace(facts, driver="mlx5_core", kernel=Kernel(6, 18))
    return _states(load, "scenario-e", able, [agent], **dict.fromkeys(NEWER, True))


def test_netkit_big_tcp_and_wireguard_are_proven_by_what_an_agent_has(
    load: Load, m6i: PlatformFacts
) -> None:
    states = _newer_states(load, m6i)
    assert {name: (states[name].verified, states[name].evidence[0]) for name in NEWER} == {
        "netkit": (True, "node-1: Device Mode: netkit"),
        "bigTCP": (True, "node-1: BIG TCP: IPv4 196608"),
        "wireguard": (True, "node-1: Encryption: Wireguard, cilium_wg0 with 2 peers"),
    }


@pytest.mark.parametrize(
    ("toggle", "section", "said"),
    [
        ("netkit", {"datapath-mode": "veth"}, "Device Mode: veth"),
        (
            "netkit",
            {"links": [{"ifname": "lxc1", "linkinfo": {"info_kind": "veth"}}]},
            "Device Mode: netkit, but pods' devices are veth",
        ),
        # What 1.16.5 says where the kernel has refused the size: enabled, and as it was.
        (
            "bigTCP",
            {"ipv4-big-tcp": {"enabled": True, "maxGRO": 65536, "maxGSO": 65536}},
            "BIG TCP: IPv4 65536",
        ),
        # And 1.20.2, where a device sends 64 KiB at most.
        (
            "bigTCP",
            {"ipv4-big-tcp": {"enabled": True, "maxGRO": 196608, "maxGSO": 65536}},
            "BIG TCP: IPv4 65536",
        ),
        (
            "bigTCP",
            {"ipv4-big-tcp": {"maxGRO": 196608, "maxGSO": 196608}},
            "BIG TCP: IPv4 Disabled",
        ),
        (
            "bigTCP",
            {"ipv6-big-tcp": {"enabled": True, "maxGRO": 65536, "maxGSO": 65536}},
            "BIG TCP: IPv4 196608, IPv6 65536",
        ),
        ("wireguard", {"encryption": {"mode": "Disabled"}}, "Encryption: Disabled"),
        (
            "wireguard",
            {"encryption": {"mode": "Wireguard", "msg": "failed to get device: …"}},
            "Encryption: Wireguard, no cilium_wg0",
        ),
        (
            "wireguard",
            {
                "encryption": {
                    "mode": "Wireguard",
                    "wireguard": {"interfaces": [{"name": "cilium_wg0"}]},
                }
            },
            "Encryption: Wireguard, cilium_wg0 with 0 peers",
        ),
    ],
)
def test_an_agent_without_it_is_told(
    load: Load, m6i: PlatformFacts, toggle: str, section: dict[str, Any], said: str
) -> None:
    state = _newer_states(load, m6i, **section)[toggle]
    assert (state.applied, state.verified) == (False, False)
    assert state.evidence == (f"node-1: {said}",)


def test_an_empty_status_proves_nothing(load: Load, m6i: PlatformFacts) -> None:
    silent = AgentEvidence.parse("node-1", {"status": "{}"})
    for state in _states(load, "scenario-e", m6i, [silent]).values():
        assert state.verified is None


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "node-1: outputs of"),
        ({"status": "{}", "routes": ""}, "node-1: outputs of"),
        ({"status": "Cannot get status"}, "node-1: cilium-dbg status -o json: no JSON"),
        ({"status": ""}, "no JSON .*: nothing"),
        ({"status": "[]"}, "node-1: cilium-dbg status -o json: a list, not dict"),
        ({"status": "{}", "links": "{}"}, "node-1: ip -json -details link show: a dict, not list"),
    ],
)
def test_unusable_outputs_name_the_node_and_the_command(
    outputs: dict[str, str], message: str
) -> None:
    with pytest.raises(EvidenceError, match=message):
        AgentEvidence.parse("node-1", outputs)
