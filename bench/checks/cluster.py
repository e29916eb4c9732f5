"""The cluster is what the settings ask for: where pods are, how the dataplane is set, that the
clocks agree, and that the platform holds no traffic back.

No latency here is the difference of two machines' clocks: each is measured on one, with its
monotonic clock. But a node whose clock is off makes logs and results contradict each other, and
one that reads its time slowly (a system call in place of a read of the CPU's counter) slows every
load generator, which asks for the time twice per request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.checks.check import Check
from bench.limits import growth
from bench.parse import ParseError
from bench.probes.base import Bench, Invocation, SampleError
from bench.session import SessionError
from bench.targets import Targets
from bench.text import tail, tally
from cni.dataplane import Setting


def placement(targets: Targets) -> Check:
    """No node has pods of both sides, as the API server reports them."""
    shared = sorted(targets.nodes("client") & targets.nodes("server"))
    where = ", ".join(f"{pod.role} on {pod.node}" for pods in targets.pods.values() for pod in pods)
    if shared:
        return Check("placement", False, f"clients and servers share {', '.join(shared)}: {where}")
    return Check("placement", True, where)


CONFIGURATION = "configuration"


def configuration(bench: Bench) -> Check:
    """Every setting asked of the dataplane is at work on every node."""
    try:
        settings = bench.session.configuration()
    except SessionError as error:
        return Check(CONFIGURATION, False, str(error))
    wrong = [setting for setting in settings if setting.effective != setting.requested]
    if wrong:
        return Check(CONFIGURATION, False, "; ".join(map(_difference, wrong)))
    listed = ", ".join(f"{each.name} {each.requested}" for each in settings)
    return Check(CONFIGURATION, True, listed or "nothing is asked of the dataplane")


def _difference(setting: Setting) -> str:
    effective = setting.effective or "nothing that any node reports"
    return f"{setting.name} is {effective}, {setting.requested} was asked for"


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


ALLOWANCES = "allowances"


def allowances(bench: Bench) -> Callable[[], Check]:
    """Reads the counters now; the check is made when what it returns is called."""
    try:
        before, start = bench.session.allowances(), bench.clock.monotonic()
    except SessionError as error:
        failed = Check(ALLOWANCES, False, str(error))
        return lambda: failed

    def check() -> Check:
        try:
            after = bench.session.allowances()
        except SessionError as error:
            return Check(ALLOWANCES, False, str(error))
        seconds = bench.clock.monotonic() - start
        if not after:
            return Check(ALLOWANCES, True, "this platform has none")
        grown = growth(before, after)
        if grown:
            listed = "; ".join(f"{node}: {tally(counters)}" for node, counters in grown.items())
            return Check(
                ALLOWANCES, False, f"traffic was held back in {seconds:.1f} idle s: {listed}"
            )
        return Check(
            ALLOWANCES, True, f"no counter of {', '.join(after)} grew in {seconds:.1f} idle s"
        )

    return check
