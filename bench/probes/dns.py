"""DNS latency: one dig process asks the cluster's DNS Service for a Service name, many times.

One process, so that no start of a program is in the figure; the queries follow each other
(closed loop). One try of at most one second each: a lost query is a failure, not a slow answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import latency_metrics, share_metric
from bench.parse.dig import parse_dig
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.session import CommandResult
from bench.stats import percentile
from bench.targets import Targets
from bench.text import latency, tally

_GROUP = "DNS"
_SECONDS_PER_QUERY = 0.01
METRICS = (
    *latency_metrics(
        "dns",
        "query for a Service name",
        _GROUP,
        "closed loop, one query outstanding",
        (50.0, 99.0),
    ),
    share_metric("dns_failures", _GROUP, "queries lost or answered without an address"),
)


def dns_probe(plan: Plan) -> CommandProbe:
    """The DNS probe of a plan."""

    def argv(targets: Targets) -> tuple[str, ...]:
        return (
            "dig", f"@{targets.dns.host}", "-p", str(targets.dns.port), "-u",
            "+tries=1", "+time=1", "+noall", "+comments", "+stats", targets.dns_name,
        )  # fmt: skip

    def read(result: CommandResult) -> Reading:
        report = parse_dig(result.stdout, plan.dns_queries, result.stderr)
        warnings = []
        if report.failures:
            warnings.append(
                f"{report.failures.total()} of {report.queries} queries failed: "
                f"{tally(report.failures)}"
            )
        coarse = "this dig prints whole milliseconds only"
        return Reading(
            values={
                "dns_p50": percentile(report.microseconds, 50),
                "dns_p99": percentile(report.microseconds, 99),
                "dns_failures": 100.0 * report.failures.total() / report.queries,
            },
            warnings=tuple(warnings),
            notes={"dns_p50": coarse, "dns_p99": coarse} if report.coarse else {},
        )

    return CommandProbe(
        name="dns",
        role="dns-client",
        seconds=plan.dns_queries * _SECONDS_PER_QUERY,
        metrics=METRICS,
        argv=argv,
        parse=read,
        describe=_describe,
        repeat_last=plan.dns_queries,
    )


def _describe(values: Mapping[str, float]) -> str:
    failed = values["dns_failures"]
    text = f"p50 {latency(values['dns_p50'])}, p99 {latency(values['dns_p99'])}"
    return text if failed == 0 else f"{text}, {failed:.0f} % failed"
