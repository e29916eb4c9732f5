"""A gap of known length in what leaves a device, and a client that is stopped, under load.

The device's queue drops everything for a while, which the load knows nothing of. By netlink, from
this process, so that its length is known to some tens of microseconds: that of ``tc`` would be
known to the milliseconds that a program takes to start.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bench.workloads import TURNS_ECHO_PORT
from lab.sandbox import network_namespace
from studies.experiments.disrupt.load import CONNECTIONS, CONTROL, Aim, plan
from tests.bench.netns import DNS_PORT, SERVER, NetnsSession, program

_NEW_QDISC, _DEL_QDISC = 36, 37  # rtnetlink.h
_REQUEST, _ACK, _CREATE, _EXCL = 0x1, 0x4, 0x400, 0x200  # netlink.h
_ROOT = 0xFFFF_FFFF
_KIND = 1  # TCA_KIND


def black_out(namespace: Path, device: str, seconds: float) -> float:
    """Drop all that leaves a device for so many seconds.

    :returns: how long it really was, in seconds.
    """
    with network_namespace(namespace):
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        index = socket.if_nametoindex(device)
    with netlink:
        _ask(netlink, index, _NEW_QDISC, _CREATE | _EXCL)
        start = time.monotonic()
        try:
            time.sleep(seconds)
        finally:
            _ask(netlink, index, _DEL_QDISC, 0)
            end = time.monotonic()
    return end - start


def _ask(netlink: socket.socket, index: int, what: int, flags: int) -> None:
    kind = b"blackhole\0"  # sch_blackhole: it drops what it is given
    attribute = struct.pack("=HH", 4 + len(kind), _KIND) + kind.ljust(12, b"\0")
    body = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, _ROOT, 0) + attribute
    netlink.send(struct.pack("=IHHII", 16 + len(body), what, flags | _REQUEST | _ACK, 1, 0) + body)
    answer = netlink.recv(4096)
    (error,) = struct.unpack_from("=i", answer, 16)
    if error:
        raise OSError(-error, os.strerror(-error), errno.errorcode.get(-error))


# -- recordings -----------------------------------------------------------------------------------

FIXTURES = Path(__file__).parents[1] / "fixtures" / "bench"
LEAD_SECONDS = 1.0


@dataclass(frozen=True)
class Told:
    """What a load has written, and what was done to it: when that began (wall clock, seconds), and
    for how many seconds."""

    output: str
    began: float
    seconds: float


def aims() -> list[Aim]:
    """What a client asks a server in the namespace beside it, without any Service."""
    echo = f"{SERVER}:{TURNS_ECHO_PORT}"
    return [
        Aim("kept", "kept", echo, connections=CONNECTIONS),
        Aim("new", "new", echo),
        Aim("dns", "dns", f"{SERVER}:{DNS_PORT}", host="kubernetes.default.svc.cluster.local."),
        Aim("udp", "udp", echo),
        Aim(CONTROL, "kept", f"127.0.0.1:{TURNS_ECHO_PORT}"),
    ]


@contextmanager
def loaded() -> Iterator[NetnsSession]:
    """Two namespaces, with a server for the client's control path."""
    with NetnsSession() as session:
        path = program("turns")
        assert path is not None
        session.spawn("client", [path, "serve", "-host", "127.0.0.1"])
        yield session


def told(session: NetnsSession, seconds: float, meanwhile: Callable[[], float]) -> Told:
    """A load of so many seconds, and what was done to it after one."""
    pod = session.pods("iperf3-client")[0]
    argv = ("turns", "load", plan(aims(), seconds=seconds, cpu=-1))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, pod, argv, timeout=seconds + 20)
        time.sleep(LEAD_SECONDS)
        began = time.time()
        lasted = meanwhile()
        done = running.result()
    assert done.returncode == 0, done.stderr
    return Told(done.stdout, began, lasted)


def stopped(seconds: float, asks: str = SERVER) -> float:
    """Stop the load that this process has started for so many seconds; how long that was.

    :param asks: a part of its plan, by which it is known.
    """
    started = psutil.Process().children(recursive=True)
    (load,) = (
        each for each in started if each.cmdline()[1:2] == ["load"] and asks in each.cmdline()[2]
    )
    load.suspend()
    start = time.monotonic()
    time.sleep(seconds)
    load.resume()
    seconds = time.monotonic() - start
    # What has entered its namespaces stops when its child does, and stays stopped.
    for each in started:
        each.resume()
    return seconds


def main() -> None:
    """Record the fixtures of test_disrupt_load.py anew."""
    with loaded() as session:
        namespace = session.namespace("client")
        for name, seconds, meanwhile in (
            ("load-gap-100ms", 1.6, lambda: black_out(namespace, "eth0", 0.1)),
            ("load-gap-1s", 3.8, lambda: black_out(namespace, "eth0", 1.0)),
            ("load-stopped-200ms", 1.6, lambda: stopped(0.2)),
        ):
            made = json.dumps(asdict(told(session, seconds, meanwhile)))
            (FIXTURES / f"{name}.json").write_text(made + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
