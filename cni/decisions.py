"""What becomes of each toggle: decided from facts before anything runs, then verified on agents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cni.platform import PlatformFacts
from cni.registry import TOGGLES, owner
from cni.scenario import Scenario
from cni.settings import leaves, show
from cni.toggles import Decision, Evidence, Proof, Toggle


class GuardError(Exception):
    """Toggles that cannot be applied although the scenario is strict; one line for each."""


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


def _decide(
    toggle: Toggle[Any], scenario: Scenario, facts: PlatformFacts, decided: dict[str, Decision]
) -> Decision:
    """Decide a toggle after those that it needs, each once."""
    if toggle.name not in decided:
        needed = [_decide(TOGGLES[name], scenario, facts, decided) for name in toggle.needs.toggles]
        decided[toggle.name] = _outcome(toggle, scenario, facts, needed)
    return decided[toggle.name]


def _outcome(
    toggle: Toggle[Any], scenario: Scenario, facts: PlatformFacts, needed: Iterable[Decision]
) -> Decision:
    asked = scenario.toggles.asked(toggle.name)
    if toggle.name not in scenario.dataplane.toggles:
        title = owner(toggle.name).title
        reason = f"not applicable: {scenario.dataplane.title} has no {title} dataplane"
        return Decision(
            toggle=toggle.name, requested=False, applied=False, reason=reason, applicable=False
        )
    if asked is None:
        reason = "not requested: left to the chart's default"
        return Decision(toggle=toggle.name, requested=False, applied=False, reason=reason)
    if asked is False:
        return Decision(
            toggle=toggle.name,
            requested=False,
            applied=False,
            reason="switched off in the scenario",
            refused=True,
            values=toggle.off,
        )
    obstacles = list(_obstacles(toggle, scenario, facts, needed))
    return Decision(
        toggle=toggle.name,
        requested=True,
        applied=not obstacles,
        reason="; ".join(obstacles) or None,
        notes=() if obstacles else tuple(_notes(toggle, scenario, facts)),
        values=toggle.off if obstacles else toggle.on(asked, facts),
    )


def _obstacles(
    toggle: Toggle[Any], scenario: Scenario, facts: PlatformFacts, needed: Iterable[Decision]
) -> Iterator[str]:
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


def _notes(toggle: Toggle[Any], scenario: Scenario, facts: PlatformFacts) -> Iterator[str]:
    if toggle.needs.kernel and facts.kernel is None:
        yield f"wants kernel {toggle.needs.kernel}; the nodes' kernel is not known yet"
    note = toggle.note(scenario, facts)
    if note:
        yield note


# -- verification -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ToggleState:
    """The final word on one toggle: requested, applied, verified, and why not."""

    toggle: str
    title: str
    requested: bool
    applied: bool
    """In effect, as far as anybody knows: what was decided, unless the agents say otherwise."""
    verified: bool | None
    """True if every agent proves it, False if one says otherwise; None with nothing to verify, or
    where an agent did not say."""
    reason: str | None
    """Why it is not applied or not verified."""
    notes: tuple[str, ...]
    evidence: tuple[str, ...]
    """What each agent said, as `node: words`."""


def verify(
    decisions: Iterable[Decision],
    evidences: Iterable[Evidence],
    nodes: Sequence[str] = (),
) -> tuple[ToggleState, ...]:
    """The state of each decided toggle on the running agents.

    `nodes` are those that an agent is expected on: one without evidence leaves toggles unverified.
    """
    agents = {agent.node: agent for agent in evidences}
    missing = [node for node in nodes if node not in agents]
    return tuple(_state(decision, list(agents.values()), missing) for decision in decisions)


def _state(decision: Decision, agents: list[Evidence], missing: list[str]) -> ToggleState:
    toggle = TOGGLES[decision.toggle]
    asked = agents if decision.applicable else []
    proofs = {agent.node: toggle.prove(agent, decision.values) for agent in asked}
    judge = _judge_applied if decision.applied else _judge_left_out
    applied, verified, reason = judge(decision, proofs, missing)
    return ToggleState(
        toggle=decision.toggle,
        title=toggle.title,
        requested=decision.requested,
        applied=applied,
        verified=verified,
        reason=reason,
        notes=decision.notes,
        evidence=tuple(f"{node}: {proof.said}" for node, proof in proofs.items()),
    )


_Verdict = tuple[bool, bool | None, str | None]


def _judge_applied(decision: Decision, proofs: dict[str, Proof], missing: list[str]) -> _Verdict:
    """Applied counts only when the running dataplane says so."""
    against = {node: proof for node, proof in proofs.items() if proof.holds is False}
    if against:
        settings = ", ".join(f"{path}={show(value)}" for path, value in leaves(decision.values))
        said = " and ".join(dict.fromkeys(proof.said for proof in against.values()))
        who = "the agent reports" if len(against) == len(proofs) else f"{', '.join(against)}:"
        return False, False, f"{who} {said} although {settings} was set"
    silent = [node for node, proof in proofs.items() if proof.holds is None] + missing
    if silent or not proofs:
        return True, None, f"no evidence from {', '.join(silent) or 'any agent'}"
    return True, True, None


def _judge_left_out(decision: Decision, proofs: dict[str, Proof], missing: list[str]) -> _Verdict:
    """What was left out may be at work all the same: by the chart's default, or against orders."""
    on = not missing and bool(proofs) and all(proof.holds for proof in proofs.values())
    if not on:
        return False, None, decision.reason
    if decision.requested or decision.refused:
        return True, False, f"on although it was decided off: {decision.reason}"
    return True, True, "on without being requested, by the agent's defaults with these settings"
