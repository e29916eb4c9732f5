"""What a probe is.

A probe is one repeatable measurement that yields several metrics at once. Most are a command in
a pod and a parser (:class:`CommandProbe`): data, not code. The runner knows only the protocol
:class:`Probe`, so that one that needs more (a search, two pods at once) fits in as well.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from bench.limits import MOST_OTHERS, Limit, Snapshot, take
from bench.metrics import Metric, Note
from bench.session import Clock, CommandResult, Session, SessionError, Targets
from bench.text import ParseError, tail

GRACE_SECONDS = 15.0
"""How much longer than planned a command may take before it is ended."""
START_CALLS = 10
"""So many times the time of a command that does nothing may be spent on starting one."""


Amount = Annotated[float, Field(ge=0)]


class ToolModel(BaseModel):
    """A part of a tool's JSON report; fields that nobody reads are passed over."""

    # JSON as Python reads it has NaN and Infinity, which are no measurements.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class SampleError(Exception):
    """This attempt at a sample gave no number; the message is the reason."""


class BoundReachedError(Exception):
    """The benchmark's own time is over: no further command is started."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One run of one probe.

    ``values`` by metric name, in the metric's unit; a metric that has no value this time is in
    ``missing`` with the reason. ``slices`` has the values by slice, in order, of a metric that is
    measured in slices, NaN where no operation succeeded; its value is their median then.
    ``warnings`` are about the run, ``notes`` about one metric's value, ``facts`` are what the tool
    says about itself (version, segment size …). ``limit`` is what the tool's own report shows to
    have been at its limit, where it does. ``failures`` are of commands that were run again with
    success, where a reading takes several.
    """

    values: Mapping[str, Annotated[float, Field(allow_inf_nan=False)]]
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: Mapping[str, tuple[Note, ...]] = field(default_factory=dict)
    slices: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    limit: Limit | None = None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Invocation:
    """The exact command of a probe: ``argv`` with its last argument given ``repeat_last`` times."""

    role: str
    argv: tuple[str, ...]
    repeat_last: int = 1

    def full(self) -> tuple[str, ...]:
        """The arguments as they are run."""
        return self.argv + self.argv[-1:] * (self.repeat_last - 1)


_NOTHING = Invocation("iperf3-client", ("true",))


@dataclass(frozen=True, slots=True)
class Bench:
    """What a probe measures on, and until when (of ``clock.monotonic``) it may.

    ``latency`` is how many seconds a command takes that does nothing (:meth:`timed`).
    A sample during which others used more than the share ``most_others`` of a machine's CPUs is
    taken again. The last attempt of all counts nevertheless if ``keeps_disturbed``.
    """

    session: Session
    targets: Targets
    clock: Clock = field(default_factory=Clock)
    deadline: float = math.inf
    most_others: float = MOST_OTHERS
    keeps_disturbed: bool = False
    latency: float = 0.0

    def timed(self) -> "Bench":
        """The bench with its latency, the middle of three; without, where that cannot be told."""
        took = []
        for _ in range(3):
            start = self.clock.monotonic()
            try:
                self.run(_NOTHING, 0.0)
            except SampleError:
                return self
            took.append(self.clock.monotonic() - start)
        return replace(self, latency=median(took))

    def remaining(self) -> float:
        """Seconds that are left of the whole benchmark's time.

        :raises BoundReachedError: none is.
        """
        left = self.deadline - self.clock.monotonic()
        if left <= 0:
            raise BoundReachedError
        return left

    def snapshot(self) -> Snapshot:
        """All counters by which limits are told, now.

        :raises SampleError: the cluster does not tell them.
        """
        try:
            return take(self.session, self.clock.monotonic())
        except SessionError as error:
            raise SampleError(f"CPU time and allowances cannot be read: {error}") from error

    def run(self, invocation: Invocation, seconds: float) -> CommandResult:
        """Run a command planned to take ``seconds``.

        :raises SampleError: it could not be run, or took too long.
        :raises BoundReachedError: nothing of the total bound is left.
        """
        planned = 2 * seconds + GRACE_SECONDS + START_CALLS * self.latency
        timeout = min(planned, self.remaining())
        pod = self.targets.one(invocation.role)
        try:
            return self.session.run(pod, invocation.full(), timeout=timeout)
        except SessionError as error:
            raise SampleError(tail(str(error))) from error


class Probe(Protocol):
    """A measurement. ``seconds`` is how long one run is planned to take."""

    @property
    def name(self) -> str: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def seconds(self) -> float: ...

    def invocation(self, targets: Targets) -> Invocation | None:
        """The command that it runs, for the results; None where there is none."""
        ...

    def measure(self, bench: Bench) -> Reading:
        """Measure once.

        :raises SampleError: no number this time.
        :raises BoundReachedError: the benchmark's time is over.
        """
        ...

    def summary(self, reading: Reading) -> str:
        """The reading in a few words, for a progress line."""
        ...


@dataclass(frozen=True, slots=True)
class CommandProbe:
    """A probe that is one command and one parser.

    ``parse`` gets the command's result and raises :class:`ParseError` where it is no measurement.
    """

    name: str
    role: str
    seconds: float
    metrics: tuple[Metric, ...]
    argv: Callable[[Targets], tuple[str, ...]]
    parse: Callable[[CommandResult], Reading]
    describe: Callable[[Mapping[str, float]], str]
    repeat_last: int = 1

    def invocation(self, targets: Targets) -> Invocation:
        return Invocation(self.role, self.argv(targets), self.repeat_last)

    def measure(self, bench: Bench) -> Reading:
        result = bench.run(self.invocation(bench.targets), self.seconds)
        try:
            return self.parse(result)
        except ParseError as error:
            raise SampleError(f"{error} (exit code {result.returncode})") from error

    def summary(self, reading: Reading) -> str:
        return self.describe(reading.values)


@dataclass(frozen=True, slots=True)
class WrappedProbe:
    """A probe that runs another and adds to its reading; all else is the inner probe's."""

    inner: Probe

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return self.inner.metrics

    @property
    def seconds(self) -> float:
        return self.inner.seconds

    def invocation(self, targets: Targets) -> Invocation | None:
        return self.inner.invocation(targets)

    def summary(self, reading: Reading) -> str:
        return self.inner.summary(reading)
