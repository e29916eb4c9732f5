"""What the two iperf3 probes share."""

from __future__ import annotations

import re

from bench.limits import FULL, Limit, LimitedBy
from bench.parse.iperf import CpuShare
from bench.targets import Targets
from bench.workloads import IPERF_PORT

BITS_PER_GBIT = 1e9
BYTES_PER_GB = 1e9
_CONNECT_TIMEOUT_MS = "3000"


def iperf_argv(
    targets: Targets, seconds: int | None, *options: str, interval: float = 0
) -> tuple[str, ...]:
    """An iperf3 client command against the iperf3 server's pod address.

    A server that does not answer is an error after three seconds.

    :param seconds: how long it runs; None where ``options`` say how much to send.
    :param interval: seconds between interval reports, 0 for none.
    """
    length = () if seconds is None else ("-t", str(seconds))
    return (
        "iperf3", "-c", targets.one("iperf3-server").ip, "-p", str(IPERF_PORT), *length, *options,
        "-i", f"{interval:g}", "-J", "--connect-timeout", _CONNECT_TIMEOUT_MS,
    )  # fmt: skip


def limit_of(cpu: CpuShare, threads: int) -> Limit | None:
    """Which end of a run had no CPU left, by iperf3's own account; None where neither.

    :param threads: how many CPUs an end can use: one, or one per stream from iperf3 3.16 on.
    """
    ends: tuple[tuple[LimitedBy, float], ...] = (
        ("server", cpu.remote_total),
        ("client", cpu.host_total),
    )
    for end, percent in ends:
        if percent >= 100 * FULL * threads:
            return Limit(end, f"iperf3's {end} used {percent:.0f} % of a CPU, of {threads * 100} %")
    return None


def threads_of(version: str, streams: int) -> int:
    """CPUs that an end of this version can use: it has a thread per stream since 3.16."""
    found = re.search(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) >= (3, 16):
        return streams
    return 1
