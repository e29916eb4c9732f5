"""DNS capacity: how many queries per second the cluster's DNS Service answers.

dnsperf keeps a fixed number of queries outstanding over several client sockets (closed loop at
full speed): its default of 100, since its sender sleeps too long once it has filled a small number
(5,400 queries/s with 8 outstanding, 50,300 with 100, on the same loopback). What it finds is as a
rule the limit of the DNS server or of a CPU, and the sample says so. The name has a final dot, so
no search list multiplies the queries. ``yes`` supplies dnsperf's list of queries without an end and
without a file.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import rate_metric, share_metric
from bench.parse.dnsperf import parse_dnsperf
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.session import CommandResult
from bench.targets import Targets
from bench.text import number, tally

_GROUP = "DNS"
_TIMEOUT_SECONDS = 1


def dns_capacity_probe(plan: Plan) -> CommandProbe:
    """The DNS capacity probe of a plan."""
    clients, outstanding = plan.dns_capacity_clients, plan.dns_capacity_outstanding

    def argv(targets: Targets) -> tuple[str, ...]:
        dnsperf = (
            f"dnsperf -s {targets.dns.host} -p {targets.dns.port} -c {clients} "
            f"-q {outstanding} -t {_TIMEOUT_SECONDS} -l {plan.dns_capacity_seconds}"
        )
        return ("sh", "-c", f"yes '{targets.dns_name} A' | {dnsperf}")

    return CommandProbe(
        name="dns_capacity",
        role="dnsperf-client",
        seconds=plan.dns_capacity_seconds,
        metrics=(
            rate_metric(
                "dns_capacity", _GROUP, "queries for a Service name answered well",
                f"closed loop at full speed, {outstanding} queries on {clients} sockets at a time",
            ),
            share_metric("dns_capacity_failures", _GROUP, "queries that failed, at full speed"),
        ),
        argv=argv,
        parse=_read,
        describe=_describe,
    )  # fmt: skip


def _read(result: CommandResult) -> Reading:
    load = parse_dnsperf(result.stdout, result.stderr)
    failed = load.failures.total()
    warnings = (f"{failed} of {load.sent} queries failed: {tally(load.failures)}",)
    return Reading(
        values={"dns_capacity": load.rate, "dns_capacity_failures": 100.0 * failed / load.sent},
        warnings=warnings if failed else (),
    )


def _describe(values: Mapping[str, float]) -> str:
    return f"{number(values['dns_capacity'])} queries/s"
