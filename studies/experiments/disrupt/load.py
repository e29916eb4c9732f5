"""The load of a disruption, and what its log says: requests lost, gaps, the time until recovery.

The load is open: ``turns load`` (``tools/turns/load.go``) sends each request when it is due, in
four streams of :data:`RATE` requests/s each. What it sends late is its own fault, and shows: a
client that does not get the CPU sends late, and one that is stopped sends nothing. Beside the
streams it asks a server in its own network namespace, which no CNI has a part in. Both tell a
starved machine from a network that drops.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.text import ParseError, problem

Operation = Literal["kept", "new", "dns", "udp"]
STREAMS: tuple[Operation, ...] = ("kept", "new", "dns", "udp")
"""Echoes over kept connections, echoes over a new connection each, queries, datagrams of a flow."""
RATE = 250
"""Requests/s of each: 1,000 in all, and 4 ms from one to the next, which is what a gap is known
to."""
CONNECTIONS = 10
"""That are kept."""
CONTROL = "control"
ALL = "all"
IN_TIME_MS = 100.0
"""A request that is answered later was disrupted. Whoever loses a packet waits longer: TCP sends
again after 200 ms at the earliest (a first packet after 1 s), datagrams not at all. So much does a
busy machine delay at times without losing anything."""
PATIENCE_MS = 1_000.0
"""A request without an answer for so long is lost."""
_IN_FLIGHT_MS = 10.0
"""A request that was due so shortly before an event may be hit by it."""
_MOST_REQUESTS = 1 << 22
_NOTHING = 0xFFFF_FFFF
_ANSWERED = 1
_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Aim:
    """Where a stream goes: an address with its port, and the name that DNS is asked for."""

    name: str
    operation: Operation
    address: str
    connections: int = 1
    host: str = ""


def plan(aims: Sequence[Aim], *, seconds: float, cpu: int) -> str:
    """What ``turns load`` takes as its argument: JSON.

    :param cpu: the one that it runs on, -1 for any.
    """
    return json.dumps(
        {
            "milliseconds": round(1_000 * seconds),
            "cpu": cpu,
            "streams": [
                {
                    "name": each.name,
                    "operation": each.operation,
                    "address": each.address,
                    "rate": RATE,
                    "connections": each.connections,
                    "host": each.host,
                }
                for each in aims
            ],
        }
    )


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Broken(_Told):
    at_ns: Annotated[int, Field(ge=0)]
    why: str


class _Stream(_Told):
    name: str
    offset_ns: Annotated[int, Field(ge=0)]
    interval_ns: Annotated[int, Field(gt=0)]
    requests: Annotated[int, Field(ge=0, le=_MOST_REQUESTS)]
    broken: list[_Broken]


class _Head(_Told):
    began_ns: Annotated[int, Field(gt=0)]
    cpu_us: Annotated[int, Field(ge=0)]
    streams: list[_Stream]


@dataclass(frozen=True, slots=True)
class Stream:
    """What became of the requests of a stream, in their order; times in ms since the load began.

    ``due`` is when each was due, ``late`` by how much later it was sent (NaN: it was not), ``took``
    after how long it was answered, from when it was due (NaN: it was not). ``broken`` are the times
    at which a kept connection, or a flow of datagrams, came to its end.
    """

    due: NDArray[np.float64] = field(repr=False)
    late: NDArray[np.float64] = field(repr=False)
    took: NDArray[np.float64] = field(repr=False)
    broken: tuple[float, ...] = ()

    @property
    def in_time(self) -> NDArray[np.bool_]:
        """Which requests were answered in time."""
        return np.asarray(self.took <= IN_TIME_MS)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Which had no answer, as long as a client waits."""
        return ~(self.took <= PATIENCE_MS)

    def between(self, start: float, end: float) -> Self:
        """The requests that were due in a span."""
        chosen = (self.due >= start) & (self.due < end)
        broken = tuple(at for at in self.broken if start <= at < end)
        return type(self)(self.due[chosen], self.late[chosen], self.took[chosen], broken)


@dataclass(frozen=True, slots=True)
class Log:
    """What one load tells. ``began`` is the wall clock's time of its begin, in seconds since 1970,
    ``cpu`` the CPU time of its own process, in seconds."""

    began: float
    cpu: float
    streams: dict[str, Stream]

    @property
    def latest(self) -> float:
        """By how many ms a request was sent late at most."""
        late = np.concatenate([each.late for each in self.streams.values()])
        # What was not sent at all was not sent in time either.
        return float(np.max(np.nan_to_num(late, nan=np.inf), initial=0.0))

    @property
    def seconds(self) -> float:
        """For how long requests were sent."""
        last = (each.due[-1] for each in self.streams.values() if len(each.due))
        return float(max(last, default=0.0)) / 1_000


def parse(output: str) -> Log:
    """Read what ``turns load`` writes.

    :raises ParseError: it is not that, or is cut off.
    """
    first, *lines = output.splitlines() or [""]
    try:
        head = _Head.model_validate_json(first)
    except ValidationError as error:
        raise ParseError(f"turns load: no head in its output: {problem(error)}") from None
    if len(lines) != len(head.streams):
        raise ParseError("turns load: its output is cut off")
    pairs = zip(head.streams, lines, strict=True)
    streams = {each.name: _stream(each, line) for each, line in pairs}
    return Log(head.began_ns / 1e9, head.cpu_us / 1e6, streams)


def _stream(told: _Stream, line: str) -> Stream:
    try:
        rows = np.frombuffer(base64.b64decode(line, validate=True), "<u4").reshape(-1, 3)
    except ValueError:
        raise ParseError(f"turns load: {told.name} cannot be read") from None
    if len(rows) != told.requests:
        raise ParseError(f"turns load: {told.name} is cut off")
    late, took, outcome = rows.T
    due = told.offset_ns + told.interval_ns * np.arange(told.requests)
    return Stream(
        due=due / _PER_MS,
        late=np.where(late == _NOTHING, np.nan, late / 1e3),
        took=np.where(outcome == _ANSWERED, took / 1e3, np.nan),
        broken=tuple(each.at_ns / _PER_MS for each in told.broken),
    )


def together(streams: Sequence[Stream]) -> Stream:
    """All requests of several streams, in the order in which they were due."""
    due = np.concatenate([each.due for each in streams])
    order = np.argsort(due, kind="stable")
    return Stream(
        due=due[order],
        late=np.concatenate([each.late for each in streams])[order],
        took=np.concatenate([each.took for each in streams])[order],
        broken=tuple(sorted(at for each in streams for at in each.broken)),
    )


def longest_gap(stream: Stream) -> float:
    """For how long, in ms, no request that was due was answered in time, at most in one piece.

    It began between the last request that was answered in time and the first that was not, and
    ended between the last that was not and the next that was: by when they were sent, at the middle
    of both. So it is known to the distance of two requests, or to by how much the client was late,
    and one request by itself counts as that.
    """
    return max((end - start for start, end in _gaps(stream)), default=0.0)


def whole_again(stream: Stream) -> float | None:
    """When, in ms since the load began, the last gap ended; None where there was none.

    :raises ParseError: the last one was not.
    """
    gaps = _gaps(stream)
    if not gaps:
        return None
    if not stream.in_time[-1]:
        raise ParseError("not all was as before when the load ended")
    return gaps[-1][1]


def _gaps(stream: Stream) -> list[tuple[float, float]]:
    """Spans without a request that was answered in time, by when they were sent."""
    bad = ~stream.in_time
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(int)))
    sent = stream.due + stream.late
    middles = (sent[1:] + sent[:-1]) / 2
    bounds = np.concatenate([sent[:1], middles, sent[-1:]])
    return [(float(bounds[a]), float(bounds[b])) for a, b in pairwise(edges)][::2]


def starved(log: Log, where: str) -> str | None:
    """Why a log says nothing of the network: its client, or the machine, was too slow itself.

    :param where: whose load it is, for the message.
    """
    if log.latest > IN_TIME_MS:
        return f"the {where} itself sent up to {log.latest:,.0f} ms late"
    control = log.streams[CONTROL]
    if not control.in_time.all():
        slow = longest_gap(control)
        return (
            f"the control path at the {where}, which no CNI has a part in, did not answer within "
            f"{IN_TIME_MS:.0f} ms for {slow:,.0f} ms"
        )
    return None


@dataclass(frozen=True, slots=True)
class Impact:
    """What an event has done: ``lost`` and ``late`` requests, ``broken`` kept connections, the
    longest ``gaps`` by stream, in ms; ``recovery`` from the event's begin until all was as before,
    in ms, None where that was not seen. ``requests`` were sent since the event began.

    The gap :data:`ALL` is that of all that is not sent again, whoever lost it: of three streams, so
    known to 2 ms.
    """

    requests: int
    lost: int
    late: int
    broken: int
    gaps: dict[str, float]
    recovery: float | None


def impact(log: Log, event: float) -> Impact:
    """Read a log by when the event began.

    :param event: the wall clock's time of it, in seconds since 1970.
    :raises ParseError: requests before it were not answered in time.
    """
    at = 1_000 * (event - log.began)
    streams = [log.streams[name] for name in STREAMS]
    before = together([each.between(0.0, at - _IN_FLIGHT_MS) for each in streams])
    if not len(before.due) or not before.in_time.all():
        raise ParseError("not all requests before the event were answered in time")
    since = [each.between(at - _IN_FLIGHT_MS, np.inf) for each in streams]
    everything = together(since)
    named = list(zip(STREAMS, since, strict=True))
    gaps: dict[str, float] = {name: longest_gap(each) for name, each in named}
    try:
        again = [whole_again(each) for each in since]
        recovery = max((max(0.0, each - at) for each in again if each is not None), default=0.0)
    except ParseError:
        recovery = None
    return Impact(
        requests=len(everything.due),
        lost=int(everything.lost.sum()),
        late=int((~everything.in_time & ~everything.lost).sum()),
        broken=len(since[STREAMS.index("kept")].broken),
        gaps={**gaps, ALL: longest_gap(together([each for name, each in named if name != "kept"]))},
        recovery=recovery,
    )
