"""Latency of requests on a schedule, without coordinated omission.

fortio's fixed rate gives every connection (thread) its own schedule of equal steps. A request that
is due while its connection still waits for the answer before it leaves late, and counted from its
sending it would look fast although its user waited: a server that stalls for 0.5 s at 1,000
requests/s over 32 connections shows 32 slow requests of the 500 that it delayed. Here such a
request counts from when it was due (as in wrk2, whose author named the omission). One whose
connection was free counts from its sending: if it left late, the generator's timer was, which is
told apart.

Source of the schedule: fortio 1.65.0, ``periodic/periodic.go``, runOne: call i of n of a thread at
q calls/s is due ``(i + i / (n - 1)) / q`` after the thread's start, which is staggered. The start
is not logged: the earliest call against its schedule gives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

_US_PER_SECOND = 1e6


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """One request: its thread and its number on it, when it left and how long it took, in µs."""

    thread: int
    number: int
    sent: float
    latency: float
    good: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """What was asked for: a number of threads, the calls of each, and its rate in 1/s."""

    threads: int
    calls: int
    rate: float

    @classmethod
    def of(cls, rate: float, seconds: float, connections: int) -> Schedule:
        """The schedule that fortio makes of ``-qps``, ``-t`` and ``-c``."""
        return cls(connections, int(rate * seconds) // connections, rate / connections)

    def due(self, number: int) -> float:
        """When a call is due after its thread's start, in µs."""
        return (number + number / max(1, self.calls - 1)) / self.rate * _US_PER_SECOND


@dataclass(frozen=True, slots=True)
class OnSchedule:
    """A run against its schedule.

    ``latency`` is of the good requests, ascending and in µs. ``waited`` counts requests that were
    due while their connection was busy, ``unsent`` those that never left before the run's end.
    ``lateness`` is that of requests whose connection was free: the generator's own, in µs,
    ascending.
    """

    latency: tuple[float, ...]
    waited: int
    unsent: int
    lateness: tuple[float, ...]


def against(schedule: Schedule, requests: Iterable[Request]) -> OnSchedule:
    """Latencies of ``requests`` from when they were due."""
    latency: list[float] = []
    lateness: list[float] = []
    waited = 0
    unsent = schedule.threads * schedule.calls
    for _, group in groupby(sorted(requests), key=lambda request: request.thread):
        calls = list(group)
        unsent -= len(calls)
        for request, late, busy in _of_thread(schedule, calls):
            waited += busy
            if not busy:
                lateness.append(late)
            if request.good:
                latency.append(request.latency + (late if busy else 0.0))
    return OnSchedule(tuple(sorted(latency)), waited, max(0, unsent), tuple(sorted(lateness)))


def _of_thread(
    schedule: Schedule, calls: Sequence[Request]
) -> Iterable[tuple[Request, float, bool]]:
    """Each call, how late it left, and whether it had to wait for its connection."""
    start = min(call.sent - schedule.due(call.number) for call in calls)
    free = float("-inf")
    for call in calls:
        due = start + schedule.due(call.number)
        yield call, call.sent - due, free > due
        free = call.sent + call.latency
