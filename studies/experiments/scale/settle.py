"""Waiting for the CNI's components to have taken up what was changed."""

from __future__ import annotations

from bench.checks.quiet import QUIET_MILLICORES
from bench.probes.base import Bench
from bench.probes.cost import idle_cost

_WINDOW_SECONDS = 1.0
_WINDOWS = 2
"""So many in a row: kube-proxy waits for up to a second between two syncs."""


def settled(bench: Bench, most_seconds: float) -> float:
    """Wait until the components use :data:`QUIET_MILLICORES` or less; what they use at the end.

    What else runs on the machines is not waited for: it may never end, and changes nothing in the
    dataplane.

    :raises SampleError: their use cannot be read.
    """
    end = bench.clock.monotonic() + most_seconds
    low = 0
    while True:
        used = idle_cost(bench, _WINDOW_SECONDS).millicores
        low = low + 1 if used <= QUIET_MILLICORES else 0
        if low == _WINDOWS or bench.clock.monotonic() >= end:
            return used
