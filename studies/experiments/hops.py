"""Multi-hop: what a request through a chain of services takes, and how that grows per hop.

What an inference pipeline feels (gateway, router, model, retrieval, vector store): every user's
request pays each hop's network path, there and back. A chain of 1 to 8 hops
(:mod:`.chain`) is asked at a low fixed rate, over kept connections and with a new
connection at every hop for every request; the lengths are measured in turn in every round.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.interleave import Side, abba, interleave
from bench.metrics import Metric, latency_metrics, share_metric
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.probes.fortio import fortio_argv, load_of, load_reading
from bench.probes.schedule import Schedule
from bench.sampling import sample
from bench.session import CommandResult
from bench.text import latency
from studies.experiments import chain
from studies.experiments.base import Context, Findings, point
from studies.experiments.chain import Chain
from studies.experiments.model import Series
from studies.experiments.slopes import linear

RATE = 100
"""Requests/s: few enough that eight hops on one small machine do not wait for its CPUs."""
CONNECTIONS = 8
_PERCENTILES = (50.0, 99.0)
_LOAD_MODEL = (
    f"fixed schedule of {RATE} requests/s (fortio), {CONNECTIONS} connections spread over one "
    "period; latency from when a request was due, so without coordinated omission"
)
_MODES: Mapping[str, tuple[str, ...]] = {"kept": (), "new": ("-keepalive=false",)}
_WHAT = {
    "kept": "a request through the chain, over kept connections",
    "new": "a request through the chain, each hop by a new connection",
}


def run(context: Context) -> Findings:
    """See :mod:`studies.experiments.definition`."""
    bench, plan = context.bench, context.plan
    points = sorted(int(each) for each in context.extent.points)
    with chain.running(bench, points[-1], context.say) as running:
        context.say(f"a chain of {points[-1]} hops: {' → '.join(running.nodes(points[-1]))}")
        sides = [
            Side(_label(hops), bench, tuple(probe(running, hops, mode, plan) for mode in _MODES))
            for hops in points
        ]
        for side in sides:
            for each in side.probes:
                sample(each, bench, attempts=plan.attempts)
        context.say("warmed up")
        order = abba([side.label for side in sides], plan.runs)
        results = interleave(sides, plan, order, watch=context.watch)
    series = Series(
        subject=context.subject,
        points=[
            point(_label(hops), results[_label(hops)], x=hops, facts=chain.facts(running, hops))
            for hops in points
        ],
    )
    fits = [linear(series.points, metric, "hop") for metric in _grown()]
    warnings = [f"{label}: {text}" for label, found in results.items() for text in found.warnings]
    settled = {"rate": RATE, "connections": CONNECTIONS}
    return Findings(
        [series.model_copy(update={"fits": [fit for fit in fits if fit]})], settled, warnings
    )


def _label(hops: int) -> str:
    return f"{hops} hops" if hops > 1 else "1 hop"


def _grown() -> list[str]:
    return [f"chain_{mode}_{q}" for mode in _MODES for q in ("p50", "p99")]


def probe(running: Chain, hops: int, mode: str, plan: Plan) -> CommandProbe:
    """The probe of a chain's length, over ``kept`` or ``new`` connections."""
    prefix = f"chain_{mode}"
    seconds = plan.http_seconds
    schedule = Schedule.of(RATE, seconds, CONNECTIONS)
    argv = fortio_argv(
        running.url(hops), "-uniform", *_MODES[mode],
        seconds=seconds, connections=CONNECTIONS, rate=RATE, resolution_us=None,
    )  # fmt: skip

    def read(result: CommandResult) -> Reading:
        load = load_of(result, request_log=True, schedule=schedule)
        reading = load_reading(prefix, load, load.latency, _PERCENTILES, wanted_rate=RATE)
        each = {
            f"{prefix}_per_hop_{q}": reading.values[f"{prefix}_{q}"] / hops for q in ("p50", "p99")
        }
        return Reading(
            values={**reading.values, **each},
            warnings=reading.warnings,
            notes=reading.notes,
            facts=reading.facts,
        )

    def describe(values: Mapping[str, float]) -> str:
        return f"p50 {latency(values[f'{prefix}_p50'])}, p99 {latency(values[f'{prefix}_p99'])}"

    return CommandProbe(
        name=prefix,
        role="fortio-client",
        seconds=seconds,
        metrics=_metrics(mode),
        argv=lambda targets: argv,
        parse=read,
        describe=describe,
    )


def _metrics(mode: str) -> tuple[Metric, ...]:
    prefix, group = f"chain_{mode}", f"Chain of services, {mode} connections"
    return (
        *latency_metrics(prefix, _WHAT[mode], group, _LOAD_MODEL, _PERCENTILES),
        *latency_metrics(
            f"{prefix}_per_hop", f"{_WHAT[mode]}, divided by its hops", group, _LOAD_MODEL,
            _PERCENTILES,
        ),
        share_metric(f"{prefix}_errors", group, "requests that failed"),
    )  # fmt: skip
