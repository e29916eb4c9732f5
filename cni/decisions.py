"""What becomes of each toggle: decided from facts before anything runs, then verified on agents.

Also the scenarios that differ from a base in one toggle, and why some cannot be.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import ValidationError

from cni.platform import PlatformFacts
from cni.registry import TOGGLES, owner
from cni.scenario import Scenario
from cni.settings import Asked, CombinationError, Toggles, leaves, show
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
    for feature in needs.features:
        if feature in facts.lacks:
            yield f"needs {feature}"
    obstacle = needs.obstacle(scenario, facts)
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


# -- one toggle at a time ------------------------------------------------------------------------
# A toggle that needs others is tried together with them, and taken away together with those that
# need it; what goes along is named, since the effect is of all of it.

Direction = Literal["plus", "less"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A base with one toggle added (``plus``) or taken away (``less``).

    ``along`` are toggles that change with it because one needs the other. ``scenario`` is None
    where there is no such variant, and ``reason`` then says why.
    """

    toggle: str
    direction: Direction
    along: tuple[str, ...] = ()
    scenario: Scenario | None = None
    decisions: tuple[Decision, ...] = ()
    reason: str | None = None

    @property
    def sign(self) -> Literal["+", "-"]:
        """The direction in one character."""
        return "+" if self.direction == "plus" else "-"


def with_toggle(base: Scenario, tuned: Toggles, toggle: str, facts: PlatformFacts) -> Variant:
    """A base with a toggle on, and with the toggles that this needs.

    :param tuned: what "on" means, for toggles that have sizes.
    """
    applied = _applied(base, facts)
    if toggle in applied:
        return Variant(toggle=toggle, direction="plus", reason="the base has it already")
    asked = tuned.asked(toggle) or TOGGLES[toggle].sizes is None
    if not asked:
        return Variant(toggle=toggle, direction="plus", reason="the tuned scenario has no sizes")
    along = tuple(name for name in _needed(toggle) if name not in applied)
    changes: dict[str, Asked] = {name: tuned.asked(name) or True for name in along}
    for brought in TOGGLES[toggle].brings:
        if base.toggles.asked(brought) is None:
            changes[brought] = False
    return _decided(base, {**changes, toggle: asked}, toggle, "plus", along, facts)


def without_toggle(base: Scenario, toggle: str, facts: PlatformFacts) -> Variant:
    """A base without a toggle, and without the toggles that need it."""
    applied = _applied(base, facts)
    if toggle not in applied:
        refused = {each.toggle: each for each in decide(base, facts)}[toggle]
        reason = f"the base does not have it: {refused.reason}"
        return Variant(toggle=toggle, direction="less", reason=reason)
    along = tuple(name for name in TOGGLES if name in applied and toggle in _needed(name))
    off: dict[str, Asked] = {
        name: None if TOGGLES[name].sizes else False for name in (toggle, *along)
    }
    return _decided(base, off, toggle, "less", along, facts)


def _applied(scenario: Scenario, facts: PlatformFacts) -> frozenset[str]:
    return frozenset(each.toggle for each in decide(scenario, facts) if each.applied)


def _needed(toggle: str) -> tuple[str, ...]:
    """All that a toggle needs, directly or not, in the registry's order."""
    direct = TOGGLES[toggle].needs.toggles
    every = {*direct, *(further for name in direct for further in _needed(name))}
    return tuple(name for name in TOGGLES if name in every)


def _decided(
    base: Scenario,
    changes: Mapping[str, Asked],
    toggle: str,
    direction: Direction,
    along: tuple[str, ...],
    facts: PlatformFacts,
) -> Variant:
    variant = Variant(toggle=toggle, direction=direction, along=along)
    try:
        scenario = Scenario.model_validate(
            {
                **{name: getattr(base, name) for name in Scenario.model_fields},
                "title": f"{base.title}, {variant.sign} {toggle}",
                "toggles": base.toggles.replaced(changes),
                "strict": False,
            }
        )
    except ValidationError as error:
        return replace(variant, reason=_combination(error))
    decisions = decide(scenario, facts)
    outcome = next(each for each in decisions if each.toggle == toggle)
    if direction == "plus" and not outcome.applied:
        return replace(variant, reason=str(outcome.reason))
    return replace(variant, scenario=scenario, decisions=decisions)


def _combination(error: ValidationError) -> str:
    """The contradictions in a refused scenario, without their fixes: nobody has written it."""
    for each in error.errors():
        cause = each.get("ctx", {}).get("error")
        if isinstance(cause, CombinationError):
            return "; ".join(problem.reason for problem in cause.problems)
    raise error
