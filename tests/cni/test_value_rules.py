"""A scenario's own values that would stop the agents, be ignored, or undo a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cni.cilium.dataplane import Cilium
from cni.cilium.rules import OWNED_OPTIONS, OWNED_VALUES
from cni.cilium.versions import DEFAULT
from cni.decisions import decide
from cni.platform import ClusterEndpoint, PlatformFacts
from cni.registry import TOGGLES
from cni.settings import CombinationError, merge
from lab.dataplane.cilium.agents import cilium_config
from lab.errors import CommandError
from tests.cni.stackfiles import Load

IPSEC = {"encryption": {"enabled": True}}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "scenario-e",
        {"enableMasqueradeRouteSource": True},
        "values.enableMasqueradeRouteSource: true: the agent stops with toggles.bpfMasquerade and "
        "this; BPF masquerade takes the interface's address only. "
        "Fix: remove values.enableMasqueradeRouteSource",
    ),
    (
        "scenario-e",
        {"enableIPv4Masquerade": False},
        "values.enableIPv4Masquerade: false: the agent stops with toggles.bpfMasquerade where "
        "nothing is masqueraded. Fix: remove values.enableIPv4Masquerade",
    ),
    (
        "scenario-d",
        {"ipMasqAgent": {"enabled": True}},
        "values.ipMasqAgent.enabled: true: the agent stops with this and without BPF masquerade, "
        "which toggles.bpfMasquerade with kubeProxyReplacement brings. "
        "Fix: remove values.ipMasqAgent.enabled",
    ),
    (
        "scenario-c",
        {"egressGateway": {"enabled": True}},
        "values.egressGateway.enabled: true: the agent stops with this and without BPF masquerade, "
        "which toggles.bpfMasquerade with kubeProxyReplacement brings. "
        "Fix: remove values.egressGateway.enabled",
    ),
    (
        "scenario-c",
        {"autoDirectNodeRoutes": True},
        "values.autoDirectNodeRoutes: true: the agent stops with direct routes beside a tunnel. "
        "Fix: remove values.autoDirectNodeRoutes",
    ),
    (
        "scenario-d",
        {"directRoutingSkipUnreachable": True},
        "values.directRoutingSkipUnreachable: true: the agent stops with this and without "
        "autoDirectNodeRoutes. Fix: remove values.directRoutingSkipUnreachable",
    ),
    (
        "scenario-e",
        {"installNoConntrackIptablesRules": True},
        "values.installNoConntrackIptablesRules: true: the chart ignores it with ENI addresses. "
        "Fix: remove values.installNoConntrackIptablesRules",
    ),
    (
        "scenario-c",
        {"installNoConntrackIptablesRules": True},
        "values.installNoConntrackIptablesRules: true: the agent stops with this in tunnel mode. "
        "Fix: remove values.installNoConntrackIptablesRules",
    ),
    (
        "scenario-b",
        {"ipv4": {"enabled": False}},
        "values.ipv4.enabled: false: Services and pods have IPv4 addresses on every target. "
        "Fix: remove values.ipv4.enabled",
    ),
    (
        "scenario-e",
        IPSEC,
        "values.encryption.enabled: true: the agent silently drops toggles.bandwidthManager with "
        "IPsec. Fix: remove values.encryption.enabled",
    ),
    (
        "scenario-d",
        {"encryption": {"type": "wireguard"}},
        "values.encryption.type: wireguard: follows from the setting toggles.wireguard. "
        "Fix: remove values.encryption.type",
    ),
    (
        "scenario-d",
        {"bpf": {"datapathMode": "netkit-l2"}},
        "values.bpf.datapathMode: netkit-l2: follows from the setting toggles.netkit. "
        "Fix: remove values.bpf.datapathMode",
    ),
    (
        "scenario-b",
        {"socketLB": {"hostNamespaceOnly": True}},
        "values.socketLB.hostNamespaceOnly: true: does nothing without toggles.socketLB or "
        "kubeProxyReplacement. Fix: remove values.socketLB.hostNamespaceOnly",
    ),
    (
        "scenario-e",
        {"hubble": {"relay": {"enabled": True}}},
        "values.hubble.relay.enabled: true: the chart refuses Hubble's relay with "
        "toggles.hubbleOff. Fix: remove values.hubble.relay.enabled",
    ),
    (
        "scenario-d",
        {"hubble": {"ui": {"enabled": True}}},
        "values.hubble.ui.enabled: true: the chart refuses Hubble's UI without its relay. "
        "Fix: values.hubble.relay.enabled: true",
    ),
    (
        "scenario-c",
        {"gke": {"enabled": True}},
        "values.gke.enabled: true: an installation for another platform; the scenario's settings "
        "say which it is. Fix: remove values.gke.enabled",
    ),
    (
        "scenario-c",
        {"cni": {"chainingMode": "aws-cni"}},
        "values.cni.chainingMode: aws-cni: another CNI would wire the pods, and it would be "
        "measured. Fix: remove values.cni.chainingMode",
    ),
    (
        "scenario-d",
        {"cluster": {"id": 200}},
        "values.cluster.id: 200: the chart refuses 128 to 255 and 384 to 511 with ENI addresses "
        "(cilium #21330). Fix: remove values.cluster.id",
    ),
    (
        "scenario-d",
        {"loadBalancer": {"algorithm": "magelv"}},
        "values.loadBalancer.algorithm: magelv: must be one of random, maglev. "
        "Fix: values.loadBalancer.algorithm: maglev",
    ),
    (
        "scenario-d",
        {"encryption": {"enabled": True, "type": "IPsec"}},
        "values.encryption.type: IPsec: must be one of ipsec, wireguard, ztunnel. "
        "Fix: values.encryption.type: ipsec",
    ),
    (
        "scenario-d",
        {"bpf": {"natMax": 100}},
        "values.bpf.natMax: 100: the agent takes 1,024 to 16,777,216 entries. "
        "Fix: values.bpf.natMax: 1024",
    ),
    (
        "scenario-d",
        {"bpf": {"policyMapMax": 1}},
        "values.bpf.policyMapMax: 1: the agent takes at least 256 entries. "
        "Fix: values.bpf.policyMapMax: 256",
    ),
    (
        "scenario-d",
        {"maglev": {"tableSize": 16000}},
        "values.maglev.tableSize: 16000: must be one of 251, 509, 1021, 2039, 4093, 8191, 16381, "
        "32749, 65521, 131071. Fix: values.maglev.tableSize: 16381",
    ),
    (
        "scenario-e",
        {"extraConfig": {"bpf-nat-global-max": "1572865"}},
        "values.extraConfig.bpf-nat-global-max: 1572865: the agent stops with more entries than "
        "toggles.ctTables has, 1,572,864. Fix: remove values.extraConfig.bpf-nat-global-max",
    ),
    (
        "scenario-b",
        {"extraConfig": {"enable-bpf-masquerade": "true"}},
        "values.extraConfig.enable-bpf-masquerade: true: follows from the setting "
        "toggles.bpfMasquerade. Fix: remove values.extraConfig.enable-bpf-masquerade",
    ),
    (
        "scenario-c",
        {"extraConfig": {"ipam": "eni"}},
        "values.extraConfig.ipam: eni: without eni.enabled no operator would make ENIs; the "
        "setting ipam brings both. Fix: remove values.extraConfig.ipam",
    ),
    (
        "scenario-c",
        {"extraConfig": {"mesh-auth-queue-size": 1024}},
        "values.extraConfig.mesh-auth-queue-size: 1024: a ConfigMap holds text only: put it in "
        'quotes. Fix: values.extraConfig.mesh-auth-queue-size: "1024"',
    ),
    (
        "scenario-d",
        {"loadBalancer": {"dsrDispatch": "geneve"}},
        "values.loadBalancer.dsrDispatch: geneve: follows from the setting tunnelProtocol. "
        "Fix: remove values.loadBalancer.dsrDispatch",
    ),
    (
        "scenario-c",
        {"ipam": {"mode": "eni"}},
        "values.ipam.mode: eni: follows from the setting ipam. Fix: remove values.ipam.mode",
    ),
    (
        "scenario-c",
        {"eni": {"enabled": True}},
        "values.eni.enabled: true: follows from the setting ipam. Fix: remove values.eni.enabled",
    ),
]


# What later lines take.
REFUSED_UNTIL: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "1.16.5",
        "scenario-d",
        {"ipv6": {"enabled": True}},
        "values.ipv6.enabled: true: the agent stops with IPv6 and ipam: eni. "
        "Fix: remove values.ipv6.enabled",
    ),
    (
        "1.16.5",
        "scenario-e",
        IPSEC,
        "values.encryption.enabled: true: the agent silently drops toggles.hostRouting and "
        "toggles.bandwidthManager with IPsec. Fix: remove values.encryption.enabled",
    ),
]


@pytest.mark.parametrize(
    ("version", "stack", "values", "line"),
    [*((DEFAULT, *each) for each in REFUSED), *REFUSED_UNTIL],
    ids=lambda value: str(value)[:40],
)
def test_values_that_are_refused(
    load: Load, version: str, stack: str, values: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        load(stack, values=values, cniVersion=version)
    (cause,) = (details["ctx"]["error"] for details in refused.value.errors())
    assert isinstance(cause, CombinationError)
    assert [str(problem) for problem in cause.problems] == [line]


@pytest.mark.parametrize(
    ("stack", "values"),
    [
        ("scenario-e", {"ipMasqAgent": {"enabled": True}}),
        ("scenario-e", {"egressGateway": {"enabled": True}}),
        ("scenario-d", {"enableIPv4Masquerade": False}),
        ("scenario-d", {"autoDirectNodeRoutes": True, "directRoutingSkipUnreachable": True}),
        ("scenario-d", IPSEC),
        ("scenario-c", {"socketLB": {"hostNamespaceOnly": True}}),
        ("scenario-d", {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}}}),
        ("scenario-d", {"cluster": {"id": 5}}),
        ("scenario-c", {"cluster": {"id": 200}}),
        ("scenario-c", {"cni": {"chainingMode": "none"}}),
        ("scenario-d", {"loadBalancer": {"algorithm": "maglev"}, "maglev": {"tableSize": 65521}}),
        ("scenario-e", {"bpf": {"natMax": 524288, "lbMapMax": 1}}),
        ("scenario-e", {"extraConfig": {"bpf-nat-global-max": "1572864"}}),
    ],
    ids=str,
)
def test_values_that_are_possible(load: Load, stack: str, values: dict[str, Any]) -> None:
    assert load(stack, values=values).values == values


@pytest.mark.parametrize(
    ("toggle", "values", "words"),
    [
        ("netkit", {"bpf": {"tproxy": True}}, "netkit's programs cannot hand packets"),
        ("bigTCP", IPSEC, "the agent stops with toggles.bigTCP and IPsec"),
        ("wireguard", IPSEC, "follows from the setting toggles.wireguard"),
    ],
)
def test_values_that_are_refused_with_a_toggle_only(
    load: Load, toggle: str, values: dict[str, Any], words: str
) -> None:
    assert load("scenario-d", values=values)
    with pytest.raises(ValidationError, match=words):
        load("scenario-d", {toggle: True}, values=values)


def test_the_agent_fits_its_default_nat_size_to_smaller_tables_itself(load: Load) -> None:
    small = {"ctTables": {"tcpMax": 1024, "anyMax": 1024}}
    assert load("scenario-e", toggles=small, values={"bpf": {"natMax": 524288}})
    with pytest.raises(ValidationError, match=r"more entries than toggles\.ctTables has, 2,048"):
        load("scenario-e", toggles=small, values={"bpf": {"natMax": 524287}})


def test_rules_without_conntrack_are_possible_with_native_routing_and_bpf_masquerade(
    load: Load,
) -> None:
    native: dict[str, Any] = {
        "tunnelProtocol": None,
        "values": {"installNoConntrackIptablesRules": True},
    }
    assert load("scenario-c", toggles={"nativeRouting": True, "bpfMasquerade": True}, **native)
    with pytest.raises(ValidationError, match="without kubeProxyReplacement and BPF masquerade"):
        load("scenario-c", toggles={"nativeRouting": True}, **native)


def _rendered(
    load: Load,
    stack: str,
    values: dict[str, Any],
    facts: PlatformFacts,
    endpoint: ClusterEndpoint,
    helm: Path,
    chart: Path,
) -> dict[str, str]:
    """The agents' configuration of a stack with values that its settings would not take."""
    scenario = load(stack)
    made = merge(Cilium().values(scenario, decide(scenario, facts), endpoint), values)
    return cilium_config(helm, chart, made, "1.31.4")


@pytest.mark.parametrize(
    ("stack", "values", "words"),
    [
        ("scenario-e", {"hubble": {"relay": {"enabled": True}}}, "Hubble Relay requires"),
        ("scenario-d", {"hubble": {"ui": {"enabled": True}}}, "Hubble UI requires"),
        ("scenario-d", {"cluster": {"id": 200}}, "issues/21330"),
        ("scenario-d", {"cluster": {"id": 384}}, "issues/21330"),
    ],
)
def test_the_chart_does_refuse_it(
    load: Load,
    m6i: PlatformFacts,
    endpoint: ClusterEndpoint,
    helm: Path,
    chart: Path,
    stack: str,
    values: dict[str, Any],
    words: str,
) -> None:
    with pytest.raises(CommandError, match=words):
        _rendered(load, stack, values, m6i, endpoint, helm, chart)


def test_the_chart_does_ignore_rules_without_conntrack_with_eni_addresses(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint, helm: Path, chart: Path
) -> None:
    values = {"installNoConntrackIptablesRules": True}
    config = _rendered(load, "scenario-e", values, m6i, endpoint, helm, chart)
    assert config["install-no-conntrack-iptables-rules"] == "false"


def test_extra_options_come_last(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint, helm: Path, chart: Path
) -> None:
    values = {"extraConfig": {"routing-mode": "tunnel"}}
    config = _rendered(load, "scenario-e", values, m6i, endpoint, helm, chart)
    assert config["routing-mode"] == "tunnel"


def test_owned_options_follow_from_settings_that_exist(load: Load) -> None:
    settings = {setting for setting in OWNED_VALUES.values() if setting}
    known = settings | {f"toggles.{name}" for name in TOGGLES}
    assert set(OWNED_OPTIONS.values()) <= known
