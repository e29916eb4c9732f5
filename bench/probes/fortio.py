"""What the fortio probes share: the command's frame, and readings from a run.

Where percentiles come from
---------------------------
fortio keeps latencies in a histogram and interpolates inside its buckets. With its default
resolution (``-r 0.001``) everything below 1 ms is one bucket: a round trip whose median was 14 µs
was printed as 507 µs. With a resolution that suits the values the buckets are 8 to 25 % wide, and
compared with the same runs' request logs (three runs each on two namespaces, 3,000 to 60,000
requests) the largest errors were

===================  =======  ======  ======  ======
run                  ``-r``     p50     p99   p99.9
===================  =======  ======  ======  ======
echo, closed loop       1 µs   2.3 %   1.8 %    12 %
HTTP, 1,000/s          50 µs   1.8 %   2.2 %     2 %
HTTP, 5,000/s          50 µs   1.2 %   6.9 %     1 %
HTTP, full speed       50 µs   0.5 %    14 %    16 %
===================  =======  ======  ======  ======

and 5 to 30 % where a value fell into a wide bucket. A monotone cubic through the cumulative counts
was no better overall, so where the histogram is used its percentiles are fortio's own.

At fixed rates latencies come from fortio's request log on standard output instead: each request,
exact to 1 µs, and when it was sent, so that it can be counted from when it was due
(:mod:`bench.parse.schedule`). The log costs fortio 3 to 13 µs of CPU per request, outside the
latency, and the reader at the other end of the pipe 29 µs per request at 1,000/s and 11 µs at
5,000/s: 3 and 6 % of one core. On a quiet two-core machine p50 was then within 4 % either way at
1,000/s, and 3 % higher (four pairs: -4, -2, +7, +14 %) at 5,000/s. At full speed the log would cost
15 to 36 % of the rate, and in the one-connection closed loop its reader wakes between any two
requests: there the histogram is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.metrics import percentile_suffix
from bench.parse.fortio import Load, Quantile, parse_load
from bench.parse.schedule import OnSchedule, Schedule
from bench.probes.base import Reading
from bench.session import CommandResult
from bench.stats import percentile
from bench.text import number, tally

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
ENOUGH_OF_RATE = 0.95
LATE_US = 5_000.0
"""A request that leaves so much after it was due, although its connection is free, is late. The
timers of an idle Go program are up to a millisecond late, by the resolution of its poller; what is
more is a want of CPU."""
LATE_SHARE = 0.01
COARSE_SPREAD = 0.26
"""A histogram bucket wider than this share of the value (fortio's regular ones are not)."""


def fortio_argv(
    url: str,
    *options: str,
    seconds: float | None = None,
    count: int | None = None,
    connections: int,
    rate: int | None,
    resolution_us: float | None,
) -> tuple[str, ...]:
    """A ``fortio load`` command that prints its JSON result on standard output.

    :param seconds: how long it runs, or
    :param count: how many requests it makes.
    :param rate: requests/s over all connections; None is as fast as answers come.
    :param resolution_us: width of the histogram's finest buckets (``-r``) in µs; None asks for
        the request log instead.
    """
    if resolution_us is None:
        latencies: tuple[str, ...] = ("-access-log-file", "/dev/stdout")
    else:
        latencies = ("-r", f"{resolution_us / 1e6:.7f}".rstrip("0"))
    until = ("-n", str(count)) if seconds is None else ("-t", f"{seconds}s")
    return (
        "fortio", "load", "-quiet", "-json", "-",
        "-p", ",".join(f"{q:g}" for q in PERCENTILES), *latencies,
        "-c", str(connections), "-qps", str(rate or 0), *until, *options, url,
    )  # fmt: skip


def load_of(
    result: CommandResult, *, request_log: bool = False, schedule: Schedule | None = None
) -> Load:
    """Parse a run of :func:`fortio_argv`.

    :raises ParseError: see :func:`bench.parse.fortio.parse_load`.
    """
    return parse_load(
        result.stdout,
        result.stderr,
        percentiles=PERCENTILES,
        request_log=request_log,
        schedule=schedule,
    )


def load_reading(
    prefix: str,
    load: Load,
    quantiles: Mapping[float, Quantile],
    percentiles: Sequence[float],
    *,
    wanted_rate: int | None = None,
    rate_metric: str | None = None,
) -> Reading:
    """A run's latencies and failures as a reading.

    Latencies are labelled (``Reading.notes``) where they are not those of the wanted load: the
    rate was not reached, requests failed, or the histogram is too coarse there.

    :param prefix: of the metrics: ``<prefix>_p50`` …, ``<prefix>_errors``.
    :param quantiles: the run's own latencies, or its connection times.
    :param percentiles: those that are metrics.
    :param wanted_rate: requests/s that the command asked for, if it did.
    :param rate_metric: the name under which the rate is a metric, if it is.
    """
    named = {f"{prefix}_{percentile_suffix(q)}": quantiles[q] for q in percentiles}
    values = {name: item.value for name, item in named.items()}
    values[f"{prefix}_errors"] = load.error_percent
    if rate_metric is not None:
        values[rate_metric] = load.rate
    labels, warnings = _labels(load, wanted_rate)
    notes = {name: "; ".join([*labels, *_coarse(item)]) for name, item in named.items()}
    facts: dict[str, str | int | float] = {"fortio": load.version, "connections": load.connections}
    if load.schedule is not None:
        facts |= _schedule_facts(load.schedule, load.requests)
    return Reading(
        values=values,
        warnings=tuple(warnings),
        notes={name: note for name, note in notes.items() if note},
        facts=facts,
    )


def _labels(load: Load, wanted_rate: int | None) -> tuple[list[str], list[str]]:
    labels, warnings = [], []
    if wanted_rate is not None and load.rate < ENOUGH_OF_RATE * wanted_rate:
        short = f"only {number(load.rate, 4)} of {wanted_rate:,} requests/s were reached"
        labels.append(f"{short}: latency of a saturated path, not at that rate")
        warnings.append(short)
    labels += _schedule_labels(load)
    if load.errors:
        labels.append("some requests failed")
        warnings.append(f"{load.errors} of {load.requests} requests failed ({tally(load.codes)})")
    return labels, warnings


def _schedule_facts(run: OnSchedule, requests: int) -> dict[str, float]:
    return {
        "waited_percent": round(100 * run.waited / requests, 3),
        "sent_late_p99_us": round(percentile(run.lateness, 99), 1) if run.lateness else 0.0,
    }


def _schedule_labels(load: Load) -> list[str]:
    run = load.schedule
    if run is None:
        return []
    labels = []
    if run.unsent:
        labels.append("some requests that were due had not left at the end and are not in it")
    if sum(late > LATE_US for late in run.lateness) > LATE_SHARE * load.requests:
        labels.append(
            f"more than {100 * LATE_SHARE:.0f} % of the requests left over {LATE_US / 1e3:.0f} ms "
            "late by the generator's own fault; latency counts from the sending"
        )
    return labels


def _coarse(item: Quantile) -> list[str]:
    if item.spread <= COARSE_SPREAD:
        return []
    return [f"fortio's histogram only says between {item.low:,.0f} and {item.high:,.0f} µs"]
