"""Records what the real programs print, as fixtures for the parsers and the fake session.

Run ``python -m tests.bench.record`` from the project's root, as root, with the programs built and
a CoreDNS that has the ``hosts``, ``erratic`` and ``template`` plugins as ``$COREDNS`` (the upstream
build has them). Each file holds one command's argv, exit code and output; a long standard error
is cut to its end.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.probes.base import Invocation
from bench.probes.connect import connect_probe
from bench.probes.dns import dns_probe
from bench.probes.http import http_probe
from bench.probes.rtt import rtt_probe
from bench.probes.tcp import tcp_probe
from bench.probes.udp import udp_probe
from bench.session import Pod
from bench.targets import Targets, resolve_targets
from tests.bench.fakes import FOLDER, PLAN
from tests.bench.netns import SERVER, NetnsSession

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
_LOAD = ("fortio", "load", "-quiet", "-json", "-", "-p", "50,90,99,99.9", "-c", "4")
_LOG = ("-access-log-file", "/dev/stdout", "-qps", "100", "-t", "1s")


def commands(targets: Targets) -> Iterator[tuple[str, Invocation]]:
    """What is recorded, by file name."""
    yield "iperf3-version", Invocation("iperf3-client", ("iperf3", "--version"))
    yield "fortio-version", Invocation("fortio-client", ("fortio", "version"))
    yield "dig-version", Invocation("dns-client", ("dig", "-v"))
    for name, probe in (
        ("iperf3-tcp", tcp_probe(PLAN)),
        ("iperf3-udp", udp_probe(PLAN)),
        ("fortio-tcp", rtt_probe(PLAN)),
        ("fortio-http-100", http_probe(PLAN, 100)),
        ("fortio-http-max", http_probe(PLAN, None)),
        ("fortio-connect", connect_probe(PLAN)),
        ("dig-answers", dns_probe(PLAN)),
    ):
        yield name, probe.invocation(targets)
    httpbin = f"http://{SERVER}:{targets.httpbin.port}"
    yield (
        "fortio-some-errors",
        _fortio(*_LOG, "-allow-initial-errors", f"{httpbin}/unstable?failure_rate=0.3"),
    )
    yield "fortio-warmup-error", _fortio(*_LOG, f"{httpbin}/status/503")
    yield "fortio-all-failed", _fortio("-qps", "100", "-t", "1s", f"tcp://{SERVER}:9")
    yield "fortio-http-refused", _fortio("-qps", "0", "-n", "4", f"http://{SERVER}:9/get")
    yield "iperf3-refused", _iperf("-p", "9", "-t", "1")
    yield "dig-mixed", _dig("-u", _NAME, "slow.test.", "slow.test.", "broken.test.",
                            "absent.test.", "empty.test.", _NAME)  # fmt: skip
    yield "dig-one", _dig("-u", _NAME)
    yield "dig-refused", _dig("-u", "-p", "9", _NAME, _NAME)
    yield "dig-milliseconds", _dig(_NAME, _NAME, _NAME)


def _fortio(*options: str) -> Invocation:
    return Invocation("fortio-client", (*_LOAD, *options))


def _iperf(*options: str) -> Invocation:
    return Invocation("iperf3-client", ("iperf3", "-c", SERVER, "-i", "0", "-J", *options))


def _dig(*options: str) -> Invocation:
    return Invocation("dns-client", (*_DIG, *options))


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
        pod = targets.one("iperf3-client")
        session.spawn("client", ["iperf3", "-c", SERVER, "-t", "2"])
        time.sleep(1)
        _save("iperf3-busy", _recorded(session, pod, _iperf("-t", "1")))
    return 0


def _recorded(session: NetnsSession, pod: Pod, invocation: Invocation) -> Mapping[str, object]:
    result = session.run(pod, invocation.full(), timeout=30)
    return {
        "argv": list(invocation.full()),
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
