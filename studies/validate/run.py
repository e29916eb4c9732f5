"""The whole validation, in its order: what is quick first, A/A with the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.checks import Gate, check_cluster, check_readiness
from bench.clock import Clock
from bench.compare import DEFAULT_ROUNDS
from bench.interleave import Side, abba, interleave
from bench.plan import Plan, plan_for
from bench.probes import build_probes
from bench.probes.base import Bench
from bench.session import SessionError
from bench.targets import resolve_targets
from studies.validate.agreement import Sides, agree, exact
from studies.validate.false_alarms import Rounds, analyse
from studies.validate.faults import ValidationTestbed
from studies.validate.model import (
    Agreement,
    Check,
    Deviation,
    FalseAlarms,
    Part,
    Ratio,
    Report,
    Sensitivity,
)
from studies.validate.parity import ParityChecks
from studies.validate.readings import MissingSampleError, by_round
from studies.validate.sensitivity import measure_cut
from studies.validate.truth import TruthChecks

MINUTES = 20
"""What a validation may take in all."""
FEWEST_MINUTES, MOST_MINUTES = 12, 120
"""With fewer there is no time for the rounds of one comparison."""
_AROUND_SECONDS = 100.0
"""Bringing up the lab, the relabelled comparisons and the page, which come on top of the rounds."""
_MOST_ROUNDS = 256

Progress = Callable[[str], None]


@dataclass(slots=True)
class _Outcome:
    """What the parts have given so far."""

    checks: list[Check] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)
    sensitivity: Sensitivity | None = None
    ratios: list[Ratio] = field(default_factory=list)
    false_alarms: FalseAlarms | None = None
    agreements: list[Agreement] = field(default_factory=list)
    compared: dict[str, Sides] = field(default_factory=dict)

    @contextmanager
    def part(self, part: Part, name: str) -> Iterator[None]:
        """A part without a number is a check that fails, and the others go on."""
        try:
            yield
        except (MissingSampleError, SessionError) as error:
            self.checks.append(
                Check(
                    part=part, name=name, expectation="a number", measured=f"none: {error}",
                    interval="none", passed=False,
                )
            )  # fmt: skip


def run_validation(
    lab: ValidationTestbed,
    plan: Plan,
    benchstat: Path,
    say: Progress,
    clock: Clock | None = None,
    *,
    minutes: int = MINUTES,
) -> Report:
    """Make every check on a running lab.

    :param plan: the benchmark's; ``allow`` names preconditions that may fail.
    :param benchstat: the program.
    :param minutes: what a validation may take in all; A/A has what the other parts leave of it.
    :raises PreconditionError: what would be measured is not what is meant.
    :raises SessionError: the lab cannot be asked.
    """
    clock = clock or Clock()
    started, start = clock.now(), clock.monotonic()
    bench = Bench(lab.session, resolve_targets(lab.session), clock)
    say("checking preconditions")
    gate = Gate(plan.allow)
    tools = check_cluster(bench, gate)
    check_readiness(bench, plan, gate)
    outcome = _Outcome()
    family = len([metric for probe in build_probes(plan) for metric in probe.metrics])
    _truth(outcome, lab, bench, plan, say)
    _sensitivity(outcome, lab, bench, plan, family, say)
    _parity(outcome, lab, bench, plan, say)
    _false_alarms(outcome, bench, plan, start + 60 * minutes - _AROUND_SECONDS, say)
    if outcome.compared:
        checks, outcome.agreements = agree(benchstat, outcome.compared)
        outcome.checks += checks
    return Report(
        started=started.isoformat(timespec="seconds"),
        seconds=round(clock.monotonic() - start, 1),
        environment=lab.session.environment().model_dump(mode="json", exclude_none=True),
        tools=tools,
        preconditions=gate.results(),
        checks=outcome.checks,
        deviations=outcome.deviations,
        sensitivity=outcome.sensitivity,
        ratios=outcome.ratios,
        false_alarms=outcome.false_alarms,
        agreements=outcome.agreements,
    )


def _truth(
    outcome: _Outcome, lab: ValidationTestbed, bench: Bench, plan: Plan, say: Progress
) -> None:
    checks = TruthChecks(bench, lab.faults, lab.link, plan, say)
    for name, check in checks.all():
        say(f"known truth: {name}")
        with outcome.part("Known truth", name):
            for made, deviation in check():
                outcome.checks.append(made)
                outcome.deviations.append(deviation)


def _sensitivity(
    outcome: _Outcome, lab: ValidationTestbed, bench: Bench, plan: Plan, family: int, say: Progress
) -> None:
    say("sensitivity: a cut of known size")
    with outcome.part("Sensitivity", "a cut of known size"):
        check, outcome.sensitivity, sides = measure_cut(bench, lab.faults, plan, family, say)
        outcome.checks.append(check)
        outcome.compared["cut"] = sides


def _parity(
    outcome: _Outcome, lab: ValidationTestbed, bench: Bench, plan: Plan, say: Progress
) -> None:
    checks = ParityChecks(bench, lab.faults, plan, say)
    for subject in checks.subjects():
        with outcome.part("Parity", subject.probe):
            made, ratios = checks.check(subject)
            outcome.checks += made
            outcome.ratios += ratios


def _false_alarms(outcome: _Outcome, bench: Bench, plan: Plan, end: float, say: Progress) -> None:
    # A missing sample is not tried again: here it costs a metric little, and time is short.
    short = replace(plan_for(plan.profile, runs=_MOST_ROUNDS, seconds=1), attempts=1)
    say("A/A: rounds of two equal sides")
    sides = [Side(label, bench, build_probes(short)) for label in "ab"]
    order = abba("ab", _MOST_ROUNDS)
    with outcome.part("A/A", "rounds"):
        results = interleave(
            sides, short, order, watch=by_round(say), least=DEFAULT_ROUNDS, end=end
        )
        rounds = Rounds(results["a"], results["b"])
        say(f"A/A: relabelled comparisons of {rounds.count} rounds")
        checks, outcome.false_alarms = analyse(rounds)
        outcome.checks += checks
        outcome.compared["A/A"] = rounds.paired(exact(rounds.count))
