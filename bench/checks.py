"""Preconditions: asserted before anything is measured, named, and stored with their evidence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.parse import ParseError
from bench.parse.dig import parse_dig
from bench.parse.iperf import parse_tcp
from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.fortio import load_of
from bench.probes.http import REQUEST_PATH
from bench.session import CommandResult
from bench.targets import Targets
from bench.text import tail
from bench.workloads import ECHO_PORT, IPERF_PORT, roles

_SECONDS = 2.0
_REQUESTS = 4


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
        super().__init__(f"precondition {failed.name!r} failed: {failed.evidence}")


@dataclass(frozen=True, slots=True)
class Preconditions:
    """All checks, passed, and the versions of the load generators as they state them."""

    checks: tuple[Check, ...]
    tools: dict[str, str]


def check_preconditions(bench: Bench) -> Preconditions:
    """Make every check.

    :raises PreconditionError: at the first one that fails.
    """
    done: list[Check] = []
    tools: dict[str, str] = {}
    for check in _all(bench, tools):
        done.append(check)
        if not check.passed:
            raise PreconditionError(tuple(done))
    return Preconditions(tuple(done), tools)


def _all(bench: Bench, tools: dict[str, str]) -> Iterator[Check]:
    yield placement(bench.targets)
    for name, role, argv, pattern in _TOOLS:
        check = _answer(bench, f"tool {name}", Invocation(role, argv), _version(pattern))
        if check.passed:
            tools[name] = check.evidence
        yield check
    for name, invocation, read in _endpoints(bench.targets):
        yield _answer(bench, name, invocation, read)


def placement(targets: Targets) -> Check:
    """No node has pods of both sides, as the API server reports them."""
    nodes = {
        side: {pod.node for role in roles(side) for pod in targets.pods[role]}
        for side in ("client", "server")
    }
    shared = sorted(nodes["client"] & nodes["server"])
    where = ", ".join(f"{pod.role} on {pod.node}" for pods in targets.pods.values() for pod in pods)
    if shared:
        return Check("placement", False, f"clients and servers share {', '.join(shared)}: {where}")
    return Check("placement", True, where)


_TOOLS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("fortio", "fortio-client", ("fortio", "version"), r"(\d+\.\d+\S*)"),
    ("iperf3", "iperf3-client", ("iperf3", "--version"), r"iperf (\d+\.\d+\S*)"),
    ("dig", "dns-client", ("dig", "-v"), r"DiG (\d+\.\d+\S*)"),
)


def _version(pattern: str) -> Callable[[CommandResult], str]:
    def read(result: CommandResult) -> str:
        match = re.search(pattern, result.stdout) or re.search(pattern, result.stderr)
        if match is None:
            raise ParseError(f"no version in: {tail(result.stdout + result.stderr)}")
        return match[1]

    return read


def _endpoints(
    targets: Targets,
) -> Iterator[tuple[str, Invocation, Callable[[CommandResult], str]]]:
    fortio = ("fortio", "load", "-quiet", "-json", "-", "-p", "50,90,99,99.9",
              "-c", "1", "-n", str(_REQUESTS), "-qps", "0")  # fmt: skip
    echo = f"tcp://{targets.one('echo-server').ip}:{ECHO_PORT}"
    yield "echo answers", Invocation("fortio-client", (*fortio, echo)), _all_good
    service = targets.httpbin
    url = f"http://{service.host}:{service.port}{REQUEST_PATH}"
    yield "httpbin Service answers", Invocation("fortio-client", (*fortio, url)), _all_good
    server = targets.one("iperf3-server").ip
    iperf = ("iperf3", "-c", server, "-p", str(IPERF_PORT), "-n", "10M",
             "-J", "--connect-timeout", "3000")  # fmt: skip
    yield "iperf3 answers", Invocation("iperf3-client", iperf), _moved
    dig = ("dig", f"@{targets.dns.host}", "-p", str(targets.dns.port), "-u",
           "+tries=2", "+time=1", "+noall", "+comments", "+stats", targets.dns_name)  # fmt: skip
    yield f"DNS answers {targets.dns_name}", Invocation("dns-client", dig), _resolved


def _answer(
    bench: Bench, name: str, invocation: Invocation, read: Callable[[CommandResult], str]
) -> Check:
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
