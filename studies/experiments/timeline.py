"""When a change took effect, by requests that were sent one after the other all the while."""

from __future__ import annotations

from collections.abc import Sequence

from bench.probes.schedule import Request

LASTING = 3
"""So many requests in a row must come out alike: a single one may fail for want of CPU."""


def admitted(requests: Sequence[Request], change: float, end: float) -> float | None:
    """How long after ``change`` the first request was answered, that others after it were as well.

    :param requests: in the order of their sending; times in µs of the clock of ``change``.
    :param end: of what is looked at.
    :returns: µs; None where none was.
    """
    later = [each for each in requests if change <= each.sent < end]
    for first in _runs(later, good=True):
        return first.sent + first.latency - change
    return None


def refused(requests: Sequence[Request], change: float, end: float) -> float | None:
    """How long after ``change`` the first request left that failed, as others after it did.

    A request counts by when it was sent: how long its failing takes is the client's patience.
    """
    later = [each for each in requests if change <= each.sent < end]
    for first in _runs(later, good=False):
        return first.sent - change
    return None


def only(requests: Sequence[Request], begin: float, end: float, *, good: bool) -> bool:
    """Whether all requests that were sent and over in a span came out so; there must be some."""
    within = [each for each in requests if begin <= each.sent and each.sent + each.latency < end]
    return bool(within) and all(each.good == good for each in within)


def _runs(requests: Sequence[Request], *, good: bool) -> list[Request]:
    """The first request of each row of at least :data:`LASTING` that came out so."""
    firsts: list[Request] = []
    row: list[Request] = []
    for each in requests:
        row = [*row, each] if each.good == good else []
        if len(row) == LASTING:
            firsts.append(row[0])
    return firsts
