"""Guards: which toggles are applied where, with which reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cni.cilium.toggles import dynamic_conntrack_sizes
from cni.decisions import GuardError, decide
from cni.platform import Feature, Kernel, PlatformFacts, known_facts
from cni.registry import TOGGLES
from cni.scenario import Scenario
from cni.toggles import Decision
from tests.cni.stackfiles import Load


def _by_name(scenario: Scenario, facts: PlatformFacts) -> dict[str, Decision]:
    return {decision.toggle: decision for decision in decide(scenario, facts)}


def test_scenario_e_on_the_studys_instances(load: Load, m6i: PlatformFacts) -> None:
    decisions = _by_name(load("scenario-e"), m6i)
    assert list(decisions) == list(TOGGLES)
    not_asked = {name for name, decision in decisions.items() if not decision.requested}
    assert not_asked == {"netkit", "bigTCP", "wireguard"}
    not_applied = {name: d.reason for name, d in decisions.items() if d.requested and not d.applied}
    assert not_applied == {
        "dsr": "direct server return crashes the agent on virtualised EC2 instances with ENA",
        "xdp": "the ENA driver on virtualised EC2 instances has no XDP bpf_link support, so XDP "
        "does not attach",
    }
    assert decisions["dsr"].values == {"loadBalancer": {"mode": "snat"}}
    assert decisions["xdp"].values == {"loadBalancer": {"acceleration": "disabled"}}


@pytest.mark.parametrize(
    ("facts", "dsr", "acceleration"),
    [
        ({"driver": "mlx5_core", "bare_metal": True}, "dsr", "native"),
        ({"driver": "i40e", "bare_metal": True}, "dsr", "native"),
        ({"driver": "ixgbe", "bare_metal": True}, "dsr", "native"),
        ({"driver": "bnxt_en", "bare_metal": True}, "dsr", "native"),
        ({"driver": "ena", "bare_metal": True}, "dsr", "best-effort"),
        ({"driver": "ena", "bare_metal": False}, "snat", "disabled"),
        ({"driver": "virtio_net", "bare_metal": False}, "dsr", "disabled"),
        ({"driver": "veth", "bare_metal": False}, "dsr", "disabled"),
        ({"driver": "mlx5_core", "bare_metal": True, "kernel": Kernel(5, 9)}, "dsr", "disabled"),
    ],
)
def test_the_load_balancer_by_hardware(
    load: Load, m6i: PlatformFacts, facts: dict[str, Any], dsr: str, acceleration: str
) -> None:
    decisions = _by_name(load("scenario-e"), replace(m6i, **facts))
    assert decisions["dsr"].values == {"loadBalancer": {"mode": dsr}}
    assert decisions["xdp"].values == {"loadBalancer": {"acceleration": acceleration}}


@pytest.mark.parametrize(
    ("toggle", "facts", "reason"),
    [
        ("hostRouting", {"kernel": Kernel(5, 9)}, "needs kernel 5.10, nodes have 5.9"),
        ("bandwidthManager", {"kernel": Kernel(5, 0)}, "needs kernel 5.1, nodes have 5.0"),
        (
            "bandwidthManager",
            {"lacks": frozenset({Feature.FQ})},
            "needs the fq queueing discipline, which nodes cannot use",
        ),
        ("bbr", {"kernel": Kernel(5, 17)}, "needs kernel 5.18, nodes have 5.17"),
        (
            "bbr",
            {"lacks": frozenset({Feature.BBR})},
            "needs the kernel's BBR congestion control, which nodes do not have",
        ),
        (
            "bbr",
            {"lacks": frozenset({Feature.FQ})},
            "needs bandwidthManager, which is not applied (needs the fq queueing discipline, "
            "which nodes cannot use)",
        ),
    ],
)
def test_needs_of_the_platform(
    load: Load, m6i: PlatformFacts, toggle: str, facts: dict[str, Any], reason: str
) -> None:
    decision = _by_name(load("scenario-e"), replace(m6i, **facts))[toggle]
    assert (decision.applied, decision.reason) == (False, reason)
    assert decision.values == TOGGLES[toggle].off


@pytest.mark.parametrize(
    ("toggle", "reason"),
    [
        (
            "hostRouting",
            "needs bpfMasquerade, which is not applied (not requested: left to the "
            "chart's default)",
        ),
        (
            "bbr",
            "needs bandwidthManager, which is not applied (not requested: left to the chart's "
            "default); needs hostRouting, which is not applied (not requested: left to the chart's "
            "default)",
        ),
    ],
)
def test_one_toggle_at_a_time_says_what_it_lacks(
    load: Load, m6i: PlatformFacts, toggle: str, reason: str
) -> None:
    decision = _by_name(load("scenario-d", toggles={toggle: True}), m6i)[toggle]
    assert (decision.applied, decision.reason) == (False, reason)


@pytest.mark.parametrize("toggle", ["bpfMasquerade", "xdp"])
def test_beside_kube_proxy_nothing_of_nodeport_is_applied(
    load: Load, m6i: PlatformFacts, toggle: str
) -> None:
    metal = replace(m6i, bare_metal=True)
    decision = _by_name(load("scenario-b", toggles={toggle: True}), metal)[toggle]
    assert decision.reason == "needs kubeProxyReplacement: true"


def test_an_unknown_kernel_is_no_obstacle_but_a_note(load: Load, m6i: PlatformFacts) -> None:
    decision = _by_name(load("scenario-e"), replace(m6i, kernel=None))["hostRouting"]
    assert decision.applied
    assert decision.notes == ("wants kernel 5.10; the nodes' kernel is not known yet",)


@pytest.mark.parametrize(
    ("toggle", "settings", "facts", "reason"),
    [
        ("netkit", {}, {"kernel": Kernel(6, 18)}, None),
        ("netkit", {}, {"kernel": Kernel(6, 1)}, "needs kernel 6.8, nodes have 6.1; with ENI"),
        (
            "netkit",
            {},
            {"kernel": Kernel(6, 12)},
            "with ENI addresses agents stop without the scrub attributes of netkit, which are sure "
            "to be there from kernel 6.13 on only, nodes have 6.12",
        ),
        ("netkit", {"cniVersion": "1.16.5"}, {"kernel": Kernel(6, 12)}, None),
        ("netkit", {}, {"lacks": frozenset({Feature.NETKIT})}, "needs netkit devices, which the"),
        ("netkit", {"toggles": {"hostRouting": False}}, {}, "needs hostRouting, which is not"),
        ("bigTCP", {}, {"driver": "mlx5_core"}, None),
        ("bigTCP", {}, {}, "the ENA driver takes packets of 64 KiB at most"),
        ("bigTCP", {}, {"driver": "mlx5_core", "kernel": Kernel(6, 1)}, "needs kernel 6.3, nodes"),
        ("bigTCP", {"stack": "scenario-c"}, {"driver": "mlx5_core"}, "needs nativeRouting, which"),
        ("wireguard", {}, {"kernel": Kernel(6, 1)}, None),
        ("wireguard", {"stack": "scenario-b"}, {}, None),
        ("wireguard", {}, {"kernel": Kernel(5, 4)}, "needs kernel 5.6, nodes have 5.4"),
        ("wireguard", {}, {"lacks": frozenset({Feature.WIREGUARD})}, "needs WireGuard, which the"),
    ],
)
def test_needs_of_netkit_big_tcp_and_wireguard(
    load: Load,
    m6i: PlatformFacts,
    toggle: str,
    settings: dict[str, Any],
    facts: dict[str, Any],
    reason: str | None,
) -> None:
    asked = {**settings.get("toggles", {}), toggle: True}
    scenario = load(**{"stack": "scenario-e"} | settings | {"toggles": asked})
    decision = _by_name(scenario, replace(m6i, **{"kernel": Kernel(6, 18)} | facts))[toggle]
    assert decision.applied == (reason is None)
    assert (decision.reason or "").startswith(reason or "")


def test_notes_on_netkit_and_big_tcp(load: Load, m6i: PlatformFacts) -> None:
    facts = replace(m6i, driver="mlx5_core", kernel=Kernel(6, 12))
    toggles = {"netkit": True, "bigTCP": True, "wireguard": True}
    decisions = _by_name(load("scenario-e", toggles, cniVersion="1.16.5"), facts)
    assert all(decisions[name].applied for name in toggles)
    assert "network policies may take a pod's own node" in decisions["netkit"].notes[0]
    assert "without encryption only" in decisions["bigTCP"].notes[0]
    later = _by_name(load("scenario-e", toggles), replace(facts, kernel=Kernel(6, 18)))
    assert later["netkit"].notes == ()


def test_strict_lists_every_toggle_that_would_fall_back(load: Load, m6i: PlatformFacts) -> None:
    with pytest.raises(GuardError) as refused:
        decide(load("scenario-e", strict=True), m6i)
    lines = str(refused.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["toggles.dsr", "toggles.xdp"]
    assert lines[0] == (
        "toggles.dsr: strict is set, and it cannot be applied on m6i.xlarge: direct server return "
        "crashes the agent on virtualised EC2 instances with ENA. Fix: remove toggles.dsr, or set "
        "strict: false"
    )


def test_strict_is_content_where_all_is_applied(load: Load, m6i: PlatformFacts) -> None:
    scenario = load("scenario-e", strict=True, toggles={"dsr": None, "xdp": False})
    assert decide(scenario, m6i)


def test_switched_off_is_not_requested_and_keeps_it_off(load: Load, m6i: PlatformFacts) -> None:
    decision = _by_name(load("scenario-e", toggles={"hostRouting": False}), m6i)["hostRouting"]
    assert (decision.requested, decision.applied) == (False, False)
    assert decision.reason == "switched off in the scenario"
    assert decision.values == {"bpf": {"hostLegacyRouting": True}}


def test_unset_toggles_set_nothing(load: Load, m6i: PlatformFacts) -> None:
    for decision in decide(load("scenario-c"), m6i):
        assert not decision.requested
        assert decision.values == {}


def test_no_toggle_applies_to_the_vpc_cni(load: Load, m6i: PlatformFacts) -> None:
    reasons = {decision.reason for decision in decide(load("scenario-a"), m6i)}
    assert reasons == {"not applicable: the VPC CNI has no Cilium dataplane"}


def test_fixed_conntrack_tables_are_compared_with_the_agents_own(
    load: Load, m6i: PlatformFacts
) -> None:
    scenario = load("scenario-e")
    enlarged = _by_name(scenario, m6i)["ctTables"]
    assert enlarged.applied
    assert enlarged.notes == (
        "enlarges the tables: with 16,384 MiB of memory the agent would take about 150,700 TCP "
        "and 75,350 other entries by itself",
    )
    shrunk = _by_name(scenario, replace(m6i, memory_mib=131_072))["ctTables"]
    assert shrunk.applied
    assert shrunk.notes[0].startswith("would shrink the tables: with 131,072 MiB")


def test_dynamic_sizes_are_those_that_an_agent_took() -> None:
    # Measured: an agent on a machine with 24,684,092 kB took 221,723 and 110,861 entries.
    tcp, other = dynamic_conntrack_sizes(24_684_092 // 1024)
    assert tcp == pytest.approx(221_723, rel=0.001)
    assert other == pytest.approx(110_861, rel=0.001)
    assert dynamic_conntrack_sizes(1024) == (131_072, 65_536)


@pytest.mark.parametrize(
    ("toggle", "note"),
    [
        ("socketLB", "already on with kube-proxy replacement"),
        ("bpfMasquerade", "brings BPF host routing with it"),
    ],
)
def test_notes_on_what_a_toggle_alone_brings(
    load: Load, m6i: PlatformFacts, toggle: str, note: str
) -> None:
    decision = _by_name(load("scenario-d", toggles={toggle: True}), m6i)[toggle]
    assert decision.applied
    assert decision.notes[0].startswith(note)


def test_dsr_on_enis_warns_of_the_source_check(load: Load) -> None:
    metal = known_facts("c5.metal", kernel=Kernel(6, 1))
    assert metal is not None
    decision = _by_name(load("scenario-e"), metal)["dsr"]
    assert decision.applied
    assert "source/destination check" in decision.notes[0]
