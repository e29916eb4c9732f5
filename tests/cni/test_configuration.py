"""What was asked of the dataplane against what recorded agents report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cni.cilium.evidence import AgentEvidence
from cni.cilium.versions import DEFAULT
from cni.dataplane import Setting, configuration
from cni.decisions import decide, verify
from cni.platform import ClusterEndpoint, Feature, LabFabric, PlatformFacts
from cni.registry import DATAPLANES
from tests.cni.stackfiles import Load, recorded_agents

CILIUM, VPC_CNI = DATAPLANES["cilium"], DATAPLANES["vpc-cni"]


def agent(scenario: str) -> AgentEvidence:
    """A recorded agent of a scenario's lab."""
    return recorded_agents(scenario)[0]


OVERLAY = {"routingMode": "tunnel", "tunnelProtocol": "vxlan", "kubeProxyReplacement": False}
TUNED = {
    "routingMode": "native",
    "kubeProxyReplacement": True,
    "bpf": {"masquerade": True, "hostLegacyRouting": False},
    "bandwidthManager": {"enabled": False, "bbr": False},
    "hubble": {"enabled": False},
    "loadBalancer": {"mode": "dsr", "acceleration": "disabled"},
    "extraConfig": {"bpf-ct-global-tcp-max": "1048576", "bpf-ct-global-any-max": "524288"},
}
"""What the recorded agent of scenario E ran with."""


def by_name(settings: tuple[Setting, ...]) -> dict[str, Setting]:
    return {setting.name: setting for setting in settings}


@pytest.mark.parametrize(
    ("scenario", "values", "kube_proxy", "count"),
    [("scenario-b", OVERLAY, "iptables", 5), ("scenario-e", TUNED, "none", 13)],
)
def test_recorded_agents_are_as_asked(
    scenario: str, values: dict[str, object], kube_proxy: str, count: int
) -> None:
    settings = configuration(
        CILIUM, values, [agent(scenario)] * 3, kube_proxy=(kube_proxy, kube_proxy)
    )
    assert [each for each in settings if each.effective != each.requested] == []
    assert len(settings) == count


@pytest.mark.parametrize("stack", ["scenario-b", "scenario-c", "scenario-d", "scenario-e"])
def test_agents_of_the_default_version_are_as_their_scenario_asks(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint, stack: str
) -> None:
    scenario = load(stack)
    # As the lab that they ran in decides it.
    decisions = decide(scenario, replace(m6i, lacks=frozenset({Feature.FQ})))
    values, _ = CILIUM.lab_values(scenario, decisions, endpoint, LabFabric(pod_cidr=None))
    agents, proxy = recorded_agents(stack, DEFAULT), scenario.kube_proxy
    settings = configuration(CILIUM, values, agents, kube_proxy=(proxy, proxy))
    assert [each for each in settings if each.effective != each.requested] == []
    states = verify(decisions, agents)
    assert [each for each in states if each.verified is False] == []
    assert all(each.verified for each in states if each.requested and each.applied)


def test_what_the_values_leave_open_is_not_compared() -> None:
    names = by_name(
        configuration(CILIUM, OVERLAY, [agent("scenario-b")], kube_proxy=("iptables", "iptables"))
    )
    assert "Hubble" not in names
    assert "NodePort mode" not in names


@pytest.mark.parametrize(
    ("change", "name", "requested", "effective"),
    [
        ({"routingMode": "tunnel"}, "routing", "tunnel vxlan", "native"),
        ({"bpf": {"masquerade": False}}, "masquerading", "iptables", "bpf"),
        ({"kubeProxyReplacement": False}, "kube-proxy replacement", "off", "on"),
        ({"bandwidthManager": {"enabled": True}}, "Bandwidth Manager", "on", "off"),
        ({"hubble": {"enabled": True}}, "Hubble", "on", "off"),
        ({"bandwidthManager": {"bbr": True}}, "BBR", "on", "off"),
        ({"loadBalancer": {"mode": "snat"}}, "NodePort mode", "snat", "dsr"),
        ({"extraConfig": {"bpf-ct-global-tcp-max": "9"}}, "TCP conntrack entries", "9", "1048576"),
    ],
)
def test_every_difference_is_told(
    change: dict[str, object], name: str, requested: str, effective: str
) -> None:
    settings = configuration(
        CILIUM, {**TUNED, **change}, [agent("scenario-e")], kube_proxy=("none", "none")
    )
    found = by_name(settings)[name]
    assert (found.requested, found.effective) == (requested, effective)


def test_one_node_that_differs_is_enough() -> None:
    mine = agent("scenario-e")
    other = replace(mine, node="node-2", masquerading="iptables")
    settings = by_name(configuration(CILIUM, TUNED, [mine, other], kube_proxy=("none", "none")))
    assert settings["masquerading"].effective == "bpf, iptables"


def test_silence_is_no_proof() -> None:
    silent = AgentEvidence(node="node-1")
    settings = configuration(CILIUM, TUNED, [silent], kube_proxy=("none", "none"))
    assert {each.effective for each in settings[1:]} == {None}
    assert {
        each.effective for each in configuration(CILIUM, TUNED, [], kube_proxy=("none", "none"))[1:]
    } == {None}
    half = by_name(
        configuration(CILIUM, TUNED, [agent("scenario-e"), silent], kube_proxy=("none", "none"))
    )
    assert half["routing"].effective == "native, not reported"


def test_without_cilium_there_is_kube_proxy() -> None:
    assert configuration(VPC_CNI, {}, [], kube_proxy=("iptables", "nftables")) == (
        Setting("kube-proxy", "iptables", "nftables"),
    )
