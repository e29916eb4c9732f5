"""Where UDP datagrams were lost: on the way, or at the receiver's socket.

A datagram that reaches the server's pod while the socket's buffer is full, because iperf3 waits for
a CPU, has crossed the network and is lost all the same. The kernel counts those (``RcvbufErrors``
of snmp(7)'s Udp, in the pod's network namespace), so they can be told from losses on the path:
on two busy CPUs 4 of 6 runs at full rate lost exactly as many as it counted (26 to 43 % of all);
in the others it counted 6 and 269 more, which came after iperf3 had stopped counting. Such a loss
says how fast the receiver is, whatever the CNI.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.metrics import UDP_GOODPUT, UDP_LOSS, Metric
from bench.parse import ParseError
from bench.probes.base import Bench, Invocation, Probe, Reading, SampleError
from bench.targets import Targets

LOST = "lost_datagrams"
"""The fact that says how many iperf3 found lost."""
AT_SOCKET = "lost_at_the_socket"
MOST = 0.5
"""Share of the loss from which on it is the receiver's."""
_COUNTERS = Invocation("iperf3-server", ("cat", "/proc/net/snmp"))
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SocketLoss:
    """The UDP probe, with what its receiver's socket lost; counters that cannot be read cost no
    sample, and nothing is said then."""

    inner: Probe

    @property
    def name(self) -> str:
        """The inner probe's."""
        return self.inner.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The inner probe's."""
        return self.inner.metrics

    @property
    def seconds(self) -> float:
        """The inner probe's."""
        return self.inner.seconds

    def invocation(self, targets: Targets) -> Invocation | None:
        """The inner probe's."""
        return self.inner.invocation(targets)

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`."""
        before = _overflowed(bench)
        reading = self.inner.measure(bench)
        after = _overflowed(bench)
        if before is None or after is None:
            return reading
        lost, at_socket = int(reading.facts[LOST]), after - before
        facts = {**reading.facts, AT_SOCKET: at_socket}
        if not lost or at_socket < MOST * lost:
            return replace(reading, facts=facts)
        share = min(1.0, at_socket / lost)
        note = (
            f"{100 * share:.0f} % of the loss was at the receiver's full socket buffer: the server "
            "was too slow, not the network"
        )
        noted = {metric.name: note for metric in (UDP_GOODPUT, UDP_LOSS)}
        return replace(reading, facts=facts, notes={**reading.notes, **noted})

    def summary(self, reading: Reading) -> str:
        """The inner probe's."""
        return self.inner.summary(reading)


def _overflowed(bench: Bench) -> int | None:
    """Datagrams that found a full buffer so far."""
    try:
        return overflows(bench.run(_COUNTERS, _SECONDS).stdout)
    except (SampleError, ParseError):
        return None


def overflows(snmp: str) -> int:
    """``RcvbufErrors`` of /proc/net/snmp.

    :raises ParseError: it is not that.
    """
    rows = [line.split()[1:] for line in snmp.splitlines() if line.startswith("Udp: ")]
    try:
        names, values = rows
        return int(values[names.index("RcvbufErrors")])
    except (ValueError, IndexError):
        raise ParseError("no counters of UDP in /proc/net/snmp") from None
