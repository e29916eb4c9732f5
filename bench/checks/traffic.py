"""What packets and connections really do: the path's MTU, and what leads them to a Service."""

from __future__ import annotations

from bench.checks.check import Check
from bench.checks.endpoints import answer
from bench.parse import ParseError
from bench.parse.iperf import parse_udp
from bench.parse.iproute import device_mtu, route_mtu
from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.iperf import iperf_argv
from bench.session import CommandResult, SessionError
from bench.text import tail

_SECONDS = 2.0
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
