"""Impossible scenarios are refused with the key, the reason and the fix."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cni.cilium.rules import OWNED_VALUES
from cni.cilium.versions import DEFAULT, VERSIONS
from cni.registry import TOGGLES
from cni.scenario import EveryToggle, Scenario
from cni.settings import CombinationError, setting_name
from tests.cni.stackfiles import Load

STACKS = [f"scenario-{letter}" for letter in "abcde"]


@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_files_are_scenarios(load: Load, stack: str) -> None:
    assert load(stack).title


def test_what_the_scenarios_are(load: Load) -> None:
    a, b, c, d, e = (load(stack) for stack in STACKS)
    assert (a.cni, a.kube_proxy, a.ipam, a.overlay) == ("vpc-cni", "iptables", "vpc", None)
    assert (b.kube_proxy, b.kube_proxy_replacement, b.overlay) == ("iptables", False, "vxlan")
    assert (c.kube_proxy, c.kube_proxy_replacement, c.pod_cidr) == ("none", True, "10.244.0.0/16")
    assert (d.ipam, d.prefix_delegation, d.overlay) == ("eni", True, None)
    newer = {"netkit", "bigTCP", "wireguard"}
    assert {name for name in TOGGLES if e.toggles.asked(name)} == TOGGLES.keys() - newer


def test_every_toggle_is_a_setting_and_every_setting_a_toggle() -> None:
    assert list(TOGGLES) == [setting_name(EveryToggle, field) for field in EveryToggle.model_fields]
    assert len(TOGGLES) == 13


def _problems(load: Load, stack: str, **changes: object) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        load(stack, **changes)
    causes = [details["ctx"]["error"] for details in refused.value.errors()]
    assert all(isinstance(cause, CombinationError) for cause in causes)
    return [str(problem) for cause in causes for problem in cause.problems]


@pytest.mark.parametrize(
    ("stack", "changes", "line"),
    [
        (
            "scenario-c",
            {"kubeProxy": "iptables"},
            "kubeProxy: iptables: kubeProxyReplacement is true, so Cilium and kube-proxy would "
            "both load-balance Services. Fix: kubeProxy: none",
        ),
        (
            "scenario-b",
            {"kubeProxy": "none"},
            "kubeProxy: none: kubeProxyReplacement is false, so nothing would load-balance "
            "Services. Fix: kubeProxyReplacement: true",
        ),
        (
            "scenario-d",
            {"toggles": {"nativeRouting": False}},
            "toggles.nativeRouting: false: the agent refuses to start with ipam: eni in tunnel "
            "mode. Fix: toggles.nativeRouting: true",
        ),
        (
            "scenario-d",
            {"tunnelProtocol": "vxlan"},
            "tunnelProtocol: vxlan: packets are routed natively, so there is no tunnel. "
            "Fix: remove tunnelProtocol",
        ),
        (
            "scenario-d",
            {"ipam": "vpc"},
            "ipam: vpc: that is the VPC CNI's way; Cilium's own with VPC addresses is eni. "
            "Fix: ipam: eni",
        ),
        (
            "scenario-d",
            {"podCidr": "10.244.0.0/16"},
            "podCidr: 10.244.0.0/16: with ipam: eni the pods' addresses come from the VPC's "
            "subnets. Fix: remove podCidr",
        ),
        (
            "scenario-b",
            {"podCidr": None},
            "podCidr: null: missing with ipam: cluster-pool, and the chart's default 10.0.0.0/8 "
            "overlaps most VPCs and the Service range. Fix: podCidr: 10.244.0.0/16",
        ),
        (
            "scenario-b",
            {"prefixDelegation": True},
            "prefixDelegation: true: prefixes are delegated to ENIs, and ipam: cluster-pool has "
            "none. Fix: prefixDelegation: false",
        ),
        (
            "scenario-c",
            {"toggles": {"dsr": True}},
            "toggles.dsr: true: the agent refuses to start with DSR over VXLAN. "
            "Fix: tunnelProtocol: geneve",
        ),
        (
            "scenario-c",
            {"toggles": {"socketLB": False}},
            "toggles.socketLB: false: kubeProxyReplacement turns socket load-balancing on "
            "whatever this says; values.socketLB.hostNamespaceOnly: true would take pods out of "
            "it. Fix: remove toggles.socketLB",
        ),
        (
            "scenario-e",
            {"values": {"egressMasqueradeInterfaces": "ens+"}},
            "values.egressMasqueradeInterfaces: ens+: the agent stops with toggles.bpfMasquerade "
            "and this; devices takes its place. Fix: remove values.egressMasqueradeInterfaces",
        ),
        (
            "scenario-d",
            {"values": {"bpf": {"masquerade": True}}},
            "values.bpf.masquerade: true: follows from the setting toggles.bpfMasquerade. "
            "Fix: remove values.bpf.masquerade",
        ),
        (
            "scenario-d",
            {"values": {"cluster": {"name": "mine"}}},
            "values.cluster.name: mine: follows from the cluster. Fix: remove values.cluster.name",
        ),
        (
            "scenario-d",
            {"cniVersion": "1.16.5", "values": {"bpf": {"natMax": 1048576}}},
            "values.bpf.natMax: 1048576: Helm renders a number from 1,000,000 on as 1.048576e+06, "
            "which agents refuse; values.extraConfig takes the agent's own option, as text. "
            "Fix: remove values.bpf.natMax",
        ),
        (
            "scenario-d",
            {"cniVersion": "1.17.0"},
            "cniVersion: 1.17.0: values, proofs and the lab are made for cilium "
            f"{', '.join(VERSIONS)} only. Fix: cniVersion: {DEFAULT}",
        ),
        (
            "scenario-a",
            {"cniVersion": "v1.19"},
            "cniVersion: v1.19: must be a version such as 1.22.4. Fix: cniVersion: 1.22.4",
        ),
        (
            "scenario-a",
            {"kubeProxyReplacement": True},
            "kubeProxyReplacement: true: only Cilium can replace kube-proxy, the VPC CNI cannot. "
            "Fix: kubeProxyReplacement: false",
        ),
        (
            "scenario-a",
            {"kubeProxy": "none"},
            "kubeProxy: none: the VPC CNI does not load-balance Services, so nothing would. "
            "Fix: kubeProxy: iptables",
        ),
        (
            "scenario-a",
            {"toggles": {"bbr": True}},
            "toggles.bbr: true: a setting of Cilium, which cni: vpc-cni does not run. "
            "Fix: remove toggles.bbr",
        ),
        (
            "scenario-a",
            {"ipam": "eni"},
            "ipam: eni: the VPC CNI gives pods addresses of the VPC by its own means. "
            "Fix: ipam: vpc",
        ),
        (
            "scenario-a",
            {"values": {"devices": "eth0"}},
            "values: devices: a setting of Cilium, which cni: vpc-cni does not run. "
            "Fix: remove values",
        ),
    ],
)
def test_an_impossible_combination(
    load: Load, stack: str, changes: dict[str, Any], line: str
) -> None:
    assert _problems(load, stack, **changes) == [line]


def test_all_contradictions_are_told_at_once(load: Load) -> None:
    problems = _problems(
        load, "scenario-c", kubeProxy="nftables", prefixDelegation=True, toggles={"dsr": True}
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "kubeProxy",
        "prefixDelegation",
        "toggles.dsr",
    ]


def test_dsr_over_geneve_and_a_native_cluster_pool_are_possible(load: Load) -> None:
    assert load("scenario-c", tunnelProtocol="geneve", toggles={"dsr": True}).overlay == "geneve"
    native = load("scenario-c", tunnelProtocol=None, toggles={"nativeRouting": True})
    assert native.overlay is None


@pytest.mark.parametrize(
    "changes",
    [
        {"kubeproxy": "none"},
        {"kube_proxy": "none"},
        {"strict": "yes"},
        {"podCidr": "10.244.0.1/16"},
        {"cni": "calico"},
        {"toggles": {"ctTables": {"tcpMax": 100, "anyMax": 524288}}},
        {"toggles": {"ctTables": {"tcpMax": 1 << 25, "anyMax": 524288}}},
        {"toggles": {"hostRoutng": True}},
        {"title": ""},
    ],
)
def test_unknown_keys_and_wrong_types_are_refused(load: Load, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        load("scenario-e", **changes)


def test_scenarios_do_not_change(load: Load) -> None:
    with pytest.raises(ValidationError):
        load("scenario-e").strict = True


def test_every_value_that_a_toggle_sets_is_owned_by_it() -> None:
    for toggle in TOGGLES.values():
        assert not toggle.off or f"toggles.{toggle.name}" in OWNED_VALUES.values()


def test_a_scenario_can_be_built_in_python() -> None:
    scenario = Scenario(
        title="Sixth",
        cni="cilium",
        cni_version="1.16.5",
        kube_proxy="none",
        kube_proxy_replacement=True,
        ipam="eni",
        toggles=EveryToggle.model_validate({"nativeRouting": True, "socketLB": True}),
    )
    assert scenario.toggles.asked("socketLB")
