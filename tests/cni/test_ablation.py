"""One toggle at a time: which variants there are, what goes along, and why others cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cni.cilium.toggles import CtTables
from cni.decisions import Variant, with_toggle, without_toggle
from cni.platform import Feature, Kernel, PlatformFacts
from cni.registry import TOGGLES
from tests.cni.stackfiles import Load


@pytest.fixture
def no_fq(m6i: PlatformFacts) -> PlatformFacts:
    """The study's instances without fq, as in the lab."""
    return replace(m6i, lacks=frozenset({Feature.FQ, Feature.NETKIT, Feature.WIREGUARD}))


def _plus(load: Load, facts: PlatformFacts) -> dict[str, Variant]:
    base, tuned = load("scenario-d"), load("scenario-e").toggles
    return {name: with_toggle(base, tuned, name, facts) for name in TOGGLES}


def _less(load: Load, facts: PlatformFacts) -> dict[str, Variant]:
    return {name: without_toggle(load("scenario-e"), name, facts) for name in TOGGLES}


def _applied(variant: Variant) -> set[str]:
    return {each.toggle for each in variant.decisions if each.applied}


def test_what_can_be_added_to_d(load: Load, no_fq: PlatformFacts) -> None:
    variants = _plus(load, no_fq)
    added = {name: _applied(each) for name, each in variants.items() if each.scenario}
    assert added == {
        "hostRouting": {"nativeRouting", "bpfMasquerade", "hostRouting"},
        "bpfMasquerade": {"nativeRouting", "bpfMasquerade"},
        "socketLB": {"nativeRouting", "socketLB"},
        "ctTables": {"nativeRouting", "ctTables"},
        "hubbleOff": {"nativeRouting", "hubbleOff"},
    }
    assert variants["hostRouting"].along == ("bpfMasquerade",)
    reasons = {name: each.reason or "" for name, each in variants.items() if each.scenario is None}
    assert reasons["nativeRouting"] == "the base has it already"
    assert "fq" in reasons["bandwidthManager"]
    assert "needs bandwidthManager" in reasons["bbr"]
    assert "ENA" in reasons["dsr"]
    assert "ENA" in reasons["xdp"]
    # What the tuned scenario does not have is tried all the same, where the nodes can.
    assert "netkit devices" in reasons["netkit"]
    assert "ENA" in reasons["bigTCP"]
    assert "WireGuard" in reasons["wireguard"]


def test_newer_toggles_are_tried_where_nodes_have_them(load: Load, m6i: PlatformFacts) -> None:
    able = replace(m6i, driver="mlx5_core", kernel=Kernel(6, 18))
    variants = _plus(load, able)
    assert variants["netkit"].along == ("hostRouting", "bpfMasquerade")
    assert variants["bigTCP"].along == ("hostRouting", "bpfMasquerade")
    assert _applied(variants["wireguard"]) == {"nativeRouting", "wireguard"}


def test_a_toggle_that_brings_another_is_added_without_it(load: Load, no_fq: PlatformFacts) -> None:
    scenario = _plus(load, no_fq)["bpfMasquerade"].scenario
    assert scenario is not None
    assert scenario.toggles.asked("bpfMasquerade") is True
    assert scenario.toggles.asked("hostRouting") is False  # left open, the agent would turn it on


def test_with_fq_bbr_takes_all_that_it_needs(load: Load, m6i: PlatformFacts) -> None:
    variants = _plus(load, m6i)
    assert variants["bandwidthManager"].along == ()
    assert set(variants["bbr"].along) == {"bandwidthManager", "hostRouting", "bpfMasquerade"}
    assert _applied(variants["bbr"]) == {"nativeRouting", "bbr", *variants["bbr"].along}


def test_what_can_be_taken_from_e(load: Load, no_fq: PlatformFacts) -> None:
    variants = _less(load, no_fq)
    whole = _applied(_plus(load, no_fq)["hostRouting"]) | {"socketLB", "ctTables", "hubbleOff"}
    left = {name: whole - _applied(each) for name, each in variants.items() if each.scenario}
    assert left == {
        "hostRouting": {"hostRouting"},
        "bpfMasquerade": {"bpfMasquerade", "hostRouting"},
        "ctTables": {"ctTables"},
        "hubbleOff": {"hubbleOff"},
    }
    assert variants["bpfMasquerade"].along == ("hostRouting",)
    reasons = {name: each.reason or "" for name, each in variants.items() if each.scenario is None}
    assert "tunnel mode" in reasons["nativeRouting"]
    assert "kubeProxyReplacement turns socket load-balancing on" in reasons["socketLB"]
    assert "Fix" not in "".join(reasons.values())  # nobody has written these settings
    assert reasons["xdp"].startswith("the base does not have it: the ENA driver")


def test_sizes_are_the_tuned_scenarios(load: Load, no_fq: PlatformFacts) -> None:
    scenario = _plus(load, no_fq)["ctTables"].scenario
    assert scenario is not None
    assert scenario.toggles.asked("ctTables") == CtTables(tcp_max=1_048_576, any_max=524_288)
    without = _less(load, no_fq)["ctTables"].scenario
    assert without is not None
    assert without.toggles.asked("ctTables") is None


def test_a_strict_base_is_no_hindrance(load: Load, no_fq: PlatformFacts) -> None:
    base = load("scenario-d", strict=True)
    variant = with_toggle(base, load("scenario-e").toggles, "bandwidthManager", no_fq)
    assert variant.scenario is None
    assert "fq" in (variant.reason or "")
