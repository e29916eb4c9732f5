"""One toggle at a time: scenarios that differ from a base in one toggle, and why some cannot be.

A toggle that needs others is tried together with them, and taken away together with those that need
it; what goes along is named, since the effect is of all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError

from cni.decisions import decide
from cni.platform import PlatformFacts
from cni.registry import TOGGLES
from cni.scenario import Scenario
from cni.settings import Asked, CombinationError, Toggles
from cni.toggles import Decision

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


def plus(base: Scenario, tuned: Toggles, toggle: str, facts: PlatformFacts) -> Variant:
    """A base with a toggle on, and with the toggles that this needs.

    :param tuned: what "on" means, for toggles that have sizes.
    """
    applied = _applied(base, facts)
    if toggle in applied:
        return Variant(toggle=toggle, direction="plus", reason="the base has it already")
    asked = tuned.asked(toggle)
    if not asked:
        return Variant(toggle=toggle, direction="plus", reason="the tuned scenario does not ask it")
    along = tuple(name for name in _needed(toggle) if name not in applied)
    changes: dict[str, Asked] = {name: tuned.asked(name) or True for name in along}
    for brought in TOGGLES[toggle].brings:
        if base.toggles.asked(brought) is None:
            changes[brought] = False
    return _decided(base, {**changes, toggle: asked}, toggle, "plus", along, facts)


def less(base: Scenario, toggle: str, facts: PlatformFacts) -> Variant:
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
