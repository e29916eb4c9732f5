"""How much is measured: the profiles, and a user's own numbers in place of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

MAX_RUNS = 1_000
MAX_SECONDS = 3_600
MAX_RATE = 1_000_000
MAX_CONNECTIONS = 10_000
ALLOWABLE = (
    "placement",
    "configuration",
    "congestion-control",
    "mtu",
    "service-path",
    "softirqs",
    "bpf-statistics",
    "clocks",
    "quiet-agents",
    "quiet-machine",
    "allowances",
    "generator",
)
"""Preconditions (:mod:`bench.checks`) that a user may let fail; the results are marked then. The
others (programs, endpoints) leave nothing to measure."""


class PlanError(ValueError):
    """A profile or an override that makes no sense; the message says which, why and what would."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides which commands are run, and how often.

    ``turn_seconds`` are those of each operation in turns, for each side that takes part, times the
    operation's own share (:class:`bench.probes.turns.Kind`); a second has some hundred turns. Other
    durations are whole seconds (iperf3 takes no other) of one run of one probe. ``latency`` is for
    the round trips without load and during a bulk transfer, ``idle`` for the CPU window without
    load, ``warmup`` for each of the discarded first runs, ``settle`` is how long to wait at most
    for a quiet machine before anything is measured. Rates are requests per second.

    At the fixed HTTP rates ``from_due_times`` counts latency from when a request was due, and
    ``stagger`` spreads the connections over one period (fortio's ``-uniform``); the published study
    did neither, so its 32 requests left together and hid what a stall delayed.

    Without ``tools`` there is what is measured in turns, and the agents' idle cost: what costs time
    without deciding anything is left out. With ``tool_latencies`` fortio and dig also measure, one
    path at a time, what turns measure.
    ``connect_count`` connections are opened one after the other, ``connect_max_count`` by
    ``connect_max_connections`` at once; counts, not durations, since each leaves an entry in
    connection-tracking tables. The search for the highest UDP rate makes some
    ``udp_search_trials`` trials of ``udp_search_seconds``. ``allow`` names the preconditions that
    may fail (:data:`ALLOWABLE`).
    """

    profile: str
    runs: int
    bulk_seconds: int
    http_seconds: int
    latency_seconds: int
    idle_seconds: int
    turn_seconds: float
    warmup_seconds: int = 1
    settle_seconds: int = 30
    http_rates: tuple[int, ...] = (1000, 5000)
    http_connections: int = 32
    http_max_connections: int = 64
    stagger: bool = True
    from_due_times: bool = True
    connect_count: int = 1_000
    connect_max_count: int = 3_000
    connect_max_connections: int = 16
    tcp_streams: int = 8
    udp_bitrate: str = "10G"
    udp_loss_limit_percent: float = 0.1
    udp_search_trials: int = 6
    udp_search_seconds: float = 0.4
    dns_queries: int = 100
    dns_capacity_seconds: int = 1
    dns_capacity_clients: int = 8
    dns_capacity_outstanding: int = 100
    calibration_seconds: int = 1
    tools: bool = True
    tool_latencies: bool = False
    attempts: int = 3
    allow: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-able data, for the results."""
        return asdict(self) | {"http_rates": list(self.http_rates), "allow": list(self.allow)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Plan":
        """The plan that :meth:`as_dict` wrote."""
        tuples = {"http_rates": tuple(data["http_rates"]), "allow": tuple(data["allow"])}
        return cls(**{**data, **tuples})


def _lasting(plan: Plan, seconds: int) -> Plan:
    """A plan whose probes run for so long each."""
    return replace(
        plan,
        bulk_seconds=seconds,
        http_seconds=seconds,
        latency_seconds=seconds,
        idle_seconds=seconds,
    )


# For a first look, on any machine: one that is busy with other things marks its results instead of
# having none. The other profiles' numbers are meant for others to rely on.
_QUICK = Plan(
    "quick",
    runs=3,
    bulk_seconds=1,
    http_seconds=1,
    latency_seconds=1,
    idle_seconds=1,
    turn_seconds=0.4,
    settle_seconds=10,
    allow=("generator", "quiet-agents", "quiet-machine", "softirqs"),
)
_STANDARD = Plan(
    "standard",
    runs=5,
    bulk_seconds=10,
    http_seconds=10,
    latency_seconds=10,
    idle_seconds=10,
    turn_seconds=1.6,
    settle_seconds=120,
    connect_count=5_000,
    connect_max_count=10_000,
    udp_search_trials=8,
    udp_search_seconds=2.0,
    dns_capacity_seconds=5,
    calibration_seconds=3,
)
_PUBLISHED = replace(
    _lasting(_STANDARD, 30),
    profile="published",
    runs=3,
    stagger=False,
    from_due_times=False,
    tool_latencies=True,
)
_TURN_SECONDS = 1.0
"""At least, of a comparison over bring-ups: to bring five scenarios up takes a minute or two, and
this makes a minute and a half of turns that decide."""
PROFILES = {plan.profile: plan for plan in (_QUICK, _STANDARD, _PUBLISHED)}
"""``published`` has the parameters of the published study (``-t 30 -P 8``, ``-u -b 10G``, fortio
``-c 32`` at 1,000 and 5,000, ``-c 64`` at the maximum, 100 DNS queries, 3 runs)."""


def plan_for(
    profile: str,
    *,
    runs: int | None = None,
    seconds: int | None = None,
    http_rates: Sequence[int] | None = None,
    http_connections: int | None = None,
    allow: Sequence[str] = (),
) -> Plan:
    """A profile's plan, with a user's numbers in place of the profile's.

    :param runs: samples per metric, 1 to 1,000.
    :param seconds: length of every probe's run but those in turns, 1 to 3,600.
    :param http_rates: the fixed HTTP rates in requests/s: one or more different whole numbers,
        in any order; they name the metrics (``http_<rate>_…``).
    :param http_connections: at the fixed rates, 1 to 10,000.
    :param allow: preconditions that may fail, beside those of the profile.
    :raises PlanError: an unknown profile or an impossible number.
    """
    plan = PROFILES.get(profile)
    if plan is None:
        raise PlanError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    if runs is not None:
        plan = replace(plan, runs=_whole("runs", runs, MAX_RUNS))
    if seconds is not None:
        plan = _lasting(plan, _whole("seconds", seconds, MAX_SECONDS))
    if http_rates is not None:
        plan = replace(plan, http_rates=_rates(http_rates))
    if http_connections is not None:
        number = _whole("HTTP connections", http_connections, MAX_CONNECTIONS)
        plan = replace(plan, http_connections=number)
    return replace(plan, allow=tuple(dict.fromkeys((*plan.allow, *_allowed(allow)))))


def over_bring_ups(plan: Plan) -> Plan:
    """The plan for a comparison that brings up anew for every round or two."""
    return replace(plan, turn_seconds=max(plan.turn_seconds, _TURN_SECONDS))


def _allowed(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in ALLOWABLE:
            raise PlanError(f"no precondition {name!r} to allow: choose of {', '.join(ALLOWABLE)}")
    return tuple(dict.fromkeys(names))


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
