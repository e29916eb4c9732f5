"""A run of the HTTP probe whose server is stopped for a while in its middle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.plan import Plan
from bench.probes.http import http_probe
from bench.session import CommandResult, Targets, resolve_targets
from tests.bench.netns import SERVER, NetnsSession, program

STALL_SECONDS = 0.5
_PORT = 9090


def stalled(session: NetnsSession, plan: Plan, rate: int, *, after: float) -> CommandResult:
    """Run the probe at ``rate``; ``after`` seconds into it the server stops for half a second."""
    found = resolve_targets(session)
    here = Targets(found.pods, replace(found.httpbin, port=_PORT), found.dns, found.dns_name)
    invocation = http_probe(plan, rate).invocation(here)
    with _a_server(session) as server, ThreadPoolExecutor(1) as pool:
        pod = here.one(invocation.role)
        running = pool.submit(session.run, pod, invocation.argv, timeout=30)
        time.sleep(after)
        os.kill(server, signal.SIGSTOP)
        time.sleep(STALL_SECONDS)
        os.kill(server, signal.SIGCONT)
        return running.result()


@contextmanager
def _a_server(session: NetnsSession) -> Iterator[int]:
    """A server of its own, so that stopping it stops nobody else; its PID."""
    path = program("go-httpbin")
    assert path is not None
    entered = session.spawn(
        "server", [path, "-host", SERVER, "-port", str(_PORT), "-log-level", "WARN"]
    )
    client = session.pods("fortio-client")[0]
    end = time.monotonic() + 5
    while session.run(client, ("bash", "-c", f"</dev/tcp/{SERVER}/{_PORT}"), timeout=5).returncode:
        assert time.monotonic() < end, f"the server did not start in 5 s: {entered.poll()}"
        time.sleep(0.05)
    pid = int(Path(f"/proc/{entered.pid}/task/{entered.pid}/children").read_text())
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        entered.kill()  # nsenter stops when its child does, and stays stopped
        entered.wait()
