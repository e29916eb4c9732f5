"""The probes, one file each, and the list of those that a plan runs."""

from __future__ import annotations

from collections.abc import Sequence

from bench.plan import Plan
from bench.probes.base import Probe
from bench.probes.connect import connect_max_probe, connect_probe
from bench.probes.cost import UnderLoad, idle_probe
from bench.probes.dns import dns_capacity_probe, dns_probe
from bench.probes.http import http_probe
from bench.probes.rtt import loaded_probe, rtt_probe
from bench.probes.tcp import PerGigabyte, tcp_probe
from bench.probes.udp import SocketLoss, udp_probe, udp_search_probe


def build_probes(plan: Plan, components: Sequence[str] = ()) -> tuple[Probe, ...]:
    """The probes of one round, light ones first so that none runs in a heavy one's wake.

    The CNI's cost under load is taken at the highest fixed HTTP rate: the same work for every
    scenario, which full speed is not.

    :param components: the CNI's parts whose CPU is told one by one (:func:`cost.components_of`).
    """
    fixed: list[Probe] = [http_probe(plan, rate) for rate in plan.http_rates]
    fixed[-1] = UnderLoad(fixed[-1], tuple(components))
    return (
        idle_probe(plan),
        dns_probe(plan),
        rtt_probe(plan),
        connect_probe(plan),
        *fixed,
        connect_max_probe(plan),
        dns_capacity_probe(plan),
        http_probe(plan, None),
        loaded_probe(plan),
        PerGigabyte(tcp_probe(plan)),
        udp_search_probe(plan),
        SocketLoss(udp_probe(plan)),
    )


def warmup_probes(plan: Plan) -> tuple[Probe, ...]:
    """Probes whose readings are thrown away: caches, connection tracking and CPU clocks warm up.

    :param plan: with the warm-up's own (short) durations.
    """
    return (http_probe(plan, None), tcp_probe(plan))
