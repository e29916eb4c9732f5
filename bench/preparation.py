"""What comes before the first sample of a side: preconditions, warm-up, calibration.

The sides of one comparison are checked two at a time, and then waited for all at once, until
nothing else is at work.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from bench.checks import Check, Gate, PreconditionError, check_cluster
from bench.environment import About, Environment
from bench.plan import Plan
from bench.probes import warmup_probes
from bench.probes.base import Bench, BoundReachedError, Probe, SampleError
from bench.probes.cost import components_of
from bench.readiness import Calibrations, Readiness, allowing_others, quiet
from bench.results import CalibrationResult, CheckResult
from bench.session import Clock, Session, SessionError, Targets, resolve_targets

PREPARING_CALLS = 100
"""Calls of the session, about, before the wait for a quiet machine and after it."""
_AT_ONCE = 2
"""Sides that are checked and warmed up at the same time: nothing is measured meanwhile."""

Say = Callable[[str, str], None]
"""Tells of a side, by its label; from any thread."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of a side before its first sample, in ``seconds``."""

    started: datetime
    environment: Environment
    about: About = field(default_factory=About)
    checks: tuple[CheckResult, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    calibration: CalibrationResult | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A side that can be measured: where, what was found, and the parts of its CNI."""

    bench: Bench
    evidence: Evidence
    components: tuple[str, ...]


Unready = PreconditionError | SessionError
"""Why a side cannot be measured."""


def make_ready(
    sessions: Mapping[str, Session],
    plan: Plan,
    *,
    clock: Clock,
    deadline: float,
    say: Say,
    calibrations: Calibrations,
) -> dict[str, Ready | Unready]:
    """Every side, by label: it is ready, or has the error that keeps it from being measured.

    :param deadline: when (of ``clock.monotonic``) no further command is started.
    :param calibrations: of the whole comparison.
    """
    sides = [
        _Preparation(label, session, plan, clock, deadline, say)
        for label, session in sessions.items()
    ]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="prepare") as pool:
        list(pool.map(_Preparation.check, sides))
    left = [side for side in sides if side.error is None]
    if left:
        start = clock.monotonic()
        try:
            found = quiet([side.bench for side in left], plan.settle_seconds)
        except BoundReachedError:
            for side in left:
                side.late()
        else:
            waited = clock.monotonic() - start
            for side, checks in zip(left, found, strict=True):
                side.calibrate(checks, calibrations, waited)
    return {side.label: side.error or side.ready() for side in sides}


class _Preparation:
    """A side on its way, until ``error`` says that there is none."""

    def __init__(
        self, label: str, session: Session, plan: Plan, clock: Clock, deadline: float, say: Say
    ) -> None:
        self.label = label
        self.error: Unready | None = None
        self.bench: Bench
        self._session = session
        self._plan = plan
        self._clock = clock
        self._deadline = deadline
        self._say = say
        self._gate = Gate(plan.allow)
        self._started = clock.now()
        self._seconds = 0.0

    def check(self) -> None:
        """What a look at the cluster tells, and the warm-up."""
        with self._working():
            targets, self._environment = _look_up(self._session)
            self._about = self._session.about()
            bench = Bench(self._session, targets, self._clock, self._deadline).timed()
            late = PREPARING_CALLS * bench.latency
            self.bench = replace(bench, deadline=bench.deadline + late)
            self._say(self.label, "checking preconditions")
            self._tools = check_cluster(self.bench, self._gate)
            self._say(
                self.label,
                "warming up, waiting for a quiet machine, calibrating the load generator",
            )
            _warm_up(self.bench, self._plan)
            self._readiness = Readiness(self.bench, self._gate)

    def calibrate(
        self, found: tuple[Check, Check], calibrations: Calibrations, waited: float
    ) -> None:
        """Take in what the wait for a quiet machine found; then what the generator reaches."""
        self._seconds += waited
        with self._working():
            self._calibration = self._readiness.require(
                found, self._plan, calibrations, self._tools["fortio"]
            )

    def ready(self) -> Ready:
        """The side, of which everything has been found."""
        self._say(self.label, _summary(self._gate))
        checks = self._gate.results()
        marks = [check.mark for check in checks if not check.passed]
        for mark in marks:
            self._say(self.label, f"MARKED: {mark}")
        evidence = Evidence(
            started=self._started,
            environment=self._environment,
            about=self._about,
            checks=tuple(checks),
            tools=self._tools,
            calibration=self._calibration,
            warnings=tuple(marks),
            seconds=self._seconds,
        )
        bench = allowing_others(self.bench, self._plan, self._gate)
        return Ready(bench, evidence, _components(self._session))

    def late(self) -> None:
        """The time is over."""
        check = Check("in time", False, "the preconditions took the whole benchmark's time")
        self.error = PreconditionError((*self._gate.checks, check))

    @contextmanager
    def _working(self) -> Iterator[None]:
        start = self._clock.monotonic()
        try:
            yield
        except BoundReachedError:
            self.late()
        except (PreconditionError, SessionError) as error:
            self.error = error
        self._seconds += self._clock.monotonic() - start


def _look_up(session: Session) -> tuple[Targets, Environment]:
    try:
        return resolve_targets(session), session.environment()
    except SessionError as error:
        raise PreconditionError((Check("workloads are ready", False, str(error)),)) from error


def _components(session: Session) -> tuple[str, ...]:
    """The CNI's components; none where they cannot be told, which "quiet-agents" reports."""
    try:
        return components_of(session.cni_usage())
    except SessionError:
        return ()


def _warm_up(bench: Bench, plan: Plan) -> None:
    short = replace(plan, bulk_seconds=plan.warmup_seconds, http_seconds=plan.warmup_seconds)

    def warm_up(probe: Probe) -> None:
        with suppress(SampleError):
            probe.measure(bench)

    # All at once, in different pods: nobody looks at the readings.
    probes = warmup_probes(short)
    with ThreadPoolExecutor(len(probes), thread_name_prefix="warm-up") as pool:
        list(pool.map(warm_up, probes))


def _summary(gate: Gate) -> str:
    failed = [check.name for check in gate.checks if not check.passed]
    hold = f"{len(gate.checks) - len(failed)} preconditions hold"
    return f"{hold}, {', '.join(failed)} allowed to fail" if failed else hold
