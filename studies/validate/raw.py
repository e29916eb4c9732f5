"""The tools' outputs read by other code than the benchmark's, a line or two per figure.

As one would by hand with jq, grep and awk: nothing of :mod:`bench.probes` is used, nothing is
checked. Figures are in the metrics' units.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from bench.session import CommandResult

Reader = Callable[[str], float]


def _iperf3(text: str) -> Any:
    return json.loads(text)["end"]


def _fortio_p50(histogram: str) -> Reader:
    def read(text: str) -> float:
        percentiles = json.loads(text)[histogram]["Percentiles"]
        return float(next(1e6 * p["Value"] for p in percentiles if p["Percentile"] == 50))

    return read


def _fortio_log_p50(text: str) -> float:
    """From when each request was due, where its connection was still busy then."""
    log, _, rest = text.partition("\n{\n")
    result = json.loads("{" + rest)
    step = 1e9 * result["NumThreads"] / float(result["RequestedQPS"])
    rows = sorted(map(json.loads, log.splitlines()), key=lambda row: int(row["iter"]))
    threads: dict[int, list[tuple[int, float]]] = {}
    for row in rows:
        sent = row["timestamp"] - rows[0]["timestamp"]
        threads.setdefault(row["thread"], []).append((sent, 1e9 * row["latency"]))
    latencies: list[float] = []
    for calls in threads.values():
        due = [step * i * (1 + 1 / max(1, len(calls) - 1)) for i in range(len(calls))]
        start = min(sent - due[i] for i, (sent, _) in enumerate(calls))
        ended = -math.inf
        for i, (sent, took) in enumerate(calls):
            late = sent - start - due[i]
            latencies.append(took + late * (ended > start + due[i]))
            ended = sent + took
    return statistics.median(latencies) / 1e3


def _dig_p50(text: str) -> float:
    return statistics.median(map(int, re.findall(r"^;; Query time: (\d+) usec", text, re.M)))


READERS: Mapping[str, Reader] = {
    "tcp_throughput": lambda text: _iperf3(text)["sum_received"]["bits_per_second"] / 1e9,
    "udp_goodput": lambda text: _iperf3(text)["sum_received"]["bits_per_second"] / 1e9,
    "udp_loss": lambda text: _iperf3(text)["sum_received"]["lost_percent"],
    "rtt_p50": _fortio_p50("DurationHistogram"),
    "connect_p50": _fortio_p50("ConnectionStats"),
    "http_200_p50": _fortio_log_p50,
    "http_max_qps": lambda text: json.loads(text)["ActualQPS"],
    "http_max_p50": _fortio_p50("DurationHistogram"),
    "dns_p50": _dig_p50,
}


def read(metric: str, result: CommandResult) -> float:
    """One figure of one output, by hand.

    :raises Exception: whatever goes wrong: the output is not what it should be.
    """
    return float(READERS[metric](result.stdout))
