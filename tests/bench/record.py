"""Records what the real programs print, as fixtures for the parsers and the fake session.

Run ``python -m tests.bench.record`` from the project's root, as root, with the programs built and
a CoreDNS that has the ``hosts``, ``erratic`` and ``template`` plugins as ``$COREDNS`` (the upstream
build has them). Each file holds one command's argv, exit code and output; a long standard error
is cut to its end. What the generator of turns writes is kept as it is (``.bin``).
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bench.probes.base import Invocation
from bench.probes.dns import dns_capacity_probe, dns_probe
from bench.probes.http import connect_max_probe, connect_probe, http_probe
from bench.probes.iperf import iperf_argv, tcp_probe
from bench.probes.rtt import rtt_probe
from bench.probes.udp import udp_probe
from bench.session import CommandResult, Pod, Targets, resolve_targets
from bench.turns import Subject, Task, plan
from bench.workloads import ECHO_PORT, NULL_HTTP_PORT, TURNS_COUNT_PORT, TURNS_ECHO_PORT
from studies.experiments.sweep import capacity_probe, sweep_probe
from studies.validate.delays import path_of
from tests.bench.fakes import FOLDER, PLAN, SWEPT, SWEPT_RATE
from tests.bench.netns import CLIENT, SERVER, NetnsSession, program
from tests.bench.stall import stalled

_STDERR_CHARACTERS = 2_000
_DNS_PORT = 5300
_COREFILE = """
.:%d {
    bind %s
    hosts {
        10.100.0.1 kubernetes.default.svc.cluster.local
        fallthrough
    }
    erratic slow.test {
        drop 2
    }
    template IN A broken.test {
        rcode SERVFAIL
    }
    template IN A empty.test {
        rcode NOERROR
    }
    template IN A absent.test {
        rcode NXDOMAIN
    }
}
"""
_NAME = "kubernetes.default.svc.cluster.local."
_DIG = ("dig", f"@{SERVER}", "-p", str(_DNS_PORT), "+tries=1", "+time=1", "+noall",
        "+comments", "+stats")  # fmt: skip
_WHOLE = "--dont-fragment"
_LOAD = ("fortio", "load", "-quiet", "-json", "-", "-p", "50,90,99,99.9", "-c", "4")
_LOG = ("-access-log-file", "/dev/stdout", "-qps", "100", "-t", "1s")


def commands(targets: Targets) -> Iterator[tuple[str, Invocation]]:
    """What is recorded, by file name."""
    yield "iperf3-version", Invocation("iperf3-client", ("iperf3", "--version"))
    yield "fortio-version", Invocation("fortio-client", ("fortio", "version"))
    yield "dig-version", Invocation("dns-client", ("dig", "-v"))
    yield "dnsperf-version", Invocation("dnsperf-client", ("dnsperf", "-h"))
    for name, probe in (
        ("iperf3-tcp", tcp_probe(PLAN)),
        ("iperf3-udp", udp_probe(PLAN)),
        ("fortio-tcp", rtt_probe(PLAN)),
        ("fortio-http-100", http_probe(PLAN, 100)),
        ("fortio-http-max", http_probe(PLAN, None)),
        ("fortio-connect", connect_probe(PLAN)),
        ("fortio-connect-max", connect_max_probe(PLAN)),
        ("fortio-sweep-max", capacity_probe(SWEPT)),
        ("fortio-sweep", sweep_probe(50, SWEPT_RATE, SWEPT)),
        ("dig-answers", dns_probe(PLAN)),
        ("dnsperf-answers", dns_capacity_probe(PLAN)),
    ):
        yield name, probe.invocation(targets)
    null = f"http://{CLIENT}:{NULL_HTTP_PORT}/"
    yield "fortio-null", _fortio("-qps", "0", "-t", "1s", "-r", "0.00005", null)
    yield "ip-route", Invocation("iperf3-client", ("ip", "-json", "route", "get", SERVER))
    yield "ip-link", Invocation("iperf3-client", ("ip", "-json", "link", "show", "eth0"))
    yield "fortio-echo", _fortio("-c", "1", "-n", "200", "-qps", "0", f"tcp://{SERVER}:{ECHO_PORT}")
    yield "softirqs", Invocation("fortio-client", ("cat", "/proc/softirqs"))
    for name, options in (
        ("iperf3-stream", ("-t", "1", "-P", "1")),
        ("iperf3-udp-slow", ("-u", "-b", "10M", "-n", "100K")),
        ("iperf3-unfragmented", ("-u", "-b", "100M", "-k", "20", "-l", "1472", _WHOLE)),
        ("iperf3-too-large", ("-u", "-b", "100M", "-k", "20", "-l", "1473", _WHOLE)),
    ):
        yield name, Invocation("iperf3-client", iperf_argv(targets, None, *options, interval=0.1))
    swept = sweep_probe(50, SWEPT_RATE, SWEPT).invocation(targets)
    yield "fortio-sweep-late", _paused(swept)
    yield (
        "dnsperf-one-by-one",
        Invocation("dnsperf-client", tuple(path_of("dns_p50").argv(targets))),
    )
    yield from _spoilt(targets)


def _spoilt(targets: Targets) -> Iterator[tuple[str, Invocation]]:
    """Errors, of the tools, of the servers and of the network."""
    httpbin = f"http://{SERVER}:{targets.httpbin.port}"
    yield (
        "fortio-some-errors",
        _fortio(*_LOG, "-allow-initial-errors", f"{httpbin}/unstable?failure_rate=0.3"),
    )
    yield "fortio-warmup-error", _fortio(*_LOG, f"{httpbin}/status/503")
    yield "fortio-all-failed", _fortio("-qps", "100", "-t", "1s", f"tcp://{SERVER}:9")
    yield "fortio-http-refused", _fortio("-qps", "0", "-n", "4", f"http://{SERVER}:9/get")
    for name, port, query in (
        ("dnsperf-lost", 9, _NAME),
        ("dnsperf-some-lost", _DNS_PORT, "slow.test."),
        ("dnsperf-broken", _DNS_PORT, "broken.test."),
    ):
        script = f"yes '{query} A' | dnsperf -s {SERVER} -p {port} -c 2 -q 2 -t 1 -l 1"
        yield name, Invocation("dnsperf-client", ("sh", "-c", script))
    yield "iperf3-refused", _iperf("-p", "9", "-t", "1")
    yield "dig-mixed", _dig("-u", _NAME, "slow.test.", "slow.test.", "broken.test.",
                            "absent.test.", "empty.test.", _NAME)  # fmt: skip
    yield "dig-one", _dig("-u", _NAME)
    yield "dig-refused", _dig("-u", "-p", "9", _NAME, _NAME)
    yield "dig-milliseconds", _dig(_NAME, _NAME, _NAME)


def _fortio(*options: str) -> Invocation:
    return Invocation("fortio-client", (*_LOAD, *options))


def _paused(wanted: Invocation) -> Invocation:
    """The same, with a generator that gets no CPU for a tenth of a second."""
    fortio = program("fortio")
    assert fortio is not None
    line = shlex.join([fortio, *wanted.argv[1:]])
    pause = "sleep 0.3; kill -STOP $!; sleep 0.1; kill -CONT $!; wait $!"
    return Invocation(wanted.role, ("bash", "-c", f"{line} & {pause}"))


def _iperf(*options: str) -> Invocation:
    return Invocation("iperf3-client", ("iperf3", "-c", SERVER, "-i", "0", "-J", *options))


def _dig(*options: str) -> Invocation:
    return Invocation("dns-client", (*_DIG, *options))


TURNS: Mapping[str, tuple[Task, int]] = {
    "turns-roundtrip": (Task("roundtrip", batch=4, drop=2, bytes=24), TURNS_ECHO_PORT),
    "turns-burst": (Task("burst", batch=1, drop=1, bytes=64, datagrams=32), TURNS_COUNT_PORT),
}
"""What is recorded of the generator of turns: three paths, to the last of which nobody answers."""


def record_turns(session: NetnsSession) -> None:
    """A few milliseconds of turns of each."""
    (pod,) = session.pods("iperf3-client")
    client = session.turn_client(pod)
    for name, (task, port) in TURNS.items():
        ports = {"a": port, "b": port, "nobody": 9}
        subjects = [Subject(each, client, f"{SERVER}:{ports[each]}") for each in ports]
        asked = plan(task, subjects, seconds=0.01, seed=1)
        (FOLDER / f"{name}.bin").write_bytes(session.take_turns(pod, asked, timeout=30))


def main() -> int:
    """Record everything."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with NetnsSession() as session, tempfile.TemporaryDirectory() as folder:
        corefile = Path(folder, "Corefile")
        corefile.write_text(_COREFILE % (_DNS_PORT, SERVER))
        session.spawn("server", [os.environ["COREDNS"], "-conf", str(corefile)])
        time.sleep(1)
        targets = resolve_targets(session)
        for name, invocation in commands(targets):
            pod = targets.one(invocation.role)
            _save(name, _recorded(session, pod, invocation))
        longer = replace(PLAN, http_seconds=2)
        _save("fortio-stalled", _kept(stalled(session, longer, 100, after=0.8)))
        pod = targets.one("iperf3-client")
        session.spawn("client", ["iperf3", "-c", SERVER, "-t", "2"])
        time.sleep(1)
        _save("iperf3-busy", _recorded(session, pod, _iperf("-t", "1")))
        record_turns(session)
    return 0


def _recorded(session: NetnsSession, pod: Pod, invocation: Invocation) -> Mapping[str, object]:
    return _kept(session.run(pod, invocation.full(), timeout=30))


def _kept(result: CommandResult) -> Mapping[str, object]:
    return {
        # A shell is given the generator by its path, which is this machine's own.
        "argv": [word.replace(str(program("fortio")), "fortio") for word in result.argv],
        "returncode": result.returncode,
        "stdout": result.stdout,
        "stderr": result.stderr[-_STDERR_CHARACTERS:],
    }


def _save(name: str, recorded: Mapping[str, object]) -> None:
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{name}: exit code {recorded['returncode']}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
