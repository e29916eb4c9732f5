"""The whole validation, in its order: one cluster by itself, then bring-ups of three equal ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.checks import PreconditionError
from bench.interleave import Side, prepare_all
from bench.plan import Plan
from bench.readiness import Calibrations
from bench.results import CheckResult
from bench.session import Clock, SessionError
from studies.validate.bringups import BringUp, Trio
from studies.validate.model import Agreement, Check, Delay, Deviation, Part, Report
from studies.validate.parity import ParityChecks
from studies.validate.testbed import (
    LABELS,
    MissingSampleError,
    Progress,
    Testbeds,
    ValidationTestbed,
)
from studies.validate.truth import TruthChecks
from studies.validate.verdicts import FEWEST, Judged, agree, for_benchstat, judge

MINUTES = 30
"""What a validation may take in all."""
FEWEST_MINUTES, MOST_MINUTES = 12, 240
BRING_UPS = 15
"""Three comparisons of as many as a matrix has: so that the spread between them is known well."""
MOST_BRING_UPS = 50


@dataclass(slots=True)
class _Validation:
    """What the parts are made with, and what they have given so far."""

    testbeds: Testbeds
    plan: Plan
    say: Progress
    clock: Clock
    end: float
    preconditions: dict[str, CheckResult] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)
    delays: list[Delay] = field(default_factory=list)
    bring_ups: list[BringUp] = field(default_factory=list)
    calibrations: Calibrations = field(default_factory=Calibrations)
    first: Side | None = None

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

    def _prepared(self, beds: Mapping[str, ValidationTestbed], say: Progress) -> dict[str, Side]:
        """The sides that are measured.

        :raises PreconditionError: what would be measured is not what is meant.
        :raises SessionError: a cluster cannot be asked.
        """
        found = prepare_all(
            {label: bed.session for label, bed in beds.items()}, self.plan,
            clock=self.clock, deadline=self.end, calibrations=self.calibrations,
            say=lambda label, line: say(f"{label}: {line}"),
        )  # fmt: skip
        sides = {}
        for label, side in found.items():
            if not isinstance(side, Side):
                raise side
            sides[label] = side
            for check in side.evidence.checks if side.evidence else ():
                # One that did not hold anywhere marks the whole.
                if check.name not in self.preconditions or not check.passed:
                    self.preconditions[check.name] = check
        return sides

    def alone(self) -> None:
        """Known truth and parity, in one cluster."""
        with self.testbeds.bring_up(LABELS[:1]) as beds:
            ((label, bed),) = beds.items()
            self.first = side = self._prepared(beds, self.say)[label]
            truth = TruthChecks(side.bench, bed.faults, bed.link, self.plan, self.say)
            for name, check in truth.all():
                self.say(f"known truth: {name}")
                with self._part("Known truth", name):
                    for made, deviation in check():
                        self.checks.append(made)
                        self.deviations.append(deviation)
            parity = ParityChecks(side.bench, bed.faults, self.plan, self.say)
            for name, read in parity.readings():
                with self._part("Parity", name):
                    self.checks.append(read())
            for name, compare in parity.delays():
                self.say(f"parity of {name}")
                with self._part("Parity", name):
                    judged, delay = compare()
                    self.checks.append(judged)
                    self.delays.append(delay)

    def repeat(self, wanted: int) -> None:
        """Bring-ups of three equal clusters, as long as the time allows."""
        longest = 0.0
        for number in range(1, wanted + 1):
            start = self.clock.monotonic()
            if start + longest > self.end:
                self.say(f"no time for bring-up {number} of {wanted}")
                break
            say = _with_time_left(self.say, number, wanted, longest)
            with self._part("A/A", f"bring-up {number}"):
                try:
                    with self.testbeds.bring_up(LABELS) as beds:
                        sides = self._prepared(beds, say)
                        self.bring_ups.append(Trio(beds, sides, self.plan, say).measure())
                except PreconditionError as error:
                    raise MissingSampleError(str(error)) from None
            longest = max(longest, self.clock.monotonic() - start)
        self.checks.append(
            Check(
                part="A/A", name="bring-ups", expectation=f"{wanted}, all with numbers",
                measured=str(len(self.bring_ups)), interval="exact",
                passed=len(self.bring_ups) == wanted,
            )
        )  # fmt: skip

    def judged(self) -> Judged:
        """What follows from the bring-ups."""
        with self._part("A/A", f"verdicts over {FEWEST} bring-ups or more"):
            return judge(self.bring_ups)
        return Judged([], [], [], [])


def _with_time_left(say: Progress, number: int, wanted: int, each: float) -> Progress:
    minutes = (wanted - number + 1) * each / 60
    left = f", {minutes:.0f} min left" if each else ""
    return lambda line: say(f"bring-up {number} of {wanted}{left}: {line}")


def run_validation(
    testbeds: Testbeds,
    plan: Plan,
    benchstat: Path,
    say: Progress,
    clock: Clock | None = None,
    *,
    minutes: int = MINUTES,
    bring_ups: int = BRING_UPS,
) -> Report:
    """Make every check.

    :param plan: the benchmark's; ``allow`` names preconditions that may fail.
    :param benchstat: the program.
    :param minutes: what a validation may take in all; a bring-up for which there is no time left is
        not begun.
    :raises PreconditionError: what would be measured is not what is meant.
    :raises SessionError: a cluster cannot be asked.
    """
    clock = clock or Clock()
    started, start = clock.now(), clock.monotonic()
    validation = _Validation(testbeds, plan, say, clock, start + 60 * minutes)
    validation.alone()
    validation.repeat(bring_ups)
    judged = validation.judged()
    agreements: list[Agreement] = []
    checks = [*validation.checks, *judged.checks]
    if validation.bring_ups:
        say("the same samples by benchstat")
        made, agreements = agree(benchstat, for_benchstat(validation.bring_ups[0]))
        checks += made
    evidence = validation.first.evidence if validation.first else None
    assert evidence is not None  # prepared sides have theirs
    return Report(
        started=started.isoformat(timespec="seconds"),
        seconds=round(clock.monotonic() - start, 1),
        environment=evidence.environment.model_dump(mode="json", exclude_none=True),
        tools=dict(evidence.tools),
        preconditions=list(validation.preconditions.values()),
        checks=checks,
        bring_ups=len(validation.bring_ups),
        deviations=validation.deviations,
        delays=validation.delays,
        p_values=judged.p_values,
        equalities=judged.equalities,
        sensitivities=judged.sensitivities,
        agreements=agreements,
    )
