"""What the validation stands on: a path with known faults, a slow server, and single readings.

:class:`ValidationTestbed` is the seam: the lab implements it with the kernel's own means. What an
imposed rate leaves for payload is arithmetic, and here.
"""

import json
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from bench.interleave import Step, Watch
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Bench, Probe, Reading
from bench.results import MetricResult, Results
from bench.sampling import sample
from bench.session import CommandResult, Pod, Service, Session, SessionError
from bench.stats import summarise

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_ETHERNET = 14
_IPV4 = 20
_UDP = 8
_TCP_WITH_TIMESTAMPS = 20 + 12


class _Counts:
    """The kernel's counters, which only grow: sums over places, differences over time."""

    __slots__ = ()

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(operator.add, self._values(), other._values()))

    def __sub__(self, other: Self) -> Self:
        return type(self)(*map(operator.sub, self._values(), other._values()))

    def _values(self) -> tuple[int, ...]:
        return astuple(cast("DataclassInstance", self))


@dataclass(frozen=True, slots=True)
class LossCount(_Counts):
    """The kernel's own counts of UDP datagrams at the server.

    ``dropped`` of those ``seen`` fell to the imposed loss; ``overflowed`` came through and found
    the socket's buffer full, because the receiver had to wait for a CPU.
    """

    seen: int = 0
    dropped: int = 0
    overflowed: int = 0


@dataclass(frozen=True, slots=True)
class Passed(_Counts):
    """The kernel's own counts of IP packets that have come to pods, and of their bytes.

    A packet is what goes through the kernel as one, which may be many segments.
    """

    packets: int = 0
    bytes: int = 0


class Faults(Protocol):
    """Impositions on the path from the client's to the servers' node; each ends with its block."""

    def rate_limit(self, bits_per_second: int) -> AbstractContextManager[None]:
        """At most so many bits/s of Ethernet frames (header counted, no preamble or gap)."""
        ...

    def delay(
        self, roles: Sequence[str], nanoseconds: int
    ) -> AbstractContextManager[Callable[[], Passed]]:
        """Every packet to these roles' pods (to the DNS Service's, by its name) is held so long.

        The block gets a function that reads what has come to them; differences mean something.
        """
        ...

    def udp_loss(self, probability: float) -> AbstractContextManager[Callable[[], LossCount]]:
        """Every UDP datagram that reaches the iperf3 server is dropped with this probability.

        The block gets a function that reads the kernel's counts; differences mean something.
        """
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """How packets of pods lie on the wire.

    ``mtu`` is the largest IP packet of a pod in bytes; ``encapsulation`` is what a tunnel puts
    around each (50 for VXLAN over IPv4: Ethernet, IP, UDP and VXLAN headers), else 0.
    """

    mtu: int
    encapsulation: int

    def tcp_share(self) -> float:
        """Payload of a bulk transfer as a share of the bits on the wire, in full segments."""
        payload = self.mtu - _IPV4 - _TCP_WITH_TIMESTAMPS
        return payload / (self.mtu + self.encapsulation + _ETHERNET)

    def udp_share(self, datagram: int) -> float:
        """Payload as a share of the bits on the wire, for datagrams of so many bytes."""
        return datagram / (datagram + _UDP + _IPV4 + self.encapsulation + _ETHERNET)


LABELS = ("a", "b", "c")
"""Of the equal clusters that take turns."""


class Testbeds(Protocol):
    """Equal clusters, made anew each time."""

    def bring_up(
        self, labels: Sequence[str]
    ) -> AbstractContextManager[Mapping[str, "ValidationTestbed"]]:
        """One for each of some labels; none of them is left after the block.

        :raises SessionError: one does not come up.
        """
        ...


@dataclass(frozen=True, slots=True)
class ValidationTestbed:
    """A cluster to validate on: the session to measure by, the wire, and what can be imposed."""

    session: Session
    link: Link
    faults: Faults


Progress = Callable[[str], None]

DELAY_SECONDS = 0.01
SLOW_PATH = "/delay"

_SCRIPT = Path(__file__).with_name("slow_server.py")
_SLOW_PORT = 8090
_READY_SECONDS = 10.0
_LONGEST_SECONDS = 120.0


@contextmanager
def slow_server(bench: Bench) -> Iterator[tuple[Bench, Callable[[], list[float]]]]:
    """Run the slow server in httpbin's pod; HTTP probes on the yielded bench ask it instead.

    The second yielded is for after the block: the waits in µs, by the server's own clock.

    :raises SessionError: it does not start, or does not end.
    """
    server, client = bench.targets.pods["httpbin"][0], bench.targets.one("fortio-client")
    argv = [sys.executable, "-I", "-S", str(_SCRIPT), str(_SLOW_PORT), str(DELAY_SECONDS)]
    url = f"http://{server.ip}:{_SLOW_PORT}"
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(bench.session.run, server, argv, timeout=_LONGEST_SECONDS)
        _wait_until_it_answers(bench, client, url, running)
        service = Service("slow", server.ip, _SLOW_PORT)
        try:
            yield (
                replace(bench, targets=replace(bench.targets, httpbin=service)),
                lambda: _waits(running.result()),
            )
        finally:
            _get(bench, client, f"{url}/end")


def _waits(ended: CommandResult) -> list[float]:
    try:
        return [float(wait) for wait in json.loads(ended.stdout)]
    except ValueError:
        raise SessionError(f"the slow server: {ended.stderr or ended.stdout}") from None


def _wait_until_it_answers(
    bench: Bench, client: Pod, url: str, running: Future[CommandResult]
) -> None:
    retrying = Retrying(
        stop=stop_after_delay(_READY_SECONDS),
        wait=wait_fixed(0.1),
        retry=retry_if_result(lambda answered: not answered),
        retry_error_callback=lambda state: False,
        sleep=bench.clock.sleep,
    )
    if not retrying(lambda: running.done() or _get(bench, client, url)) or running.done():
        said = running.result().stderr if running.done() else "no answer"
        raise SessionError(f"the slow server did not start in {_READY_SECONDS:.0f} s: {said}")


def _get(bench: Bench, client: Pod, url: str) -> bool:
    argv = ["fortio", "curl", "-quiet", "-timeout", "2s", url]
    return bench.session.run(client, argv, timeout=_READY_SECONDS).returncode == 0


class MissingSampleError(Exception):
    """A probe gave no number, so nothing can be said of it."""


def probe_named(name: str, plan: Plan) -> Probe:
    """The probe of a plan by its name (``tcp``, ``udp``, ``http_1000`` …).

    :raises KeyError: the plan has none of that name.
    """
    return {probe.name: probe for probe in build_probes(plan)}[name]


def take(probe: Probe, bench: Bench, plan: Plan) -> Reading:
    """One reading.

    :raises MissingSampleError: none, after as many attempts as the plan allows.
    """
    outcome = sample(probe, bench, attempts=plan.attempts)
    if outcome.reading is None:
        raise MissingSampleError(f"{probe.name}: {outcome.failures[-1]}")
    return outcome.reading


def say_rounds(say: Callable[[str], None]) -> Watch:
    """A line for every round that begins."""
    latest = 0

    def watch(step: Step) -> None:
        nonlocal latest
        if step.round > latest:
            latest = step.round
            say(f"round {step.round} of at most {step.rounds}")

    return watch


def with_samples(results: Results, samples: dict[str, list[float]]) -> Results:
    """The same results with other samples, renumbered as runs 1 …; metrics without any are gone."""
    unplaced: dict[str, object] = {
        name: [] for name in ("missing", "rounds", "bring_ups", "slices", "notes")
    }
    metrics = {}
    for name, values in samples.items():
        if values:
            summary = summarise(values)
            changes = {
                "samples": values,
                "median": summary.median,
                "ci": (summary.low, summary.high),
                "ci_level": summary.level,
                "n": summary.n,
            }
            metrics[name] = results.metrics[name].model_copy(update={**unplaced, **changes})
    return results.model_copy(update={"metrics": metrics})


def samples_of(results: Mapping[str, Results], metric: str) -> list[MetricResult]:
    """A metric of every side, in order.

    :raises MissingSampleError: a side has no sample of it; the message says why.
    """
    try:
        return [side.metrics[metric] for side in results.values()]
    except KeyError:
        errors = [error.text() for side in results.values() for error in side.errors]
        raise MissingSampleError("; ".join(errors)) from None


class _Around:
    """All of a session but for :meth:`run`."""

    def __init__(self, inner: Session, run: Callable[..., CommandResult]) -> None:
        self._inner = inner
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def at_path(session: Session, path: str, other: str) -> Session:
    """A session whose HTTP requests to ``path`` go to another path.

    :raises ValueError: from ``run``, where a command does not ask for ``path``.
    """

    def run(pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        changed = [word.replace(path, other) for word in argv]
        if changed == list(argv):
            raise ValueError(f"no request to {path} in `{' '.join(argv)}`")
        return session.run(pod, changed, timeout=timeout)

    return cast("Session", _Around(session, run))


class Recorder:
    """Remembers what the commands of a session gave."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self._last: dict[tuple[str, ...], CommandResult] = {}
        self.session = cast("Session", _Around(inner, self._run))

    def _run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        result = self._inner.run(pod, argv, timeout=timeout)
        self._last[tuple(argv)] = result
        return result

    def last(self, argv: Sequence[str]) -> CommandResult:
        """The latest result of a command; a probe may run others around its own.

        :raises ValueError: it was not run.
        """
        try:
            return self._last[tuple(argv)]
        except KeyError:
            raise ValueError(f"not run: {' '.join(argv)}") from None
