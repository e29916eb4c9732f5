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
from studies.validate.rounds import MissingSampleError, by_round
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
class _Found:
    """What has been found so far."""

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
    found = _Found()
    family = len([metric for probe in build_probes(plan) for metric in probe.metrics])
    _truth(found, lab, bench, plan, say)
    _sensitivity(found, lab, bench, plan, family, say)
    _parity(found, lab, bench, plan, say)
    _false_alarms(found, bench, plan, start + 60 * minutes - _AROUND_SECONDS, say)
    if found.compared:
        checks, found.agreements = agree(benchstat, found.compared)
        found.checks += checks
    return Report(
        started=started.isoformat(timespec="seconds"),
        seconds=round(clock.monotonic() - start, 1),
        environment=dict(lab.session.environment()),
        tools=tools,
        preconditions=gate.results(),
        checks=found.checks,
        deviations=found.deviations,
        sensitivity=found.sensitivity,
        ratios=found.ratios,
        false_alarms=found.false_alarms,
        agreements=found.agreements,
    )


def _truth(found: _Found, lab: ValidationTestbed, bench: Bench, plan: Plan, say: Progress) -> None:
    checks = TruthChecks(bench, lab.faults, lab.link, plan, say)
    for name, check in checks.all():
        say(f"known truth: {name}")
        with found.part("Known truth", name):
            for outcome, deviation in check():
                found.checks.append(outcome)
                found.deviations.append(deviation)


def _sensitivity(
    found: _Found, lab: ValidationTestbed, bench: Bench, plan: Plan, family: int, say: Progress
) -> None:
    say("sensitivity: a cut of known size")
    with found.part("Sensitivity", "a cut of known size"):
        check, found.sensitivity, sides = measure_cut(bench, lab.faults, plan, family, say)
        found.checks.append(check)
        found.compared["cut"] = sides


def _parity(found: _Found, lab: ValidationTestbed, bench: Bench, plan: Plan, say: Progress) -> None:
    checks = ParityChecks(bench, lab.faults, plan, say)
    for subject in checks.subjects():
        with found.part("Parity", subject.probe):
            made, ratios = checks.check(subject)
            found.checks += made
            found.ratios += ratios


def _false_alarms(found: _Found, bench: Bench, plan: Plan, end: float, say: Progress) -> None:
    # A missing sample is not tried again: here it costs a metric little, and time is short.
    short = replace(plan_for(plan.profile, runs=_MOST_ROUNDS, seconds=1), attempts=1)
    say("A/A: rounds of two equal sides")
    sides = [Side(label, bench, build_probes(short)) for label in "ab"]
    order = abba("ab", _MOST_ROUNDS)
    with found.part("A/A", "rounds"):
        results = interleave(
            sides, short, order, watch=by_round(say), least=DEFAULT_ROUNDS, end=end
        )
        rounds = Rounds(results["a"], results["b"])
        say(f"A/A: relabelled comparisons of {rounds.count} rounds")
        checks, found.false_alarms = analyse(rounds)
        found.checks += checks
        found.compared["A/A"] = rounds.paired(exact(rounds.count))
