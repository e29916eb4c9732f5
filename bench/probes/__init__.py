"""The probes, a module each with its parser, and the registry of those that a plan runs."""

from collections.abc import Callable, Iterable

from bench.plan import Plan
from bench.probes.base import Probe
from bench.probes.cost import UnderLoad, idle_probe
from bench.probes.dns import dns_capacity_probe, dns_probe
from bench.probes.http import connect_max_probe, connect_probe, http_probe
from bench.probes.iperf import PerGigabyte, tcp_probe
from bench.probes.rtt import loaded_probe, rtt_probe
from bench.probes.turns import turn_probes
from bench.probes.udp import SocketLoss, udp_flows_probe, udp_probe, udp_search_probe

Builder = Callable[[Plan], Probe]


def build_probes(plan: Plan, components: Iterable[str] = ()) -> tuple[Probe, ...]:
    """The probes of one round.

    The CNI's cost under load is taken at the highest fixed HTTP rate: the same work for every
    scenario, which full speed is not.

    :param components: the CNI's parts whose CPU is told one by one (:func:`cost.components_of`).
    """
    decisive = (*turn_probes(plan), *(build(plan) for build in LIGHT_PROBES))
    if not plan.tools:
        return decisive
    fixed: list[Probe] = [http_probe(plan, rate) for rate in plan.http_rates]
    fixed[-1] = UnderLoad(fixed[-1], tuple(components))
    return (
        *decisive,
        *(build(plan) for build in TOOL_PROBES if plan.tool_latencies),
        *fixed,
        *(build(plan) for build in HEAVY_PROBES),
    )


LIGHT_PROBES: tuple[Builder, ...] = (idle_probe,)
"""They run before the fixed HTTP rates, so that none runs in a heavy one's wake."""
TOOL_PROBES: tuple[Builder, ...] = (dns_probe, rtt_probe, connect_probe)
"""What turns measure, by fortio and dig as the published study did: of one path at a time."""
HEAVY_PROBES: tuple[Builder, ...] = (
    connect_max_probe,
    dns_capacity_probe,
    lambda plan: http_probe(plan, None),
    loaded_probe,
    lambda plan: PerGigabyte(tcp_probe(plan)),
    udp_search_probe,
    lambda plan: SocketLoss(udp_probe(plan)),
)
FLOWS_PROBES: tuple[Builder, ...] = (udp_flows_probe,)
"""They run last, where a cloud bounds a single flow (:class:`bench.environment.NetworkLimits`)."""


def warmup_probes(plan: Plan) -> tuple[Probe, ...]:
    """Probes whose readings are thrown away: caches, connection tracking and CPU clocks warm up.

    Each runs in a pod of its own.

    :param plan: with the warm-up's own (short) durations.
    """
    return (http_probe(plan, None), tcp_probe(plan))
