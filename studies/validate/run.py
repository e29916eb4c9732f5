"""The whole validation, in its order: what is quick first, A/A with the time that is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.checks import Gate, check_cluster
from bench.compare import DEFAULT_ROUNDS
from bench.interleave import Side, abba, interleave
from bench.plan import Plan, plan_for
from bench.probes import build_probes
from bench.probes.base import Bench
from bench.readiness import check_readiness
from bench.session import Clock, SessionError, resolve_targets
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
from studies.validate.testbed import MissingSampleError, Progress, ValidationTestbed, say_rounds
from studies.validate.truth import TruthChecks
from studies.validate.verdicts import Rounds, Sides, agree, analyse, exact, measure_cut

MINUTES = 20
"""What a validation may take in all."""
FEWEST_MINUTES, MOST_MINUTES = 12, 120
"""With fewer there is no time for the rounds of one comparison."""
_AROUND_SECONDS = 100.0
"""Bringing up the lab, the relabelled comparisons and the page, which come on top of the rounds."""
_MOST_ROUNDS = 256


@dataclass(slots=True)
class _Validation:
    """What the parts are made with, and what they have given so far."""

    lab: ValidationTestbed
    bench: Bench
    plan: Plan
    say: Progress
    checks: list[Check] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)
    sensitivity: Sensitivity | None = None
    ratios: list[Ratio] = field(default_factory=list)
    false_alarms: FalseAlarms | None = None
    compared: dict[str, Sides] = field(default_factory=dict)

    @contextmanager
    def _part(self, part: Part, name: str) -> Iterator[None]:
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

    def known_truth(self) -> None:
        truth = TruthChecks(self.bench, self.lab.faults, self.lab.link, self.plan, self.say)
        for name, check in truth.all():
            self.say(f"known truth: {name}")
            with self._part("Known truth", name):
                for made, deviation in check():
                    self.checks.append(made)
                    self.deviations.append(deviation)

    def cut(self) -> None:
        self.say("sensitivity: a cut of known size")
        family = sum(len(probe.metrics) for probe in build_probes(self.plan))
        with self._part("Sensitivity", "a cut of known size"):
            check, self.sensitivity, self.compared["cut"] = measure_cut(
                self.bench, self.lab.faults, self.plan, family, self.say
            )
            self.checks.append(check)

    def parity(self) -> None:
        parity = ParityChecks(self.bench, self.lab.faults, self.plan, self.say)
        for subject in parity.subjects():
            with self._part("Parity", subject.probe):
                made, ratios = parity.check(subject)
                self.checks += made
                self.ratios += ratios

    def equal_sides(self, end: float) -> None:
        # A missing sample is not tried again: here it costs a metric little, and time is short.
        short = replace(plan_for(self.plan.profile, runs=_MOST_ROUNDS, seconds=1), attempts=1)
        self.say("A/A: rounds of two equal sides")
        sides = [Side(label, self.bench, build_probes(short)) for label in "ab"]
        order, watch = abba("ab", _MOST_ROUNDS), say_rounds(self.say)
        with self._part("A/A", "rounds"):
            results = interleave(sides, short, order, watch=watch, least=DEFAULT_ROUNDS, end=end)
            rounds = Rounds(results["a"], results["b"])
            self.say(f"A/A: relabelled comparisons of {rounds.count} rounds")
            checks, self.false_alarms = analyse(rounds)
            self.checks += checks
            self.compared["A/A"] = rounds.paired(exact(rounds.count))


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
    validation = _Validation(lab, bench, plan, say)
    validation.known_truth()
    validation.cut()
    validation.parity()
    validation.equal_sides(start + 60 * minutes - _AROUND_SECONDS)
    agreements: list[Agreement] = []
    if validation.compared:
        checks, agreements = agree(benchstat, validation.compared)
        validation.checks += checks
    return Report(
        started=started.isoformat(timespec="seconds"),
        seconds=round(clock.monotonic() - start, 1),
        environment=lab.session.environment().model_dump(mode="json", exclude_none=True),
        tools=tools,
        preconditions=gate.results(),
        checks=validation.checks,
        deviations=validation.deviations,
        sensitivity=validation.sensitivity,
        ratios=validation.ratios,
        false_alarms=validation.false_alarms,
        agreements=agreements,
    )
