"""Which requested toggles are applied on a platform: decided from facts, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cni.hardware import xdp_support
from cni.platform import PlatformFacts
from cni.scenario import Scenario
from cni.toggles import TOGGLES, Asked, CtTables, Toggle
from cni.value_tree import HelmValues

DYNAMIC_MAP_RATIO = 0.0025
"""Share of a machine's memory that Cilium gives its dynamically sized maps, by default."""
# Entries by default, and bytes an entry, of the maps that share it: TCP and other conntrack, NAT,
# neighbours, socket reverse NAT. Source: calculateDynamicBPFMapSizes in `pkg/option/config.go`.
_SHARED_BYTES = 524_288 * 94 + 262_144 * 94 + 524_288 * 94 + 524_288 * 24 + 262_144 * 52
_MIN_TCP, _MIN_ANY = 1 << 17, 1 << 16


class GuardError(Exception):
    """Toggles that cannot be applied although the scenario is strict; one line for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one toggle: requested, applied, or why not."""

    toggle: str
    requested: bool
    applied: bool
    reason: str | None = None
    """Why it is not applied; None where it is."""
    notes: tuple[str, ...] = ()
    """What else a reader of its effect should know."""
    asked: Asked = None
    values: HelmValues = field(default_factory=dict)


def decide(scenario: Scenario, facts: PlatformFacts) -> tuple[Decision, ...]:
    """One decision per toggle, in the registry's order.

    A requested toggle that the platform or the other settings rule out falls back to its off
    values, with the reason. Raises GuardError with every such toggle if the scenario is strict.
    """
    decided: dict[str, Decision] = {}
    for name in TOGGLES:
        _decide(TOGGLES[name], scenario, facts, decided)
    decisions = tuple(decided[name] for name in TOGGLES)
    refused = [decision for decision in decisions if decision.requested and not decision.applied]
    if scenario.strict and refused:
        raise GuardError(
            "\n".join(
                f"toggles.{decision.toggle}: strict is set, and it cannot be applied on "
                f"{facts.instance_type}: {decision.reason}. "
                f"Fix: remove toggles.{decision.toggle}, or set strict: false"
                for decision in refused
            )
        )
    return decisions


def dynamic_conntrack_sizes(memory_mib: int) -> tuple[int, int]:
    """About how many TCP and other conntrack entries an agent takes by itself, given a memory.

    A few per cent high: agents see what the kernel leaves of the machine's memory.
    """
    budget = int(memory_mib * (1 << 20) * DYNAMIC_MAP_RATIO)
    return (
        max(524_288 * budget // _SHARED_BYTES, _MIN_TCP),
        max(262_144 * budget // _SHARED_BYTES, _MIN_ANY),
    )


def _decide(
    toggle: Toggle, scenario: Scenario, facts: PlatformFacts, decided: dict[str, Decision]
) -> Decision:
    """Decide a toggle after those that it needs, each once."""
    if toggle.name not in decided:
        needed = [_decide(TOGGLES[name], scenario, facts, decided) for name in toggle.needs.toggles]
        decided[toggle.name] = _outcome(toggle, scenario, facts, needed)
    return decided[toggle.name]


def _outcome(
    toggle: Toggle, scenario: Scenario, facts: PlatformFacts, needed: Iterable[Decision]
) -> Decision:
    asked = scenario.toggles.asked(toggle)
    if scenario.cni == "vpc-cni":
        reason = "not applicable: the VPC CNI has no Cilium dataplane"
        return Decision(toggle=toggle.name, requested=False, applied=False, reason=reason)
    if asked is None:
        reason = "not requested: left to the chart's default"
        return Decision(toggle=toggle.name, requested=False, applied=False, reason=reason)
    if asked is False:
        return Decision(
            toggle=toggle.name,
            requested=False,
            applied=False,
            reason="switched off in the scenario",
            asked=asked,
            values=toggle.off,
        )
    obstacles = list(_obstacles(toggle, scenario, facts, needed))
    return Decision(
        toggle=toggle.name,
        requested=True,
        applied=not obstacles,
        reason="; ".join(obstacles) or None,
        notes=() if obstacles else tuple(_notes(toggle, scenario, facts)),
        asked=asked,
        values=toggle.off if obstacles else toggle.on(asked, facts),
    )


def _obstacles(
    toggle: Toggle, scenario: Scenario, facts: PlatformFacts, needed: Iterable[Decision]
) -> Iterable[str]:
    needs = toggle.needs
    if needs.kube_proxy_replacement and not scenario.kube_proxy_replacement:
        yield "needs kubeProxyReplacement: true"
    for other in needed:
        if not other.applied:
            yield f"needs {other.toggle}, which is not applied ({other.reason})"
    if needs.kernel and facts.kernel and facts.kernel < needs.kernel:
        yield f"needs kernel {needs.kernel}, nodes have {facts.kernel}"
    if needs.fq and facts.has_fq is False:
        yield "needs the fq queueing discipline, which nodes cannot use"
    if needs.bbr and facts.has_bbr is False:
        yield "needs the kernel's BBR congestion control, which nodes do not have"
    obstacle = needs.obstacle(facts)
    if obstacle:
        yield obstacle


def _notes(toggle: Toggle, scenario: Scenario, facts: PlatformFacts) -> Iterable[str]:
    if toggle.needs.kernel and facts.kernel is None:
        yield f"wants kernel {toggle.needs.kernel}; the nodes' kernel is not known yet"
    write = _NOTES.get(toggle.name)
    note = write(scenario, facts) if write else None
    if note:
        yield note


def _conntrack_note(scenario: Scenario, facts: PlatformFacts) -> str | None:
    tables = scenario.toggles.ct_tables
    if not isinstance(tables, CtTables):
        return None
    tcp, other = dynamic_conntrack_sizes(facts.memory_mib)
    by_itself = f"the agent would take about {tcp:,} TCP and {other:,} other entries by itself"
    shrinks = tables.tcp_max < tcp or tables.any_max < other
    effect = "would shrink the tables" if shrinks else "enlarges the tables"
    return f"{effect}: with {facts.memory_mib:,} MiB of memory {by_itself}"


def _socket_lb_note(scenario: Scenario, facts: PlatformFacts) -> str | None:
    if not scenario.kube_proxy_replacement:
        return None
    return (
        "already on with kube-proxy replacement; what this adds is that sockets of pods to deleted "
        "backends are closed (bpf-lb-sock-terminate-pod-connections)"
    )


def _masquerade_note(scenario: Scenario, facts: PlatformFacts) -> str | None:
    if scenario.toggles.host_routing is not None:
        return None
    return "brings BPF host routing with it, the agent's default once iptables is not needed"


def _dsr_note(scenario: Scenario, facts: PlatformFacts) -> str | None:
    if scenario.ipam != "eni":
        return None
    return (
        "with ENI addresses EC2's source/destination check drops replies that leave from another "
        "node unless it is switched off (cilium #13600, #14243)"
    )


def _xdp_note(scenario: Scenario, facts: PlatformFacts) -> str | None:
    return xdp_support(facts).why


_NOTES: dict[str, Callable[[Scenario, PlatformFacts], str | None]] = {
    "ctTables": _conntrack_note,
    "socketLB": _socket_lb_note,
    "bpfMasquerade": _masquerade_note,
    "dsr": _dsr_note,
    "xdp": _xdp_note,
}
