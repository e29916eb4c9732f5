"""What the two iperf3 probes share."""

from __future__ import annotations

from bench.targets import Targets
from bench.workloads import IPERF_PORT

BITS_PER_GBIT = 1e9
_CONNECT_TIMEOUT_MS = "3000"


def iperf_argv(targets: Targets, seconds: int, *options: str) -> tuple[str, ...]:
    """An iperf3 client command against the iperf3 server's pod address.

    ``-i 0``: no interval reports (nothing reads them); a server that does not answer is an error
    after three seconds.
    """
    return (
        "iperf3", "-c", targets.one("iperf3-server").ip, "-p", str(IPERF_PORT),
        "-t", str(seconds), *options,
        "-i", "0", "-J", "--connect-timeout", _CONNECT_TIMEOUT_MS,
    )  # fmt: skip
