"""Preconditions: asserted before anything is measured, named, and stored with their evidence.

Those that a look at the cluster tells are here (:func:`check_cluster`): where pods are, how the
dataplane is set, that the clocks agree, that every server answers, that the path carries the MTU,
and that new connections are led to a Service by what the settings ask for. Those of a quiet machine
and of the load generator follow after the warm-up (:mod:`bench.readiness`).

No latency of a benchmark is the difference of two machines' clocks: each is measured on one, with
its monotonic clock. Where an experiment asks the API server for a change and a client sees it, the
offset of both clocks is read (:func:`read_clock`). But a node whose clock is off makes logs and
results contradict each other, and one that reads its time slowly (a system call in place of a read
of the CPU's counter) slows every load generator, which asks for the time twice per request.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.environment import Environment
from bench.limits import faults, growth
from bench.metrics import Note
from bench.plan import ALLOWABLE
from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.dns import parse_dig
from bench.probes.fortio import load_of
from bench.probes.http import service_url
from bench.probes.iperf import TcpEnd, iperf_argv, parse_tcp, parse_udp
from bench.results import CheckResult
from bench.session import CommandResult, SessionError, Targets
from bench.text import ParseError, tail, tally
from bench.workloads import ECHO_PORT
from cni.dataplane import Setting


@dataclass(frozen=True, slots=True)
class Check:
    """One precondition's outcome."""

    name: str
    passed: bool
    evidence: str


class PreconditionError(Exception):
    """A precondition does not hold, so nothing is measured. ``checks`` are all made so far."""

    def __init__(self, checks: tuple[Check, ...]) -> None:
        self.checks = checks
        failed = checks[-1]
        message = f"precondition {failed.name!r} failed: {failed.evidence}"
        if failed.name in ALLOWABLE:
            message += (
                f". To measure all the same, with a mark in the results: --allow {failed.name} "
                f"(in a stack's settings benchmark.allow: [{failed.name}])"
            )
        super().__init__(message)


class Gate:
    """Collects checks and stops at the first that fails.

    :param allow: names of those that may fail.
    """

    def __init__(self, allow: Collection[str] = ()) -> None:
        self._allow = frozenset(allow)
        self._checks: list[Check] = []

    def require(self, check: Check) -> None:
        """Take in a check.

        :raises PreconditionError: it failed and is not allowed to.
        """
        self._checks.append(check)
        if not check.passed and not self.allows(check):
            raise PreconditionError(self.checks)

    def allows(self, check: Check) -> bool:
        """Whether a check may fail."""
        return check.name in self._allow

    @property
    def checks(self) -> tuple[Check, ...]:
        """All so far."""
        return tuple(self._checks)

    def results(self) -> list[CheckResult]:
        """All so far, for the results."""
        return [
            CheckResult(
                name=each.name, passed=each.passed, evidence=each.evidence, allowed=not each.passed
            )
            for each in self._checks
        ]


def placement(targets: Targets) -> Check:
    """No node has pods of both sides, as the API server reports them."""
    shared = sorted(targets.nodes("client") & targets.nodes("server"))
    where = ", ".join(f"{pod.role} on {pod.node}" for pods in targets.pods.values() for pod in pods)
    if shared:
        return Check("placement", False, f"clients and servers share {', '.join(shared)}: {where}")
    return Check("placement", True, where)


def health(bench: Bench) -> Check:
    """Everything that the scenario consists of is at work.

    It stays so: every sample is taken between two looks at it (:func:`bench.limits.faults`).
    """
    try:
        there = bench.session.health()
    except SessionError as error:
        return Check("health", False, str(error))
    wrong = "; ".join(faults(there, there))
    return Check("health", not wrong, wrong or f"{len(there)} processes, all at work")


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
_US = 1e6
MOST_DOUBT = 0.1
"""Share of a time that the error of a clock's reading may be, without a note."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A node's clock against ours: offset in seconds, known to ± ``error``; its source."""

    node: str
    offset: float
    error: float
    source: str

    @property
    def certain(self) -> float:
        """As much of the offset as is certain: 0 where both may be the same clock."""
        return math.copysign(max(0.0, abs(self.offset) - self.error), self.offset)

    def doubts(self, values: Mapping[str, float]) -> dict[str, tuple[Note, ...]]:
        """A note on each time in µs, taken from one clock to the other, that the error may change
        by :data:`MOST_DOUBT` or more."""
        error = float(f"{_US * self.error:.1g}")
        note = Note(kind="two-clocks", figures={"error_us": error})
        return {name: (note,) for name, value in values.items() if error >= MOST_DOUBT * value}


def clocks(bench: Bench) -> Check:
    """Client's and server's clocks agree, and are fast to read."""
    try:
        client, server = (read_clock(bench, role) for role in _ROLES)
    except SampleError as error:
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


def read_clock(bench: Bench, role: str) -> ClockReading:
    """The best of a few readings of a pod's clock.

    :raises SampleError: it cannot be asked, or does not tell.
    """
    best: ClockReading | None = None
    for _ in range(_READINGS):
        reading = _read_once(bench, role)
        if best is None or reading.error < best.error:
            best = reading
    assert best is not None
    return best


def _read_once(bench: Bench, role: str) -> ClockReading:
    script = f"echo $EPOCHREALTIME $(<{_SOURCE})"
    start = bench.clock.now().timestamp()
    result = bench.run(Invocation(role, ("bash", "-c", script)), _SECONDS)
    end = bench.clock.now().timestamp()
    words = result.stdout.split()
    try:
        there, source = float(words[0]), words[1]
    except (IndexError, ValueError):
        said = tail(result.stdout + result.stderr)
        raise SampleError(f"no time and clock source from {role}: {said or 'nothing'}") from None
    half = (end - start) / 2
    return ClockReading(bench.targets.one(role).node, there - (start + half), half, source)


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
        if unread := [node for node, counters in after.items() if not counters]:
            return Check(ALLOWANCES, False, f"{', '.join(unread)}: the counters cannot be read")
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


_REQUESTS = 4

_TOOLS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("fortio", "fortio-client", ("fortio", "version"), r"(\d+\.\d+\S*)"),
    ("iperf3", "iperf3-client", ("iperf3", "--version"), r"iperf (\d+\.\d+\S*)"),
    ("dig", "dns-client", ("dig", "-v"), r"DiG (\d+\.\d+\S*)"),
    ("dnsperf", "dnsperf-client", ("dnsperf", "-h"), r"Version (\d+\.\d+\S*)"),
)


def tools(bench: Bench, versions: dict[str, str]) -> Iterator[Check]:
    """Every load generator runs and states its version, which is put into ``versions``."""
    for name, role, argv, pattern in _TOOLS:
        check = answer(bench, f"tool {name}", Invocation(role, argv), _version(pattern))
        if check.passed:
            versions[name] = check.evidence
        yield check


def _version(pattern: str) -> Callable[[CommandResult], str]:
    def read(result: CommandResult) -> str:
        match = re.search(pattern, result.stdout) or re.search(pattern, result.stderr)
        if match is None:
            raise ParseError(f"no version in: {tail(result.stdout + result.stderr)}")
        return match[1]

    return read


def endpoints(bench: Bench) -> Iterator[Check]:
    """Every server answers a few requests, none of which fails; what its transfer tells of TCP."""
    for name, invocation, read in _endpoints(bench.targets):
        yield answer(bench, name, invocation, read)
    ends: list[TcpEnd] = []

    def moved(result: CommandResult) -> str:
        ends.append(parse_tcp(result.stdout, result.stderr).end)
        return f"{ends[0].sum_received.bytes} bytes arrived"

    argv = iperf_argv(bench.targets, None, "-n", "10M")
    yield answer(bench, "iperf3 answers", Invocation("iperf3-client", argv), moved)
    yield from (congestion_control(end, bench.session.environment()) for end in ends)


def congestion_control(end: TcpEnd, environment: Environment) -> Check:
    """The sockets of a transfer have the congestion control that nodes and agents tell.

    Both ends' sockets were asked (``TCP_CONGESTION``): a setting of the node's need not be that of
    a pod, nor that of a connection.
    """
    said = {"pods": environment.congestion_control} | {
        "the CNI's agents": environment.agents.get("congestion_control")
    }
    # An agent's summary has the word None for what it does not tell.
    wanted = {who: what for who, what in said.items() if str(what) != "None"}
    found = (end.sender_tcp_congestion, end.receiver_tcp_congestion)
    evidence = f"a transfer's sockets have {found[0]} (client) and {found[1]} (server)"
    if wanted:
        evidence += f"; {' and '.join(f'{who} say {what}' for who, what in wanted.items())}"
    agree = found[0] is not None and set(found) == {found[0], *map(str, wanted.values())}
    return Check("congestion-control", agree, evidence)


def _endpoints(
    targets: Targets,
) -> Iterator[tuple[str, Invocation, Callable[[CommandResult], str]]]:
    echo = Invocation("fortio-client", _echo(targets, _REQUESTS))
    yield "echo answers", echo, _all_good
    http = Invocation("fortio-client", _fortio(_REQUESTS, service_url(targets)))
    yield "httpbin Service answers", http, _all_good
    dig = ("dig", f"@{targets.dns.host}", "-p", str(targets.dns.port), "-u",
           "+tries=2", "+time=1", "+noall", "+comments", "+stats", targets.dns_name)  # fmt: skip
    yield f"DNS answers {targets.dns_name}", Invocation("dns-client", dig), _resolved


def _echo(targets: Targets, requests: int) -> tuple[str, ...]:
    return _fortio(requests, f"tcp://{targets.one('echo-server').ip}:{ECHO_PORT}")


def _fortio(requests: int, url: str) -> tuple[str, ...]:
    return ("fortio", "load", "-quiet", "-json", "-", "-p", "50,90,99,99.9",
            "-c", "1", "-n", str(requests), "-qps", "0", url)  # fmt: skip


def answer(
    bench: Bench, name: str, invocation: Invocation, read: Callable[[CommandResult], str]
) -> Check:
    """A check that is one command; its evidence is what ``read`` makes of the output."""
    try:
        return Check(name, True, read(bench.run(invocation, _SECONDS)))
    except (SampleError, ParseError) as error:
        pod = bench.targets.one(invocation.role)
        return Check(
            name, False, f"{error} (in {pod.name} on {pod.node}: {' '.join(invocation.argv)})"
        )


def _all_good(result: CommandResult) -> str:
    load = load_of(result)
    if load.errors:
        raise ParseError(f"{load.errors} of {load.requests} requests failed: {dict(load.codes)}")
    return f"{load.requests} requests, none failed"


def _resolved(result: CommandResult) -> str:
    report = parse_dig(result.stdout, 1, result.stderr)
    return f"answered in {report.microseconds[0]:.0f} µs"


_DATAGRAMS = 20
_DATAGRAMS_PER_SECOND = 100
"""Slowly: a server that is late to read what has come counts none of it after the client's end."""
_UDP_HEADERS = 28
"""IPv4 and UDP."""
_CONNECTIONS = 20
_OPEN_SECONDS = 10
_CONNECTING = "iperf3-client"
_ENOUGH = 0.9
_FEW = 0.1


def mtu(bench: Bench) -> Check:
    """Datagrams as large as the client's MTU, not to be fragmented, arrive at the server's pod.

    The MTU is the device's, or that of the route to the server where it is smaller. A path that
    carries less loses them all.
    """
    try:
        size = _client_mtu(bench)
    except (SampleError, ParseError) as error:
        return Check("mtu", False, str(error))
    argv = iperf_argv(
        bench.targets, None, "-u", "-b", str(size * 8 * _DATAGRAMS_PER_SECOND),
        "-k", str(_DATAGRAMS), "-l", str(size - _UDP_HEADERS), "--dont-fragment",
    )  # fmt: skip

    def read(result: CommandResult) -> str:
        try:
            report = parse_udp(result.stdout, result.stderr)
        except ParseError as error:
            raise ParseError(
                f"no packet of {size} bytes, the client's MTU, arrived: {error}"
            ) from None
        arrived = report.end.sum_received.arrived
        if arrived < _ENOUGH * _DATAGRAMS:
            raise ParseError(f"only {arrived} of {_DATAGRAMS} packets of {size} bytes arrived")
        return f"{size} bytes: {arrived} of {_DATAGRAMS} unfragmented packets of that size arrived"

    return answer(bench, "mtu", Invocation("iperf3-client", argv), read)


def _client_mtu(bench: Bench) -> int:
    def run(*argv: str) -> str:
        return bench.run(Invocation("iperf3-client", ("ip", "-json", *argv)), _SECONDS).stdout

    route = run("route", "get", bench.targets.one("iperf3-server").ip)
    device, limit = route_mtu(route)
    own = device_mtu(run("link", "show", device))
    return own if limit is None else min(own, limit)


def service_path(bench: Bench) -> Check:
    """New connections to the httpbin Service are led to its pods by what the settings ask for.

    They come from a pod that makes no others to it. A benchmark's thousands of connections leave
    entries in connection-tracking maps, and one whose port is used again would add none. They stay
    open for a while: what is kept of a socket may go with it.
    """
    targets = bench.targets
    client = targets.one(_CONNECTING)
    address = f"/dev/tcp/{targets.httpbin.host}/{targets.httpbin.port}"
    script = (
        f"for i in {{1..{_CONNECTIONS}}}; do exec {{open}}<>{address} || exit; done; "
        f"sleep {_OPEN_SECONDS} <&- >/dev/null 2>&1 &"
    )
    try:
        before = bench.session.service_path(client, targets.httpbin)
        made = bench.run(Invocation(_CONNECTING, ("bash", "-c", script)), _SECONDS)
        after = bench.session.service_path(client, targets.httpbin)
    except (SessionError, SampleError) as error:
        return Check("service-path", False, str(error))
    if made.returncode:
        return Check("service-path", False, f"no connection: {tail(made.stderr)}")
    grown = {
        name: after.translated[name] - count
        for name, count in before.translated.items()
        if name in after.translated
    }
    wanted = after.expected
    others = [count for name, count in grown.items() if name != wanted]
    passed = grown.get(wanted, 0) >= _ENOUGH * _CONNECTIONS and all(
        count <= _FEW * _CONNECTIONS for count in others
    )
    counts = ", ".join(f"{name} {count}" for name, count in grown.items())
    evidence = f"of {_CONNECTIONS} new connections on {client.node}: {counts or 'nothing counted'}"
    return Check("service-path", passed, evidence + ("" if passed else f"; expected: {wanted}"))


def device_mtu(stdout: str) -> int:
    """MTU in bytes, from ``ip -json link show DEVICE``.

    :raises ParseError: the output is not that.
    """
    link = _first_entry(stdout)
    try:
        return int(link["mtu"])
    except (KeyError, TypeError, ValueError):
        raise ParseError(f"ip: no MTU in: {tail(stdout)}") from None


def route_mtu(stdout: str) -> tuple[str, int | None]:
    """Device, and the route's own MTU in bytes if it has one, from ``ip -json route get ADDRESS``.

    :raises ParseError: the output is not that.
    """
    route = _first_entry(stdout)
    try:
        limits = [int(metric["mtu"]) for metric in route.get("metrics", []) if "mtu" in metric]
        return str(route["dev"]), min(limits, default=None)
    except (KeyError, TypeError, ValueError):
        raise ParseError(f"ip: no route in: {tail(stdout)}") from None


def _first_entry(stdout: str) -> dict[str, Any]:
    try:
        entries = json.loads(stdout)
    except json.JSONDecodeError:
        raise ParseError(f"ip: no JSON: {tail(stdout) or 'nothing'}") from None
    entry = entries[0] if isinstance(entries, list) and entries else None
    if not isinstance(entry, dict):
        raise ParseError(f"ip: nothing listed: {tail(stdout)}")
    return entry


SOFTIRQS = "softirqs"
_ROUND_TRIPS = 200
_MOST = 0.5


def softirqs(bench: Bench) -> Iterator[Check]:
    """Where nodes have CPUs of their own, these receive what was sent there: requests are received
    on the client's, replies on the server's.

    Two veth devices pass a packet on where it is; a kernel that spreads packets over CPUs (RPS)
    would not. Each round trip raises the receive softirq once at each end.
    """
    shared_out = bench.session.environment().placement_of_cpus
    nodes = [bench.targets.one(role).node for role in ("fortio-client", "echo-server")]
    if not all(shared_out.get(node) for node in nodes):
        return
    echo = Invocation("fortio-client", _echo(bench.targets, _ROUND_TRIPS))
    try:
        before = _received(bench)
        _all_good(bench.run(echo, _SECONDS))
        after = _received(bench)
    except (SampleError, ParseError) as error:
        yield Check(SOFTIRQS, False, str(error))
        return
    counts = [sum(after[cpu] - before[cpu] for cpu in shared_out[node]) for node in nodes]
    told = ", ".join(f"{count} on {node}'s" for count, node in zip(counts, nodes, strict=True))
    passed = all(count >= _MOST * _ROUND_TRIPS for count in counts)
    yield Check(
        SOFTIRQS, passed, f"receive softirqs during {_ROUND_TRIPS} round trips: {told} CPUs"
    )


def _received(bench: Bench) -> dict[int, int]:
    """Receive softirqs of the machine so far, by CPU (proc(5), ``/proc/softirqs``)."""
    shown = bench.run(Invocation("fortio-client", ("cat", "/proc/softirqs")), _SECONDS).stdout
    lines = [line.split() for line in shown.splitlines()]
    counts = next((line[1:] for line in lines if line[:1] == ["NET_RX:"]), [])
    if not counts:
        raise ParseError(f"no receive softirqs in: {tail(shown) or 'nothing'}")
    cpus = [int(name.removeprefix("CPU")) for name in lines[0]]
    return dict(zip(cpus, map(int, counts), strict=True))


BPF_STATISTICS = "/proc/sys/kernel/bpf_stats_enabled"


def bpf_statistics(bench: Bench) -> Check:
    """Nodes do not count and time the runs of BPF programs.

    Where they do, each run reads the clock twice (Documentation/admin-guide/sysctl/kernel.rst,
    ``bpf_stats_enabled``). Only dataplanes of such programs pay for it: round trips through Cilium
    took 3 % longer. A kernel without the setting has no such statistics.
    """
    told: dict[str, str] = {}
    for role in ("iperf3-client", "iperf3-server"):
        try:
            result = bench.run(Invocation(role, ("cat", BPF_STATISTICS)), _SECONDS)
        except SampleError as error:
            return Check("bpf-statistics", False, str(error))
        lacking = "No such file" in result.stderr
        if result.returncode != 0 and not lacking:
            words = f"{BPF_STATISTICS} cannot be read by {role}: {result.stderr.strip()}"
            return Check("bpf-statistics", False, words)
        told[bench.targets.one(role).node] = "unknown" if lacking else result.stdout.strip()
    on = [node for node, value in told.items() if value not in ("0", "unknown")]
    evidence = "kernel.bpf_stats_enabled: " + ", ".join(f"{v} on {n}" for n, v in told.items())
    fix = f". Fix: sysctl -w kernel.bpf_stats_enabled=0 on {' and '.join(on)}" if on else ""
    return Check("bpf-statistics", not on, evidence + fix)


def check_cluster(bench: Bench, gate: Gate) -> dict[str, str]:
    """Check the pods, programs, endpoints and the dataplane.

    :returns: the versions of the load generators, as they state them.
    :raises PreconditionError: at the first check that fails and is not allowed to.
    """
    versions: dict[str, str] = {}
    for check in _cluster(bench, versions):
        gate.require(check)
    return versions


def _cluster(bench: Bench, versions: dict[str, str]) -> Iterator[Check]:
    yield placement(bench.targets)
    yield from tools(bench, versions)
    yield from endpoints(bench)
    yield health(bench)
    yield configuration(bench)
    yield mtu(bench)
    yield service_path(bench)
    yield from softirqs(bench)
    yield bpf_statistics(bench)
    yield clocks(bench)
