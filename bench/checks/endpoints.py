"""The load generators are there, and everything that they talk to answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from bench.checks.check import Check
from bench.parse import ParseError
from bench.parse.dig import parse_dig
from bench.parse.iperf import parse_tcp
from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.fortio import load_of
from bench.probes.http import service_url
from bench.session import CommandResult
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
