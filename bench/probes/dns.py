"""DNS: the latency of queries one after the other, and how many per second are answered.

Latency
-------
One dig process asks the cluster's DNS Service for a Service name, many times:
one process, so that no start of a program is in the figure; the queries follow each other
(closed loop). One try of at most one second each: a lost query is a failure, not a slow answer.

Source of dig's output: its manual (BIND 9.18): ``-u`` prints query times in microseconds ("usec"),
else they are whole milliseconds ("msec"). Per answer it prints a header line with the status, one
with the number of answers, and ``;; Query time:``; a lost query prints a ``communications error``
and ``no servers could be reached`` instead. The exit code is 0 although some queries failed.

Capacity
--------
dnsperf keeps a fixed number of queries outstanding over several client sockets (closed loop at
full speed): its default of 100, since its sender sleeps too long once it has filled a small number
(5,400 queries/s with 8 outstanding, 50,300 with 100, on the same loopback). What it finds is as a
rule the limit of the DNS server or of a CPU, and the sample says so. The name has a final dot, so
no search list multiplies the queries. ``yes`` supplies dnsperf's list of queries without an end and
without a file.

Source of dnsperf's statistics: 2.10.0, ``src/dnsperf.c`` (print_statistics). Latencies are in
seconds with six decimals. A query without an answer within its time-out is lost; an answer with any
response code is completed.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bench.metrics import Note, latency_metrics, rate_metric, share_metric
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.session import CommandResult, Targets
from bench.stats import percentile
from bench.text import ParseError, latency, number, tail, tally

_GROUP = "DNS"
_SECONDS_PER_QUERY = 0.01
METRICS = (
    *latency_metrics(
        "dig",
        "query for a Service name",
        _GROUP,
        "closed loop, one query outstanding",
        (50.0, 99.0),
    ),
    share_metric("dig_failures", _GROUP, "queries lost or answered without an address"),
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
        coarse = (Note(kind="coarse-clock"),)
        return Reading(
            values={
                "dig_p50": percentile(report.microseconds, 50),
                "dig_p99": percentile(report.microseconds, 99),
                "dig_failures": 100.0 * report.failures.total() / report.queries,
            },
            warnings=tuple(warnings),
            notes={"dig_p50": coarse, "dig_p99": coarse} if report.coarse else {},
        )

    return CommandProbe(
        name="dig",
        role="dns-client",
        seconds=plan.dns_queries * _SECONDS_PER_QUERY,
        metrics=METRICS,
        argv=argv,
        parse=read,
        describe=_describe_latency,
        repeat_last=plan.dns_queries,
    )


def _describe_latency(values: Mapping[str, float]) -> str:
    failed = values["dig_failures"]
    text = f"p50 {latency(values['dig_p50'])}, p99 {latency(values['dig_p99'])}"
    return text if failed == 0 else f"{text}, {failed:.0f} % failed"


_DIG_LINE = re.compile(
    r"^;; ->>HEADER<<-.*\bstatus: (?P<status>[A-Z0-9]+)"
    r"|^;; flags:.*\bANSWER: (?P<answers>\d{1,9})"
    r"|^;; Query time: (?P<time>\d{1,18}) (?P<unit>[a-z]+)"
    r"|^;; (?:communications error to .*?: |Connection to .*? failed: )(?P<lost>.+)$",
    re.MULTILINE,
)
_DIG_UNITS = {"usec": 1, "msec": 1_000, "sec": 1_000_000}


@dataclass(frozen=True, slots=True)
class DigReport:
    """Query times of the successful answers in µs, ascending, and the failures by reason."""

    microseconds: tuple[float, ...]
    failures: Counter[str]
    coarse: bool
    """Some times were printed in milliseconds."""

    @property
    def queries(self) -> int:
        """Answered and failed."""
        return len(self.microseconds) + self.failures.total()


def parse_dig(stdout: str, expected: int, stderr: str = "") -> DigReport:
    """Read the output of ``dig`` with ``+comments +stats`` for ``expected`` queries.

    A status other than NOERROR, an answer without records and a lost query are failures; their
    times are not among ``microseconds``. Queries of which no trace is in the output (dig was
    ended early) are failures "no output".

    :raises ParseError: no query was answered, more were than asked, or a time's unit is unknown.
    """
    times: list[float] = []
    failures: Counter[str] = Counter()
    coarse = False
    status = ""
    answers = 0
    for match in _DIG_LINE.finditer(stdout):
        if match["status"] is not None:
            status, answers = match["status"], 0
        elif match["answers"] is not None:
            answers = int(match["answers"])
        elif match["lost"] is not None:
            failures[match["lost"].strip()] += 1
        else:
            unit = match["unit"]
            if unit not in _DIG_UNITS:
                raise ParseError(f"dig: unknown unit of time {unit!r}")
            coarse |= unit != "usec"
            if status == "NOERROR" and answers > 0:
                times.append(float(int(match["time"]) * _DIG_UNITS[unit]))
            else:
                failures["empty answer" if status == "NOERROR" else status or "no header"] += 1
            status, answers = "", 0
    seen = len(times) + failures.total()
    if seen > expected:
        raise ParseError(f"dig: {seen} answers for {expected} queries")
    if seen < expected:
        failures["no output"] += expected - seen
    if not times:
        said = f"; it said: {tail(stderr)}" if stderr.strip() else ""
        raise ParseError(f"dig: none of {expected} queries was answered ({tally(failures)}){said}")
    return DigReport(tuple(sorted(times)), failures, coarse)


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
        parse=_read_capacity,
        describe=_describe_capacity,
    )  # fmt: skip


def _read_capacity(result: CommandResult) -> Reading:
    load = parse_dnsperf(result.stdout, result.stderr)
    failed = load.failures.total()
    warnings = (f"{failed} of {load.sent} queries failed: {tally(load.failures)}",)
    return Reading(
        values={"dns_capacity": load.rate, "dns_capacity_failures": 100.0 * failed / load.sent},
        warnings=warnings if failed else (),
    )


def _describe_capacity(values: Mapping[str, float]) -> str:
    return f"{number(values['dns_capacity'])} queries/s"


_DNSPERF_FIELD = re.compile(
    r"^[ \t]*(?P<name>[A-Z][^:\n]+):[ \t]+(?P<value>\S.*?)[ \t]*$", re.MULTILINE
)
_DNSPERF_CODE = re.compile(r"([A-Z]\w*) (\d{1,18}) \(")
_PLAIN_NUMBER = re.compile(r"\d{1,18}(\.\d{1,18})?")
"""What dnsperf prints where it has one; nan and inf where it has divided by 0."""


@dataclass(frozen=True, slots=True)
class DnsLoad:
    """One run: good answers per second, queries sent, and the failed ones by reason."""

    rate: float
    sent: int
    failures: Counter[str]


def parse_dnsperf(stdout: str, stderr: str = "") -> DnsLoad:
    """Read a run's statistics.

    :raises ParseError: they are not complete, do not add up, or no query was answered well.
    """
    fields = {match["name"]: match["value"] for match in _DNSPERF_FIELD.finditer(stdout)}
    if "Average Latency (s)" not in fields:  # the last one that is always there
        raise ParseError(
            f"dnsperf: no complete statistics; it said: {tail(stderr) or tail(stdout) or 'nothing'}"
        )
    sent, lost = _number(fields, "Queries sent"), _number(fields, "Queries lost")
    completed, seconds = _number(fields, "Queries completed"), _number(fields, "Run time (s)")
    if sent < completed + lost:
        raise ParseError(
            f"dnsperf: {completed:.0f} queries completed and {lost:.0f} lost of {sent:.0f}"
        )
    codes = Counter(
        {code: int(n) for code, n in _DNSPERF_CODE.findall(fields.get("Response codes", ""))}
    )
    if completed != codes.total() or seconds <= 0:
        raise ParseError(
            f"dnsperf: {completed:.0f} queries completed in {seconds} s, but response codes of "
            f"{codes.total()}"
        )
    good = codes.pop("NOERROR", 0)
    failures = codes + Counter({"lost": int(lost)})
    if good == 0:
        raise ParseError(
            f"dnsperf: none of {sent:.0f} queries was answered well ({tally(failures)})"
        )
    return DnsLoad(good / seconds, int(sent), failures)


def _number(fields: Mapping[str, str], name: str) -> float:
    text = fields.get(name, "").split(" ")[0]
    if not _PLAIN_NUMBER.fullmatch(text):
        raise ParseError(f"dnsperf: {name!r} is {tail(text)!r}, not a number")
    return float(text)
