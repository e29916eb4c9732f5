"""The primary metrics: operations on several clusters in turns of milliseconds.

All sides that share a machine are measured together, in one run of the generator; a side alone is a
comparison of one. Round trips, connections, requests and queries give the median of each slice, by
which sides are compared, and percentiles up to p99.9 of all operations. The first operation of a
turn comes after the others' turns (or, of a side alone, after a pause of some 100 µs): how long it
takes is the ``_cold`` metric, what a seldom-called service meets.

Requests and queries are 50 µs apart. A server has work left when it has answered (of Go's servers
some 30 µs); back to back, the next request waits for it, and whatever the path takes meanwhile is
hidden: of a delay of 34 µs in the path, requests showed 20 and queries 17.

Connections are opened at a fixed low rate, one every ms. Back to back they keep the CPUs full,
and the agents' work per connection, which a node with CPUs to spare does elsewhere, is in every
figure: that is capacity (``connect_max_rate``), not the time to connect. With Hubble on, that
work takes some 0.65 ms of CPU time.

Each turn of transfers has a connection of its own: one connection in 14 was slower by 17 % for its
life. What it sends first, some 16 MiB, is slower, too, until its window has grown, and is dropped.

CPU time is that of all nodes of the side, kernel included. In the lab it is read from the nodes'
cgroups around every turn; on a cluster, from the machines' counters around all of them, less what
they use while nothing is asked. In both it is the CPU time of the operation's own work: what agents
do later is in ``cni_cpu``.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.limits import MOST_STEP_SECONDS, Limit, between
from bench.metrics import (
    CPU_MICROSECONDS,
    CPU_SECONDS_PER_GB,
    GBIT_PER_SECOND,
    KILOPACKETS_PER_SECOND,
    PERCENT,
    Metric,
    latency_metrics,
    share_metric,
)
from bench.plan import Plan
from bench.probes.base import GRACE_SECONDS, START_CALLS, Bench, Invocation, Reading, SampleError
from bench.probes.http import REQUEST_PATH
from bench.session import SessionError, Targets
from bench.text import ParseError, latency, number
from bench.turns import Subject, Task, Turns, parse, plan
from bench.workloads import TURNS_COUNT_PORT, TURNS_ECHO_PORT, TURNS_SINK_PORT

CLIENT, SERVER = "iperf3-client", "turns-server"
_PERCENTILES = (50.0, 10.0, 99.0, 99.9)
_IDLE_SECONDS = 1.0
_TRANSFER_BYTES = 8 << 20
_BURST = 256


@dataclass(frozen=True, slots=True)
class Aim:
    """Where operations go, seen from the client's pod."""

    address: str
    host: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One operation with what it gives.

    ``cpu`` is the metric of CPU time: that of an operation in µs, divided by ``units``. ``share``
    is that of the plan's seconds: slow operations need more to have as many, and a metric whose
    differences matter from 2 % on needs more than one from 5 %.
    """

    name: str
    task: Task
    metrics: tuple[Metric, ...]
    """Of a latency: p50, p10, further percentiles, cold, errors."""
    aim: Callable[[Targets], Aim]
    cpu: Metric | None = None
    units: float = 1.0
    share: float = 1.0


def _pod(port: int) -> Callable[[Targets], Aim]:
    return lambda targets: Aim(f"{targets.one(SERVER).ip}:{port}")


def _service(targets: Targets) -> Aim:
    host, port = targets.httpbin.host, targets.httpbin.port
    return Aim(f"{host}:{port}", f"{host}:{port}", REQUEST_PATH)


def _dns(targets: Targets) -> Aim:
    return Aim(f"{targets.dns.host}:{targets.dns.port}", targets.dns_name)


def _latencies(prefix: str, what: str, group: str, model: str) -> tuple[Metric, ...]:
    cold = f"{what}, the first after a pause: 50th percentile"
    p50, p10, *others = latency_metrics(prefix, what, group, model, _PERCENTILES)
    return (
        replace(p50, decided_by=p10.name),
        replace(p10, description=f"{p10.description}: one that nothing disturbs"),
        *others,
        Metric(f"{prefix}_cold_p50", p50.unit, "lower", group, cold, model),
        share_metric(f"{prefix}_errors", group, f"{what}: those that failed"),
    )


def _cpu(name: str, group: str, what: str) -> Metric:
    return Metric(
        name, CPU_MICROSECONDS, "lower", group,
        f"CPU time of all nodes, kernel included, per {what}",
        decided_by=name,
    )  # fmt: skip


_CLOSED = "closed loop, one outstanding, turns of {batch} after {drop} that do not count"
_RTT = Task("roundtrip", batch=32, drop=8, bytes=24)
_CONNECT = Task("connect", batch=8, drop=2, pause_us=1_000)
_REQUEST = Task("http", batch=16, drop=4, pause_us=50)
_QUERY = Task("dns", batch=16, drop=4, pause_us=50)
_TRANSFER = Task("transfer", batch=4, drop=2, bytes=_TRANSFER_BYTES, renew=True)
_DATAGRAM = Task("datagram", batch=32, drop=8, bytes=64)


def _model(task: Task) -> str:
    text = _CLOSED.format(batch=task.batch, drop=task.drop)
    return f"{text}, {task.pause_us:,} µs apart" if task.pause_us else text


def _burst(size: int) -> Kind:
    group = "Packet rate"
    return Kind(
        f"burst_{size}",
        Task("burst", batch=1, drop=1, bytes=size, datagrams=_BURST),
        (
            Metric(
                f"packet_rate_{size}", KILOPACKETS_PER_SECOND, "higher", group,
                f"UDP datagrams of {size} bytes that arrive, pod to pod, sent by one thread",
                f"bursts of {_BURST}",
            ),
            Metric(
                f"packet_loss_{size}", PERCENT, "lower", group,
                f"UDP datagrams of {size} bytes that did not arrive, of those sent in bursts",
            ),
        ),
        _pod(TURNS_COUNT_PORT),
        _cpu(f"cpu_per_packet_{size}", group, f"UDP datagram of {size} bytes"),
        _BURST,
        0.5,
    )  # fmt: skip


KINDS: tuple[Kind, ...] = (
    Kind(
        "rtt",
        _RTT,
        _latencies(
            "rtt", "TCP request and answer of 24 bytes, pod to pod", "Latency without load",
            _model(_RTT),
        ),
        _pod(TURNS_ECHO_PORT),
        share=3.0,
    ),
    Kind(
        "connect",
        _CONNECT,
        _latencies(
            "connect", "opening a TCP connection to the Service", "Connection setup",
            _model(_CONNECT),
        ),
        _service,
        _cpu("cpu_per_connection", "Connection setup", "TCP connection to the Service"),
        share=3.0,
    ),
    Kind(
        "http",
        _REQUEST,
        _latencies(
            "http", "HTTP request to the Service over a kept connection", "HTTP, one at a time",
            _model(_REQUEST),
        ),
        _service,
        _cpu("cpu_per_request", "HTTP, one at a time", "HTTP request to the Service"),
        share=3.0,
    ),
    Kind(
        "dns",
        _QUERY,
        _latencies("dns", "query for a Service name", "DNS", _model(_QUERY)),
        _dns,
        share=2.0,
    ),
    Kind(
        "transfer",
        _TRANSFER,
        (
            Metric(
                "tcp_throughput", GBIT_PER_SECOND, "higher", "Bulk transfer",
                "TCP payload over one connection at a time, pod to pod",
                f"transfers of {_TRANSFER_BYTES >> 20} MiB, {_TRANSFER.batch} on a new connection "
                f"after {_TRANSFER.drop} that do not count",
            ),
            share_metric("tcp_errors", "Bulk transfer", "transfers that failed"),
        ),
        _pod(TURNS_SINK_PORT),
        Metric(
            "cpu_per_gb", CPU_SECONDS_PER_GB, "lower", "Bulk transfer",
            "CPU time of all nodes, kernel included, per 10^9 bytes of TCP payload",
        ),
        1e6 * _TRANSFER_BYTES / 1e9,
        4.0,
    ),
    Kind(
        "udp_rtt",
        _DATAGRAM,
        _latencies(
            "udp_rtt", "UDP request and answer of 64 bytes, pod to pod", "Packet rate",
            _model(_DATAGRAM),
        ),
        _pod(TURNS_ECHO_PORT),
        share=0.5,
    ),
    *map(_burst, (64, 512, 1_400)),
)  # fmt: skip
"""In the order in which they are measured."""


@dataclass(frozen=True, slots=True)
class TurnProbe:
    """An operation as a probe: ``seconds`` of turns for each side that takes part."""

    kind: Kind
    seconds: float

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The operation's, then its CPU time."""
        return (*self.kind.metrics, *([self.kind.cpu] if self.kind.cpu else []))

    def invocation(self, targets: Targets) -> Invocation:
        """The generator's command; what it is asked to do goes to its standard input."""
        task, aim = self.kind.task, self.kind.aim(targets)
        return Invocation(
            CLIENT, ("turns", "run", task.operation, aim.address, str(task.batch), str(task.drop))
        )

    def measure(self, bench: Bench) -> Reading:
        """The side alone.

        :raises SampleError: no number this time.
        """
        (outcome,) = take_turns([self], [bench])
        if isinstance(outcome, SampleError):
            raise outcome
        return outcome

    def summary(self, reading: Reading) -> str:
        first = self.metrics[0]
        value = reading.values[first.name]
        return latency(value) if first.name.endswith("p50") else f"{number(value)} {first.unit}"


def in_turns(name: str, seconds: float) -> TurnProbe:
    """The probe of an operation by its name, with the plan's seconds of turns."""
    kind = next(each for each in KINDS if each.name == name)
    return TurnProbe(kind, kind.share * seconds)


def turn_probes(plan_: Plan) -> tuple[TurnProbe, ...]:
    """Those of a plan."""
    return tuple(TurnProbe(kind, kind.share * plan_.turn_seconds) for kind in KINDS)


def take_turns(
    probes: Sequence[TurnProbe], benches: Sequence[Bench]
) -> list[Reading | SampleError]:
    """Let sides take turns: those on the same machine in one run, others one after the other.

    :param probes: each side's, all of the same operation.
    :raises BoundReachedError: the benchmark's time is over.
    """
    taken: dict[int, Reading | SampleError] = {}
    by_machine: dict[str, list[int]] = {}
    for place, bench in enumerate(benches):
        try:
            client = bench.session.turn_client(bench.targets.one(CLIENT))
        except SessionError as error:
            taken[place] = SampleError(str(error))
        else:
            by_machine.setdefault(client.machine, []).append(place)
    for places in by_machine.values():
        together = _run([probes[i] for i in places], [benches[i] for i in places])
        if len(together) == 1:
            together = [_without_slices(each) for each in together]
        taken.update(zip(places, together, strict=True))
    return [taken[place] for place in range(len(benches))]


def _without_slices(taken: Reading | SampleError) -> Reading | SampleError:
    """Of a side that nobody took turns with: another's slices are of another time."""
    return taken if isinstance(taken, SampleError) else replace(taken, slices={})


def _run(probes: Sequence[TurnProbe], benches: Sequence[Bench]) -> list[Reading | SampleError]:
    kind, first = probes[0].kind, benches[0]
    seconds = sum(probe.seconds for probe in probes)
    late = START_CALLS * max(bench.latency for bench in benches)
    timeout = min(2 * seconds + GRACE_SECONDS + late, *(bench.remaining() for bench in benches))
    try:
        subjects = [subject(kind, place, bench) for place, bench in enumerate(benches)]
        # An order of its own for every run.
        seed = zlib.crc32(f"{kind.name} {first.clock.monotonic()}".encode())
        asked = plan(kind.task, subjects, seconds=seconds, seed=seed)
        # What is told of single nodes needs no look at whole machines; and of a machine nobody can
        # say which of several sides used it.
        told = subjects[0].client.usage or len(benches) > 1
        watched = kind.cpu is not None and not told
        spent = _machines(benches) if watched else None
        output = first.session.take_turns(first.targets.one(CLIENT), asked, timeout=timeout)
        cpu = spent() if spent else [None] * len(benches)
        turns = parse(output)
    except (SessionError, ParseError, SampleError) as error:
        return [SampleError(f"turns: {error}")] * len(probes)
    if turns.clock_step_ms > 1_000 * MOST_STEP_SECONDS:
        why = f"the wall clock was set by {turns.clock_step_ms:.0f} ms meanwhile"
        return [SampleError(why)] * len(probes)
    return [_reading(kind, turns, place, cpu[place]) for place in range(len(probes))]


def subject(kind: Kind, place: int, bench: Bench) -> Subject:
    """A side's path, for the generator.

    :raises SessionError: it cannot take part.
    """
    aim = kind.aim(bench.targets)
    client = bench.session.turn_client(bench.targets.one(CLIENT))
    return Subject(str(place), client, aim.address, aim.host, aim.path)


def _machines(benches: Sequence[Bench]) -> Callable[[], list[float | None]]:
    """Watch the machines of client and server, first while nothing is asked; what it returns tells
    the CPU seconds since then, less what they use when idle, by bench."""
    before = [bench.snapshot() for bench in benches]
    benches[0].clock.sleep(_IDLE_SECONDS)
    start = [bench.snapshot() for bench in benches]
    nodes = [bench.targets.nodes("client") | bench.targets.nodes("server") for bench in benches]
    idle = [between(*pair) for pair in zip(before, start, strict=True)]

    def spent() -> list[float | None]:
        used: list[float | None] = []
        for place, bench in enumerate(benches):
            busy = between(start[place], bench.snapshot())
            all_, at_rest = busy.cpu_seconds(nodes[place]), idle[place].cpu_seconds(nodes[place])
            if all_ is None or at_rest is None:
                used.append(None)
            else:
                used.append(max(0.0, all_ - at_rest / idle[place].span * busy.span))
        return used

    return spent


def _reading(
    kind: Kind, turns: Turns, place: int, cpu_seconds: float | None
) -> Reading | SampleError:
    if turns.errors[place]:
        return SampleError(f"turns: {turns.errors[place]}")
    own = turns.of(place)
    took, failed = turns.took[own], np.isnan(turns.took[own])
    slices = turns.by_slice(place)
    if np.isnan(turns.took[np.logical_or.reduce(slices)][:, turns.drop :]).all():
        return SampleError("turns: no operation succeeded")
    measured = _MEASURES.get(kind.task.operation, _latency_values)(kind, turns, own, slices)
    values, by_slice, missing = dict(measured.values), dict(measured.slices), {}
    for name, each in measured.slices.items():
        if all(map(math.isnan, each)):
            del values[name], by_slice[name]
            missing[name] = "no operation that counts for it succeeded"
    errors = next((m.name for m in kind.metrics if m.name.endswith("_errors")), None)
    if errors:
        values[errors] = 100 * float(failed.mean())
    if kind.cpu:
        if turns.cpu[own].any():
            per_operation = turns.cpu / (took.shape[1] * kind.units)
            values[kind.cpu.name] = float(per_operation[own].mean())
            by_slice[kind.cpu.name] = tuple(float(per_operation[s].mean()) for s in slices)
        elif cpu_seconds is None:
            missing[kind.cpu.name] = "the target does not tell the CPU time of this side's nodes"
        elif cpu_seconds == 0:
            missing[kind.cpu.name] = NO_MORE_THAN_AT_REST
        else:
            values[kind.cpu.name] = 1e6 * cpu_seconds / (took.size * kind.units)
    facts = {
        "operations": int((~failed[:, turns.drop :]).sum()),
        "generator_us": round(float(turns.own_us[place]), 2),
    }
    whole = by_slice if len(slices) > 1 else {}
    return Reading(values, missing=missing, facts=facts, slices=whole, limit=_UNLIMITED)


NO_MORE_THAN_AT_REST = "the machines used no more CPU time than at rest"
_UNLIMITED = Limit("none", "one operation at a time")


@dataclass(frozen=True, slots=True)
class _Measured:
    values: Mapping[str, float]
    slices: Mapping[str, tuple[float, ...]]


def _percentile(values: NDArray[np.float64], q: float) -> float:
    """Of those that succeeded; NaN if none did."""
    made = values[~np.isnan(values)]
    return float(np.percentile(made, q)) if len(made) else math.nan


_median = partial(_percentile, q=50)


def _latency_values(
    kind: Kind, turns: Turns, own: NDArray[np.bool_], slices: Sequence[NDArray[np.bool_]]
) -> _Measured:
    p50, p10, *others, cold, _errors = (metric.name for metric in kind.metrics)
    warm, first = turns.took[:, turns.drop :], turns.took[:, 0]
    low, *tails = np.nanpercentile(warm[own], _PERCENTILES[1:]) / 1_000
    return _Measured(
        {
            p50: _median(warm[own]) / 1_000,
            p10: float(low),
            **dict(zip(others, map(float, tails), strict=True)),
            cold: _median(first[own]) / 1_000,
        },
        {
            p50: tuple(_median(warm[each]) / 1_000 for each in slices),
            p10: tuple(_percentile(warm[each], 10) / 1_000 for each in slices),
            cold: tuple(_median(first[each]) / 1_000 for each in slices),
        },
    )


def _transfer_values(
    kind: Kind, turns: Turns, own: NDArray[np.bool_], slices: Sequence[NDArray[np.bool_]]
) -> _Measured:
    rate, _errors = (metric.name for metric in kind.metrics)
    # Bits per nanosecond are Gbit per second.
    rates = 8 * kind.task.bytes / turns.took[:, turns.drop :]
    return _Measured(
        {rate: _median(rates[own])},
        {rate: tuple(_median(rates[each]) for each in slices)},
    )


def _burst_values(
    kind: Kind, turns: Turns, own: NDArray[np.bool_], slices: Sequence[NDArray[np.bool_]]
) -> _Measured:
    rate, loss = (metric.name for metric in kind.metrics)
    arrived = turns.arrived[:, turns.drop :]
    # The time, in ns, is from the first to the last.
    rates = (arrived - 1.0) / turns.took[:, turns.drop :] * 1e6
    came = float(arrived[own].sum()) / (arrived[own].size * kind.task.datagrams)
    return _Measured(
        {rate: _median(rates[own]), loss: 100 * (1 - came)},
        {rate: tuple(_median(rates[each]) for each in slices)},
    )


_MEASURES = {"transfer": _transfer_values, "burst": _burst_values}
