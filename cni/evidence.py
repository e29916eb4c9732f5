"""Verification: what was decided against what every running agent says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cni.agent import EVIDENCE_COMMANDS, AgentEvidence, EvidenceError
from cni.guards import Decision
from cni.problems import show
from cni.proofs import Proof
from cni.toggles import TOGGLES
from cni.value_tree import leaves

__all__ = ["EVIDENCE_COMMANDS", "AgentEvidence", "EvidenceError", "ToggleState", "verify"]


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
    where an agent did not tell."""
    reason: str | None
    """Why it is not applied or not verified."""
    notes: tuple[str, ...]
    evidence: tuple[str, ...]
    """What each agent said, as `node: words`."""


def verify(
    decisions: Iterable[Decision],
    evidences: Iterable[AgentEvidence],
    nodes: Sequence[str] = (),
) -> tuple[ToggleState, ...]:
    """The state of each decided toggle on the running agents.

    `nodes` are those that an agent is expected on: one without evidence leaves toggles unverified.
    """
    agents = {agent.node: agent for agent in evidences}
    missing = [node for node in nodes if node not in agents]
    return tuple(_state(decision, list(agents.values()), missing) for decision in decisions)


def _state(decision: Decision, agents: list[AgentEvidence], missing: list[str]) -> ToggleState:
    toggle = TOGGLES[decision.toggle]
    proofs = {agent.node: toggle.prove(agent, decision.asked) for agent in agents}
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
    if decision.requested or decision.asked is False:
        return True, False, f"on although it was decided off: {decision.reason}"
    return True, True, "on without being requested, by the agent's defaults with these settings"
