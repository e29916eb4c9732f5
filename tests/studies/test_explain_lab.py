"""A known cost is put into a path of a lab, and the explanation names its cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pytest

from bench.plan import ALLOWABLE, plan_for
from bench.session import Clock
from cli.display import Lines
from cni.decisions import without_toggle
from components.lab import target
from components.lab.upgrade import Planned, UpgradeLabs
from components.targets import open_session
from lab.cluster import Lab
from studies.explain import parts
from studies.explain.finding import Operation
from studies.explain.run import KINDS, Asked, follow, profile, ready, take
from studies.explain.way import Step
from studies.matrix.run import Progress, StackState

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_host")]

PLAIN, COSTING = "plain", "costing"
_SECONDS = 4.0
_RULES: Final = 1_000
_PLANT: Final = (
    f"for i in $(seq {_RULES}); do echo -A FORWARD -s 203.0.113.$((i % 250)) -j DROP; done"
    " | sed '1i *mangle' | sed '$aCOMMIT' | iptables-restore --noflush"
)
"""Rules that no packet matches, in a table that nobody else uses."""


@dataclass(frozen=True)
class Cost:
    """What is put in: a toggle that the tuned scenario has is taken away, or else rules are on the
    way of all that a node forwards. ``operation`` meets it, ``cause`` are parts that it is of."""

    operation: str
    cause: frozenset[str]
    toggle: str | None = None

    def sides(self) -> dict[str, Planned]:
        """The labs, without it and with it."""
        if self.toggle is None:
            return dict.fromkeys((PLAIN, COSTING), Planned.of("scenario-a"))
        plain = Planned.of("scenario-e")
        made = without_toggle(plain.settings.scenario, self.toggle, target.facts(plain.settings))
        assert made.scenario is not None, made.reason
        settings = replace(plain.settings, scenario=made.scenario)
        spec, _ = target.spec(settings, made.decisions)
        return {PLAIN: plain, COSTING: Planned(settings, made.decisions, spec)}

    def plant(self, lab: Lab) -> None:
        """Into a lab that is up."""
        if self.toggle is None:
            lab.node_command(lab.nodes[0], ["sh", "-c", _PLANT])


COSTS: Final = {
    "a thousand rules": Cost("roundtrip", frozenset({parts.RULES})),
    # Events of the datapath are written by its programs and read by the agent.
    "Hubble on": Cost("connection", frozenset({parts.AGENTS, parts.BPF}), "hubbleOff"),
    "host routing off": Cost(
        "roundtrip", frozenset({parts.ROUTING, parts.RULES, parts.TRACKING}), "hostRouting"
    ),
}


class Planted(UpgradeLabs):
    """Labs, one of which has the cost."""

    plant: Callable[[Lab], None]

    def up(self, stack: str, say: Progress) -> StackState:
        """See :class:`UpgradeLabs`."""
        state = super().up(stack, say)
        if stack == COSTING:
            self.plant(self.lab(stack))
        return state


@pytest.mark.parametrize("name", COSTS)
def test_a_known_cost_on_the_path_is_named_with_its_size(name: str) -> None:
    cost = COSTS[name]
    kind = next(each for each in KINDS if each.name == cost.operation)
    plan = plan_for("quick", runs=1, allow=ALLOWABLE)
    asked = Asked((PLAIN, COSTING), (kind,), _SECONDS, plan)
    labs = Planted(cost.sides(), what="known-cost")
    labs.plant = cost.plant
    with labs.alone(), ready(asked, labs, Lines(print), open_session, Clock()) as (benches, _):
        alone = take(kind, benches, _SECONDS)
        plain, costing = (
            float(alone.cpu[alone.of(side)].mean()) / alone.took.shape[1] for side in (0, 1)
        )
        found = dict(zip(asked.sides, profile(kind, benches, _SECONDS), strict=True))
        before, after = (follow(kind, bench).steps for bench in benches)
    difference = Operation.of(kind.name, kind.what, PLAIN, [found]).differences[COSTING]
    causes = [(part, each) for part, each in difference.causes() if each.value > 0]
    size = sum(difference.parts[part].value for part in cost.cause)
    print(
        f"{name}: {costing - plain:+.2f} µs by clocks alone, {size:+.2f} by its parts, "
        f"{difference.whole.value:+.2f} by clocks beside samples; "
        + ", ".join(f"{part} {each.value:+.2f}" for part, each in difference.causes())
    )
    assert causes and causes[0][0] in cost.cause
    # What the tasks' clocks say without any samples; how close it is depends on the machine.
    assert 0.3 < size / (costing - plain) < 3
    # A packet meets what was put in; Hubble's events are not on its way, but beside it.
    if cost.toggle is None:
        assert _rules(after) - _rules(before) == _RULES
    elif cost.toggle == "hostRouting":
        assert _lookups(after) > _lookups(before)


def _rules(steps: Sequence[Step]) -> int:
    return sum(step.rules for step in steps)


def _lookups(steps: Sequence[Step]) -> int:
    return sum(step.kind == "lookup" for step in steps)
