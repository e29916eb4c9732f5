"""Preconditions after the warm-up: nothing else is at work, and the load generator is fast enough.

An agent works hard for some seconds after the last pod was added (350 millicores for 8 s, then 8,
on two busy cores), and an idle figure taken then is many times too high. So settled agents and free
CPUs are waited for, in windows of :data:`WINDOW_SECONDS`, for a bounded time.

For calibration fortio runs at full speed against the fortio server of its own pod, which answers
with next to nothing. What it reaches there bounds what it can tell of a Service. Client and server
share CPUs meanwhile, so the figure errs on the low side. Sides that share a machine have one
calibration, since it never leaves the client's pod; all sides are waited for at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bench.checks import Check, Gate, allowances
from bench.limits import Load, Observation, Snapshot, between
from bench.plan import Plan
from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.cost import Usage, cost_between, idle_cost, read_usage
from bench.probes.fortio import fortio_argv, load_of
from bench.results import CalibrationResult
from bench.text import ParseError, number
from bench.workloads import NULL_HTTP_PORT

WINDOW_SECONDS = 1.0
QUIET_MILLICORES = 30.0
"""Agents of a node that use at most this much have settled."""
STEADY_WINDOWS = 10
WINDOW_CALLS = 24
"""Calls of the session, about, that a window's readings take; they are no time that is waited."""
STEADY_SPREAD = 1.2
"""So have those whose use has not changed by more than a fifth in ten windows: that is their idle
state."""
FREE_SHARE = 0.15
"""Of a machine's CPUs, at most this may be used by what is not of the measurement."""
_MILLICORES = 1e3
_MACHINE = "quiet-machine"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Window:
    """One window: the agents' millicores per node, and each machine's share in use by others, and
    by everything together."""

    millicores: float
    others: dict[str, float]
    used: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Watched:
    """One side that is waited for, with its windows so far, or why it cannot be told."""

    bench: Bench
    windows: list[Window] = field(default_factory=list)
    failure: str = ""
    _begun: tuple[Snapshot, Usage, float] | None = None

    def begin(self) -> None:
        """Open a window."""
        self.bench.remaining()
        self._begun = self._told(lambda: (self.bench.snapshot(), *read_usage(self.bench)))

    def end(self) -> None:
        """Close it."""
        window = self._told(self._window)
        if window is not None:
            self.windows.append(window)

    def _window(self) -> Window | None:
        if self._begun is None:
            return None
        (before, usage, start), after = self._begun, self.bench.snapshot()
        used, end = read_usage(self.bench)
        cost = cost_between(usage, used, end - start)
        seen = between(before, after)
        all_ = {load.name: load.used / load.available for load in seen.machines}
        return Window(cost.millicores, others_at_rest(seen, cost.millicores), all_)

    def _told(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except SampleError as error:
            self.failure = str(error)
            return None

    @property
    def over(self) -> bool:
        """Nothing is to be waited for."""
        return bool(self.failure) or (settled(self.windows) and free(self.windows[-1]))

    def checks(self, waited: float) -> tuple[Check, Check]:
        """What was found."""
        if self.failure:
            return (
                Check("quiet-agents", False, self.failure),
                Check(_MACHINE, False, self.failure),
            )
        last = self.windows[-1]
        others = ", ".join(
            f"{100 * share:.0f} % of {name}'s CPUs ({100 * last.used[name]:.0f} % with idle CNIs "
            "and control planes)"
            for name, share in last.others.items()
        )
        return (
            Check(
                "quiet-agents",
                settled(self.windows),
                f"the CNI's agents use {last.millicores:.0f} millicores per node after "
                f"{waited:.0f} s (at first {self.windows[0].millicores:.0f})",
            ),
            Check(
                _MACHINE,
                free(last),
                f"other work uses {others or 'an unknown share of the CPUs'} while nothing is "
                f"measured, after {waited:.0f} s; {100 * FREE_SHARE:.0f} % may be",
            ),
        )


def quiet(benches: Sequence[Bench], most_seconds: float) -> list[tuple[Check, Check]]:
    """Wait for all sides at once, for at most ``most_seconds``.

    :returns: of each the checks "quiet-agents" and "quiet-machine".
    :raises BoundReachedError: the benchmark's time is over.
    """
    watched = [_Watched(bench) for bench in benches]
    clock = benches[0].clock
    most_seconds += sum(reading_seconds(bench.latency) for bench in benches)
    # A reading is of any moment of its call.
    window = max(WINDOW_SECONDS, 2 * max(bench.latency for bench in benches))
    start = clock.monotonic()
    while True:
        told = [each for each in watched if not each.failure]
        for each in told:
            each.begin()
        if told:
            clock.sleep(window)
        for each in told:
            each.end()
        waited = clock.monotonic() - start
        if waited >= most_seconds or all(each.over for each in watched):
            return [each.checks(waited) for each in watched]


def reading_seconds(latency: float) -> float:
    """What the readings of as many windows take as show that agents are steady."""
    return STEADY_WINDOWS * WINDOW_CALLS * latency


def allowing_others(bench: Bench, plan: Plan, gate: Gate) -> Bench:
    """How a bench bears what others do during a sample, after the check "quiet-machine" and by what
    the plan allows.

    On a machine that was busy before, taking samples again would only take longer.
    """
    busy = any(check.name == _MACHINE and not check.passed for check in gate.checks)
    return replace(
        bench,
        most_others=math.inf if busy else bench.most_others,
        keeps_disturbed=_MACHINE in plan.allow,
    )


def settled(windows: list[Window]) -> bool:
    """The agents use little, or have used the same for a while."""
    if windows[-1].millicores <= QUIET_MILLICORES:
        return True
    recent = [window.millicores for window in windows[-STEADY_WINDOWS:]]
    return len(recent) == STEADY_WINDOWS and max(recent) <= STEADY_SPREAD * min(recent)


def free(window: Window) -> bool:
    """No machine is busy with something else."""
    return bool(window.others) and all(share <= FREE_SHARE for share in window.others.values())


def others_at_rest(seen: Observation, millicores: float) -> dict[str, float]:
    """Each machine's share that is used by what is not of the measurement; where nobody knows, by
    all but its nodes' agents."""

    def cpus(load: Load) -> float:
        if load.others is not None:
            return load.others
        return max(0.0, load.used - len(seen.nodes[load.name]) * millicores / _MILLICORES)

    return {load.name: cpus(load) / load.available for load in seen.machines}


def await_idle_agents(bench: Bench, most_seconds: float, *, windows: int = 1) -> float:
    """Wait until the agents use :data:`QUIET_MILLICORES` or less, for a bounded time.

    What else runs on the machines is not waited for: it may never end, and changes nothing in the
    dataplane.

    :param windows: how many in a row must be quiet.
    :returns: what the agents use at the end, in millicores per node.
    :raises SampleError: their use cannot be read.
    """
    end = bench.clock.monotonic() + most_seconds
    quiet_ones = 0
    while True:
        used = idle_cost(bench, WINDOW_SECONDS).millicores
        quiet_ones = quiet_ones + 1 if used <= QUIET_MILLICORES else 0
        if quiet_ones == windows or bench.clock.monotonic() >= end:
            return used


NAME = "generator"
HEADROOM = 1.5
"""The generator must be able to make so many times the requests of the highest fixed rate."""
NEAR = 0.8
"""A result of this share of the generator's own speed says more of it than of the network."""
_RESOLUTION_US = 50.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the generator reached, or why that cannot be told."""

    result: CalibrationResult | None
    failure: str = ""


def calibrate(bench: Bench, plan: Plan) -> Calibration:
    """Run fortio for ``plan.calibration_seconds``."""
    url = f"http://{bench.targets.one('fortio-client').ip}:{NULL_HTTP_PORT}/"
    argv = fortio_argv(
        url, seconds=plan.calibration_seconds, connections=plan.http_max_connections,
        rate=None, resolution_us=_RESOLUTION_US,
    )  # fmt: skip
    try:
        load = load_of(bench.run(Invocation("fortio-client", argv), plan.calibration_seconds))
    except (SampleError, ParseError) as error:
        return Calibration(None, str(error))
    return Calibration(
        CalibrationResult(
            generator="fortio",
            command=list(argv),
            rate=round(load.rate, 1),
            wanted=max(plan.http_rates),
        )
    )


class Calibrations:
    """What load generators reach, found out once for each program and machine."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Plan], Calibration] = {}

    def of(self, bench: Bench, plan: Plan, version: str) -> Calibration:
        """The calibration of a side whose generator has this version.

        Of machines that nodes do not share, each is another one.
        """
        environment = bench.session.environment()
        if not environment.shared_machine:
            return calibrate(bench, plan)
        cpus = environment.placement_of_cpus.get(bench.targets.one("fortio-client").node)
        key = (f"{environment.kernel}, {environment.cpus} CPUs, {cpus}, fortio {version}", plan)
        if key not in self._known:
            made = calibrate(bench, plan)
            if made.result is None:
                return made
            self._known[key] = made
        return self._known[key]


def generator(calibration: Calibration) -> Check:
    """The generator can offer the highest fixed rate, and more."""
    if calibration.result is None:
        return Check(NAME, False, calibration.failure)
    result = calibration.result
    reached, wanted = result.rate, result.wanted
    evidence = (
        f"{result.generator} reaches {number(reached)} requests/s against a null server, "
        f"{number(reached / wanted)} times the highest fixed rate"
    )
    return Check(NAME, reached >= HEADROOM * wanted, evidence)


def near_limit(calibration: CalibrationResult | None, reached: float | None) -> str | None:
    """A warning if the full-speed result is close to what the generator itself can do.

    :param reached: requests/s at full speed; None where that was not measured.
    """
    if calibration is None or reached is None or reached < NEAR * calibration.rate:
        return None
    return (
        f"http_max: {number(reached)} requests/s is near what {calibration.generator} reaches "
        f"against a null server ({number(calibration.rate)}): the generator, not the network, may "
        "be the limit"
    )


class Readiness:
    """The last preconditions of one side, from the end of its warm-up on."""

    def __init__(self, bench: Bench, gate: Gate) -> None:
        self._bench = bench
        self._gate = gate
        self._held_back = allowances(bench)

    def require(
        self, found: tuple[Check, Check], plan: Plan, calibrations: Calibrations, version: str
    ) -> CalibrationResult | None:
        """Take in what :func:`quiet` found, then calibrate the load generator of this version.

        :returns: what the generator reaches, if that could be told.
        :raises PreconditionError: as :func:`bench.checks.check_cluster`.
        """
        for check in (*found, self._held_back()):
            self._gate.require(check)
        calibration = calibrations.of(self._bench, plan, version)
        self._gate.require(generator(calibration))
        return calibration.result
