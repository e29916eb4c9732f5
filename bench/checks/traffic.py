"""What packets and connections really do: every server answers, the path carries the MTU, and new
connections are led to a Service by what the settings ask for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from bench.checks.check import Check
from bench.parse import ParseError
from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.dns import parse_dig
from bench.probes.fortio import load_of
from bench.probes.http import service_url
from bench.probes.iperf import iperf_argv, parse_tcp, parse_udp
from bench.session import CommandResult, SessionError
from bench.targets import Targets
from bench.text import tail
from bench.workloads import ECHO_PORT, IPERF_PORT

_SECONDS = 2.0
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
    """Every server answers a few requests, none of which fails."""
    for name, invocation, read in _endpoints(bench.targets):
        yield answer(bench, name, invocation, read)


def _endpoints(
    targets: Targets,
) -> Iterator[tuple[str, Invocation, Callable[[CommandResult], str]]]:
    fortio = ("fortio", "load", "-quiet", "-json", "-", "-p", "50,90,99,99.9",
              "-c", "1", "-n", str(_REQUESTS), "-qps", "0")  # fmt: skip
    echo = f"tcp://{targets.one('echo-server').ip}:{ECHO_PORT}"
    yield "echo answers", Invocation("fortio-client", (*fortio, echo)), _all_good
    http = Invocation("fortio-client", (*fortio, service_url(targets)))
    yield "httpbin Service answers", http, _all_good
    server = targets.one("iperf3-server").ip
    iperf = ("iperf3", "-c", server, "-p", str(IPERF_PORT), "-n", "10M",
             "-J", "--connect-timeout", "3000")  # fmt: skip
    yield "iperf3 answers", Invocation("iperf3-client", iperf), _moved
    dig = ("dig", f"@{targets.dns.host}", "-p", str(targets.dns.port), "-u",
           "+tries=2", "+time=1", "+noall", "+comments", "+stats", targets.dns_name)  # fmt: skip
    yield f"DNS answers {targets.dns_name}", Invocation("dns-client", dig), _resolved


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


def _moved(result: CommandResult) -> str:
    report = parse_tcp(result.stdout, result.stderr)
    return f"{report.end.sum_received.bytes} bytes arrived"


def _resolved(result: CommandResult) -> str:
    report = parse_dig(result.stdout, 1, result.stderr)
    return f"answered in {report.microseconds[0]:.0f} µs"


_DATAGRAMS = 20
_DATAGRAMS_PER_SECOND = 100
"""Slowly: a server that is late to read what has come counts none of it after the client's end."""
_UDP_HEADERS = 28
"""IPv4 and UDP."""
_CONNECTIONS = 20
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
        if arrived < _DATAGRAMS / 2:
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
    entries in connection-tracking maps, and one whose port is used again would add none.
    """
    targets = bench.targets
    client = targets.one(_CONNECTING)
    address = f"/dev/tcp/{targets.httpbin.host}/{targets.httpbin.port}"
    script = f"for i in {{1..{_CONNECTIONS}}}; do exec 3<>{address} && exec 3>&- || exit; done"
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
