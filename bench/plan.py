"""How much is measured: the profiles, and a user's own numbers in place of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

MAX_RUNS = 1_000
MAX_SECONDS = 3_600
MAX_RATE = 1_000_000
MAX_CONNECTIONS = 10_000


class PlanError(ValueError):
    """A profile or an override that makes no sense; the message says which, why and what would."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides which commands are run, and how often.

    Durations are whole seconds (iperf3 takes no other) of one run of one probe. ``latency`` is
    for the unloaded probes (round trip, connection setup), ``idle`` for the CPU window without
    load, ``warmup`` for each of the discarded first runs. Rates are requests per second.
    ``stagger`` spreads the connections' start over one period (fortio's ``-uniform``); the
    published study did not, so its 32 requests left together.
    """

    profile: str
    runs: int
    bulk_seconds: int
    http_seconds: int
    latency_seconds: int
    idle_seconds: int
    warmup_seconds: int = 1
    http_rates: tuple[int, ...] = (1000, 5000)
    http_connections: int = 32
    http_max_connections: int = 64
    stagger: bool = True
    connect_rate: int = 1000
    connect_connections: int = 4
    tcp_streams: int = 8
    udp_bitrate: str = "10G"
    dns_queries: int = 100
    attempts: int = 3

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-able data, for the results."""
        return asdict(self) | {"http_rates": list(self.http_rates)}


PROFILES: dict[str, Plan] = {
    "quick": Plan(
        "quick", runs=3, bulk_seconds=2, http_seconds=2, latency_seconds=1, idle_seconds=1
    ),
    "standard": Plan(
        "standard", runs=5, bulk_seconds=10, http_seconds=10, latency_seconds=10, idle_seconds=10
    ),
    "published": Plan(
        "published",
        runs=3,
        bulk_seconds=30,
        http_seconds=30,
        latency_seconds=30,
        idle_seconds=30,
        stagger=False,
    ),
}
"""``published`` has the parameters of the published study (``-t 30 -P 8``, ``-u -b 10G``, fortio
``-c 32`` at 1,000 and 5,000, ``-c 64`` at the maximum, 100 DNS queries, 3 runs)."""


def plan_for(
    profile: str,
    *,
    runs: int | None = None,
    seconds: int | None = None,
    http_rates: Sequence[int] | None = None,
    http_connections: int | None = None,
) -> Plan:
    """A profile's plan, with a user's numbers in place of the profile's.

    :param runs: samples per metric, 1 to 1,000.
    :param seconds: length of every probe's run, 1 to 3,600.
    :param http_rates: the fixed HTTP rates in requests/s: one or more different whole numbers,
        in any order; they name the metrics (``http_<rate>_…``).
    :param http_connections: at the fixed rates, 1 to 10,000.
    :raises PlanError: an unknown profile or an impossible number.
    """
    plan = PROFILES.get(profile)
    if plan is None:
        raise PlanError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    if runs is not None:
        plan = replace(plan, runs=_whole("runs", runs, MAX_RUNS))
    if seconds is not None:
        length = _whole("seconds", seconds, MAX_SECONDS)
        plan = replace(
            plan,
            bulk_seconds=length,
            http_seconds=length,
            latency_seconds=length,
            idle_seconds=length,
        )
    if http_rates is not None:
        plan = replace(plan, http_rates=_rates(http_rates))
    if http_connections is not None:
        number = _whole("HTTP connections", http_connections, MAX_CONNECTIONS)
        plan = replace(plan, http_connections=number)
    return plan


def _rates(rates: Sequence[int]) -> tuple[int, ...]:
    if isinstance(rates, str) or not rates:
        raise PlanError(f"HTTP rates must be a list of one or more numbers, got {rates!r}")
    checked = tuple(sorted(_whole("an HTTP rate", rate, MAX_RATE) for rate in rates))
    if len(set(checked)) != len(checked):
        raise PlanError(f"HTTP rates must differ from each other, got {list(rates)}")
    return checked


def _whole(name: str, value: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= highest:
        raise PlanError(f"{name} must be a whole number from 1 to {highest:,}, got {value!r}")
    return value
