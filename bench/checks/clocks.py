"""The nodes' clocks: their difference, and what they are read from.

No latency here is the difference of two machines' clocks: each is measured on one, with its
monotonic clock. But a node whose clock is off makes logs and results contradict each other, and
one that reads its time slowly (a system call in place of a read of the CPU's counter) slows every
load generator, which asks for the time twice per request.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.checks.check import Check
from bench.parse import ParseError
from bench.probes.base import Bench, Invocation, SampleError
from bench.text import tail

MOST_SKEW_SECONDS = 0.1
SLOW_SOURCES = frozenset({"hpet", "acpi_pm", "jiffies", "refined-jiffies", "xen"})
"""Clock sources that Linux cannot read without a system call (x86: only tsc, kvm-clock and
hyperv's have a vDSO mode; ARM's only one does)."""
_SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_ROLES = ("iperf3-client", "iperf3-server")
_READINGS = 3
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Reading:
    """A node's clock against ours: offset in seconds, known to ± ``error``; its source."""

    node: str
    offset: float
    error: float
    source: str


def clocks(bench: Bench) -> Check:
    """Client's and server's clocks agree, and are fast to read."""
    try:
        client, server = (_read(bench, role) for role in _ROLES)
    except (SampleError, ParseError) as error:
        return Check("clocks", False, str(error))
    skew, error_ = server.offset - client.offset, server.error + client.error
    slow = [each for each in (client, server) if each.source in SLOW_SOURCES]
    evidence = (
        f"{server.node} is {1e3 * skew:+.1f} ms ± {1e3 * error_:.1f} ms from {client.node}; "
        f"clock sources {client.source}, {server.source}"
    )
    if slow:
        evidence += f"; {slow[0].source} on {slow[0].node} is slow to read"
    return Check("clocks", abs(skew) - error_ <= MOST_SKEW_SECONDS and not slow, evidence)


def _read(bench: Bench, role: str) -> _Reading:
    best: _Reading | None = None
    for _ in range(_READINGS):
        reading = _read_once(bench, role)
        if best is None or reading.error < best.error:
            best = reading
    assert best is not None
    return best


def _read_once(bench: Bench, role: str) -> _Reading:
    script = f"echo $EPOCHREALTIME $(<{_SOURCE})"
    start = bench.clock.now().timestamp()
    result = bench.run(Invocation(role, ("bash", "-c", script)), _SECONDS)
    end = bench.clock.now().timestamp()
    words = result.stdout.split()
    try:
        there, source = float(words[0]), words[1]
    except (IndexError, ValueError):
        said = tail(result.stdout + result.stderr)
        raise ParseError(f"no time and clock source from {role}: {said or 'nothing'}") from None
    half = (end - start) / 2
    return _Reading(bench.targets.one(role).node, there - (start + half), half, source)
