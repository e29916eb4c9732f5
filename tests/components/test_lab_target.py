"""What a stack becomes in the lab: the facts that guards decide by, and the dataplane's values."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import pulumi
import pytest

from cni.decisions import GuardError, ToggleState, decide
from cni.platform import Feature
from cni.settings import leaves
from cni.toggles import Decision
from components.lab import target
from components.target import toggle_outputs
from lab import kernel
from lab.cluster import LabSpec
from lab.errors import NotBuiltError
from lab.toolchain import doctor
from lab.toolchain.build import Builder, Toolchain
from lab.toolchain.cache import CHECKOUT, Cache
from lab.toolchain.doctor import Facts
from lab.toolchain.programs import Need
from tests.components.stack_config import STACKS, read

CILIUM = STACKS[1:]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same machine everywhere, without a chart to look into."""
    monkeypatch.setattr(kernel, "release", lambda: "6.12.9")
    monkeypatch.setattr(kernel, "cpus", lambda: 2)
    monkeypatch.setattr(kernel, "memory_mib", lambda: 16_000)
    monkeypatch.setattr(kernel, "congestion_controls", lambda: ["reno", "cubic", "bbr"])
    monkeypatch.setattr(target, "check_programs", lambda settings: None)
    monkeypatch.setattr(target, "check_values", lambda *_: None)


def _decided(stack: str, changes: dict[str, object] | None = None) -> dict[str, Decision]:
    settings = read(stack, changes)
    return {each.toggle: each for each in decide(settings.scenario, target.facts(settings))}


def _spec(stack: str, changes: dict[str, object] | None = None) -> tuple[LabSpec, tuple[str, ...]]:
    settings = read(stack, changes)
    return target.spec(settings, decide(settings.scenario, target.facts(settings)))


def _values(stack: str) -> dict[str, Any]:
    return dict(leaves(_spec(stack)[0].values))


# -- facts --------------------------------------------------------------------------------------


def test_the_network_card_is_the_instance_types_and_the_machine_is_this_one() -> None:
    facts = target.facts(read("scenario-e"))
    assert (facts.instance_type, facts.driver, facts.bare_metal) == ("m6i.xlarge", "ena", False)
    assert facts.memory_mib == 16_000
    assert str(facts.kernel) == "6.12"
    assert Feature.BBR not in facts.lacks


def test_network_namespaces_cannot_use_fq_whatever_the_instance_type() -> None:
    assert Feature.FQ in target.facts(read("scenario-e")).lacks
    decided = _decided("scenario-e")
    for toggle in ("bandwidthManager", "bbr"):
        assert decided[toggle].requested
        assert not decided[toggle].applied
        assert "fq" in str(decided[toggle].reason)


def test_an_instance_type_that_nothing_is_known_of_is_decided_as_the_lab_itself() -> None:
    changes: dict[str, object] = {"eks.instanceType": "z9.mega", "lab.eni": "routed"}
    assert target.facts(read("scenario-e", changes)).driver != "ena"
    _, adaptations = _spec("scenario-e", changes)
    assert any("nothing is known of z9.mega" in each for each in adaptations)


@pytest.mark.parametrize(
    ("toggle", "options", "lacking"),
    [
        ("netkit", {"WIREGUARD": "m"}, "needs netkit devices, which the nodes' kernel does not"),
        ("wireguard", {"NETKIT": "y"}, "needs WireGuard, which the nodes' kernel does not have"),
        ("netkit", {"NETKIT": "y"}, None),
        ("wireguard", {"WIREGUARD": "m"}, None),
        ("wireguard", None, None),
    ],
)
def test_what_this_kernel_lacks_is_refused_before_anything_is_up(
    monkeypatch: pytest.MonkeyPatch,
    toggle: str,
    options: dict[str, str] | None,
    lacking: str | None,
) -> None:
    monkeypatch.setattr(kernel, "kernel_options", lambda: options)
    monkeypatch.setattr(kernel, "release", lambda: "6.18.1")
    asked: dict[str, object] = {f"scenario.toggles.{toggle}": True}
    decision = _decided("scenario-e", asked)[toggle]
    assert decision.applied == (lacking is None)
    assert (decision.reason or "").startswith(lacking or "")
    if lacking:
        with pytest.raises(GuardError, match=f"toggles.{toggle}: strict is set, .* {lacking}"):
            _decided("scenario-e", {**asked, "scenario.strict": True})


def test_big_tcp_is_what_the_labs_own_devices_can_do() -> None:
    asked: dict[str, object] = {"scenario.toggles.bigTCP": True}
    assert "ENA" in str(_decided("scenario-e", asked)["bigTCP"].reason)
    veth: dict[str, object] = {"eks.instanceType": "z9.mega", "lab.eni": "routed"}
    made, _ = _spec("scenario-e", asked | veth)
    assert made.values["enableIPv4BIGTCP"] is True


@pytest.mark.parametrize("toggle", ["dsr", "xdp"])
def test_what_ena_cannot_do_falls_back_in_the_lab_too(toggle: str) -> None:
    decision = _decided("scenario-e")[toggle]
    assert (decision.requested, decision.applied) == (True, False)
    assert decision.reason


def test_on_bare_metal_they_are_applied() -> None:
    decided = _decided("scenario-e", {"eks.instanceType": "m6i.metal"})
    assert decided["dsr"].applied
    assert decided["xdp"].applied
    # Not so for what no network namespace can do.
    assert not decided["bandwidthManager"].applied


# -- what is built ------------------------------------------------------------------------------


def test_the_baseline_has_no_cilium() -> None:
    made, adaptations = _spec("scenario-a")
    assert (made.cni, made.cni_version) == ("vpc-cni", "1.22.4")
    assert made.kube_proxy == "iptables"
    assert len(adaptations) == 1


@pytest.mark.parametrize("stack", CILIUM)
def test_kube_proxy_runs_exactly_where_cilium_does_not_replace_it(stack: str) -> None:
    made, _ = _spec(stack)
    assert (made.kube_proxy == "none") is _values(stack)["kubeProxyReplacement"]


@pytest.mark.parametrize("stack", STACKS)
def test_the_same_machine_is_built_for_every_stack(stack: str) -> None:
    made, _ = _spec(stack)
    assert (made.nodes, made.service_cidr) == (3, "10.100.0.0/16")
    assert made.node_labels["node.kubernetes.io/instance-type"] == "m6i.xlarge"
    assert made.node_labels["topology.kubernetes.io/zone"] == "ap-northeast-2a"


def test_the_labs_kubernetes_is_of_the_version_that_eks_would_have() -> None:
    assert _spec("scenario-a")[0].kubernetes == "1.35.8"
    assert _spec("scenario-a", {"eks.version": "1.31"})[0].kubernetes == "1.31.4"


def test_a_cilium_that_is_not_tested_with_the_labs_kubernetes_is_told() -> None:
    assert target.cautions(read("scenario-e")) == ()
    (told,) = target.cautions(read("scenario-e", {"scenario.cniVersion": "1.16.5"}))
    assert "tested by its makers with Kubernetes 1.27 to 1.30" in told
    assert target.cautions(read("scenario-a")) == ()


def test_the_labs_own_settings_are_taken() -> None:
    made, _ = _spec("scenario-c", {"lab.nodes": 2, "eks.serviceCidr": "10.99.0.0/16"})
    assert (made.nodes, made.service_cidr) == (2, "10.99.0.0/16")


ROUTING = {
    "scenario-b": ("tunnel", "vxlan", "cluster-pool", False),
    "scenario-c": ("tunnel", "vxlan", "cluster-pool", True),
    "scenario-d": ("native", None, "eni", True),
    "scenario-e": ("native", None, "eni", True),
}


@pytest.mark.parametrize("stack", CILIUM)
def test_path_addresses_and_services_are_the_scenarios(stack: str) -> None:
    values = _values(stack)
    found = (
        values["routingMode"],
        values.get("tunnelProtocol"),
        values["ipam.mode"],
        values["kubeProxyReplacement"],
    )
    assert found == ROUTING[stack]


def test_every_stacks_values_differ() -> None:
    made = {stack: _spec(stack)[0] for stack in STACKS}
    for one, other in combinations(STACKS, 2):
        assert made[one] != made[other], f"{one} and {other} would measure the same"


def _added(one: str, other: str) -> set[str]:
    before, after = _values(one), _values(other)
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def test_b_and_c_differ_in_who_load_balances_alone() -> None:
    assert _added("scenario-b", "scenario-c") == {
        "kubeProxyReplacement",
        "k8sServiceHost",
        "k8sServicePort",
    }


def test_c_and_d_differ_in_the_pods_path_and_addresses_alone() -> None:
    paths = _added("scenario-c", "scenario-d")
    roots = {path.split(".")[0] for path in paths}
    assert roots <= {
        "routingMode",
        "tunnelProtocol",
        "ipam",
        "eni",
        "egressMasqueradeInterfaces",
        "enableIPv4Masquerade",
    }


def test_d_and_e_differ_in_the_toggles_alone() -> None:
    toggles = {path for each in _decided("scenario-e").values() for path, _ in leaves(each.values)}
    # BPF masquerade needs it to be on, and nobody asks it which interfaces lead out.
    beside = {"egressMasqueradeInterfaces", "enableIPv4Masquerade"}
    assert _added("scenario-d", "scenario-e") <= toggles | beside
    assert _values("scenario-e")["bpf.masquerade"] is True
    assert _values("scenario-e")["bpf.hostLegacyRouting"] is False


def test_a_users_own_values_have_the_last_word() -> None:
    made, _ = _spec("scenario-d", {"scenario.values": {"bpf": {"policyMapMax": 65536}}})
    assert made.cni == "cilium"
    assert made.values["bpf"]["policyMapMax"] == 65536


# -- what is told -------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_adaptations_are_whole_sentences_and_told_once(stack: str) -> None:
    _, adaptations = _spec(stack)
    assert adaptations
    assert len(set(adaptations)) == len(adaptations)
    assert all(each[0].isupper() and each.endswith(".") for each in adaptations)


# -- ENIs ---------------------------------------------------------------------------------------

ON_ENIS = ["scenario-a", "scenario-d", "scenario-e"]


@pytest.mark.parametrize("stack", STACKS)
def test_who_has_addresses_of_enis_is_in_a_vpc(stack: str) -> None:
    cloud = _spec(stack)[0].cloud
    assert (cloud is not None) is (stack in ON_ENIS)
    if cloud is not None:
        assert (cloud.region, cloud.instance_type) == ("ap-northeast-2", "m6i.xlarge")
        # All nodes are in the first one.
        assert cloud.zones == ("ap-northeast-2a", "ap-northeast-2c")


@pytest.mark.parametrize(("delegated", "most"), [(False, 58), (True, 110)])
def test_the_nodes_take_as_many_pods_as_those_of_eks(delegated: bool, most: int) -> None:
    cloud = _spec("scenario-a", {"scenario.prefixDelegation": delegated})[0].cloud
    assert cloud is not None
    assert cloud.max_pods == most


def test_the_vpc_cnis_daemon_gets_what_the_add_on_gets() -> None:
    made, _ = _spec("scenario-a", {"scenario.prefixDelegation": True})
    assert made.values == {
        "env": {
            "ADDITIONAL_ENI_TAGS": '{"cni-benchmark:cluster": "lab"}',
            "ENABLE_PREFIX_DELEGATION": "true",
        }
    }
    assert "env" not in _spec("scenario-d")[0].values


@pytest.mark.parametrize("stack", ON_ENIS)
def test_routed_subnets_can_be_had_instead(stack: str) -> None:
    made, adaptations = _spec(stack, {"lab.eni": "routed"})
    assert made.cloud is None
    if made.cni == "cilium":
        assert dict(leaves(made.values))["ipam.mode"] == "kubernetes"
        assert any("ENI addresses are routed pod subnets" in each for each in adaptations)
        assert not any("routed pod subnets" in each for each in _spec(stack)[1])


def test_an_instance_type_without_known_limits_is_refused_with_both_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    with pytest.raises(pulumi.RunError) as caught:
        _spec("scenario-e", {"eks.instanceType": "z9.mega"})
    told = str(caught.value)
    assert told.startswith("eks.instanceType: z9.mega: the lab's EC2 API does not know its limits")
    assert "m6i.xlarge" in told
    assert told.endswith("pulumi config set --path cni-benchmark:lab.eni routed -s dev")


def _state(**fields: Any) -> ToggleState:
    usual: dict[str, Any] = {
        "toggle": "dsr",
        "title": "DSR",
        "requested": True,
        "applied": False,
        "verified": None,
        "reason": None,
        "notes": (),
        "evidence": (),
    }
    return ToggleState(**(usual | fields))


def test_toggle_outputs_never_hold_nothing() -> None:
    # The engine drops what is None, and a key that is missing says nothing.
    outputs = toggle_outputs([_state(), _state(toggle="xdp", evidence=("node-1: off",))])
    assert list(outputs) == ["dsr", "xdp"]
    for each in outputs.values():
        assert {"requested", "applied", "verified", "reason", "evidence"} <= each.keys()
        assert None not in each.values()
        assert each["verified"] is False
    assert outputs["xdp"]["evidence"] == ["node-1: off"]


@pytest.mark.parametrize(("verified", "said"), [(True, True), (False, False), (None, False)])
def test_verified_means_that_the_agents_prove_it(verified: bool | None, said: bool) -> None:
    assert toggle_outputs([_state(verified=verified)])["dsr"]["verified"] is said


# -- before anything is started -------------------------------------------------------------------


def _gathered(monkeypatch: pytest.MonkeyPatch, facts: Facts) -> None:
    monkeypatch.setattr(doctor, "gather", lambda: facts)


def test_a_machine_that_cannot_run_the_lab_is_told_all_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _gathered(monkeypatch, Facts(kernel="4.14.0", root=False))
    with pytest.raises(pulumi.RunError) as caught:
        target.check_machine()
    told = str(caught.value)
    assert "kernel 5.10 or newer is needed, this is 4.14.0" in told
    assert "root is needed" in told
    assert "`eks`" in told
    assert "`kubeconfig`" in told


class _Programs:
    """A toolchain with only the programs and files that it is given."""

    def __init__(self, programs: Iterable[str], shares: dict[str, Path] | None = None) -> None:
        self._programs = set(programs)
        self._shares = shares or {}

    def missing(self, needs: frozenset[Need]) -> list[str]:
        nothing_built = Toolchain(Builder(CHECKOUT / "tools", Cache(Path("/nowhere"))))
        return [name for name in nothing_built.missing(needs) if name not in self._programs]

    def share(self, name: str) -> Path:
        if name not in self._shares:
            raise NotBuiltError(f"the files of {name} are not there yet; run `make setup`")
        return self._shares[name]


def test_a_machine_with_all_that_is_needed_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    _gathered(monkeypatch, Facts())
    target.check_machine()


@pytest.mark.parametrize(
    ("stack", "lacking"),
    [
        ("scenario-a", "kube-proxy, aws-k8s-agent, aws-cni"),
        ("scenario-b", "cilium-agent, cilium-cni, cilium-dbg, cilium-operator, kube-proxy, helm"),
        ("scenario-e", "cilium-agent, cilium-cni, cilium-dbg, cilium-operator, helm"),
    ],
)
def test_the_programs_of_the_scenarios_own_cni_are_missed_at_preview(
    stack: str, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    common = ["kube-apiserver", "etcd", "coredns", "cnitool", "fortio", "go-httpbin", "turns"]
    monkeypatch.setattr(Toolchain, "default", lambda: _Programs(common))
    monkeypatch.setattr(doctor, "is_debian", lambda: False)
    monkeypatch.setattr(pulumi, "get_stack", lambda: stack)
    with pytest.raises(pulumi.RunError) as caught:
        target.check_programs(read(stack))
    told = f"not set up for this stack yet: {lacking}. Fix: make setup STACK={stack}"
    assert str(caught.value) == told


def test_debian_packages_that_are_missing_are_told_with_the_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    built = _Programs(Toolchain.default().versions())
    monkeypatch.setattr(Toolchain, "default", lambda: built)
    monkeypatch.setattr(doctor, "is_debian", lambda: True)
    monkeypatch.setattr(
        doctor, "missing_packages", lambda names: [n for n in names if n == "iperf3"]
    )
    monkeypatch.setattr(pulumi, "get_stack", lambda: "scenario-a")
    with pytest.raises(pulumi.RunError, match=r"yet: iperf3\. Fix: make setup"):
        target.check_programs(read("scenario-a"))


def test_a_value_that_the_chart_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    scenario = read("scenario-e").scenario
    target.check_values(scenario, {"bpf": {"masquerade": True}, "extraConfig": {"debug": "1"}})
    with pytest.raises(pulumi.RunError) as caught:
        target.check_values(scenario, {"bpf": {"masqerade": True}, "l8Proxy": False})
    assert str(caught.value).splitlines() == [
        "Pulumi.dev.yaml: scenario.values: bpf.masqerade: not a value of this chart "
        "(did you mean bpf.masquerade?)",
        "Pulumi.dev.yaml: scenario.values: l8Proxy: not a value of this chart (did you mean "
        "l7Proxy?)",
    ]
