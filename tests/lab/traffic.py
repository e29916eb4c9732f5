"""Traffic that goes on while a test does something to a lab."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

from bench.session import Pod
from tests.lab.eni import EniLab


@contextmanager
def traffic(lab: EniLab, server: Pod, seconds: int) -> Iterator[Callable[[], dict[str, int]]]:
    """A new connection to a pod fifty times a second; gives the answers by code at the end."""
    client = lab.running.pod("fortio-client")
    load = ["fortio", "load", "-quiet", "-json", "-", "-c", "2", "-qps", "50", "-keepalive=false"]
    load += ["-timeout", "2s", "-t", f"{seconds}s", f"http://{server.ip}:8080/status/200"]
    words = lab.running.lab.pod_command(client.name, client.node, load, seconds + 30)
    with Popen(words, stdout=PIPE, text=True) as process:

        def codes() -> dict[str, int]:
            shown, _ = process.communicate()
            found: dict[str, int] = json.loads(shown)["RetCodes"]
            return found

        yield codes
