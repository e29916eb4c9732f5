"""Multi-hop: what a request through a chain of services takes, and how that grows per hop.

What an inference pipeline feels (gateway, router, model, retrieval, vector store): every user's
request pays each hop's network path, there and back. A chain of 1 to 8 hops is asked at a low fixed
rate, over kept connections and with a new connection at every hop for every request; the lengths
are measured in turn in every round.

Each hop is a small HTTP server that calls the next through its ClusterIP. Every hop but the last is
fortio's HTTP proxy (``fortio server -M``), the last its HTTP server; no image of our own is needed.
A chain of n hops is entered at the n-th hop from its end, so that one set of pods serves all
lengths. Hops are on the servers' nodes in turn, so that every call leaves its node, the client's
too.

The proxy keeps its connections (128 idle ones per next hop) and copies the headers that it gets:
a client that asks for its connection to be closed has every hop open and close one as well.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.interleave import Side, abba, interleave
from bench.metrics import Metric, latency_metrics, share_metric
from bench.plan import Plan
from bench.probes.base import Bench, CommandProbe, Invocation, Reading, SampleError
from bench.probes.fortio import Schedule, fortio_argv, load_of, load_reading
from bench.sampling import sample
from bench.session import CommandResult, Pod, SessionError
from bench.text import latency
from bench.workloads import FORTIO_IMAGE
from studies.experiments.capabilities import ExperimentPods, Manifest, ObjectStore, PodRequest
from studies.experiments.growth import linear
from studies.experiments.model import Context, Findings, Progress, Series, SkippedError, point
from studies.experiments.scale.services import endpoints_manifest, service_manifest

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
    with running_chain(bench, points[-1], context.say) as chain:
        context.say(f"a chain of {points[-1]} hops: {' → '.join(chain.nodes(points[-1]))}")
        sides = [
            Side(
                _label(hops), bench, tuple(chain_probe(chain, hops, mode, plan) for mode in _MODES)
            )
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
            point(_label(hops), results[_label(hops)], x=hops, facts=chain_facts(chain, hops))
            for hops in points
        ],
    )
    fits = [linear(series.points, metric, "hop") for metric in _grown()]
    warnings = [f"{label}: {text}" for label, result in results.items() for text in result.warnings]
    settled = {"rate": RATE, "connections": CONNECTIONS}
    return Findings(
        [series.model_copy(update={"fits": [fit for fit in fits if fit]})], settled, warnings
    )


def _label(hops: int) -> str:
    return f"{hops} hops" if hops > 1 else "1 hop"


def _grown() -> list[str]:
    return [f"chain_{mode}_{q}" for mode in _MODES for q in ("p50", "p99")]


def chain_probe(chain: "Chain", hops: int, mode: str, plan: Plan) -> CommandProbe:
    """The probe of a chain's length, over ``kept`` or ``new`` connections."""
    prefix = f"chain_{mode}"
    seconds = plan.http_seconds
    schedule = Schedule.of(RATE, seconds, CONNECTIONS)
    argv = fortio_argv(
        chain.url(hops), "-uniform", *_MODES[mode],
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


PORT = 8090
HTTP_ONLY = tuple(
    word for port in ("redirect", "grpc", "udp", "tcp") for word in (f"-{port}-port", "disabled")
)
"""fortio's other servers, off."""
_OWN_PORT = 8079
_LABEL = "cni-benchmark/chain"
_READY_SECONDS = 30.0
_TRY_SECONDS = 2.0
_PAUSE_SECONDS = 0.2
_FORWARDED = re.compile(r"^X-Fortio-Multi-I[dD]: *(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain: its pods from first to last, and the ClusterIP in front of each."""

    pods: tuple[Pod, ...]
    addresses: tuple[str, ...]

    def url(self, hops: int, path: str = "/") -> str:
        """Where a chain of so many hops is entered."""
        return f"http://{self.addresses[-hops]}:{PORT}{path}"

    def nodes(self, hops: int) -> list[str]:
        """The nodes of its hops, in order."""
        return [pod.node for pod in self.pods[-hops:]]


def hop_name(hop: int) -> str:
    """Of the pod and the Service of a hop, 1 …."""
    return f"hop-{hop}"


def hop_services(hops: int) -> list[Manifest]:
    """The Service in front of each hop; they come before the pods, which call their addresses."""
    return [
        service_manifest(hop_name(hop), PORT, PORT, {_LABEL: "true"}) for hop in range(1, hops + 1)
    ]


def hop_endpoints(pods: Sequence[Pod]) -> list[Manifest]:
    """The EndpointSlices that lead each hop's Service to its pod."""
    return [endpoints_manifest(pod.name, PORT, [pod.ip], {_LABEL: "true"}) for pod in pods]


def hop_requests(addresses: Sequence[str], nodes: Sequence[str]) -> list[PodRequest]:
    """The pods of a chain over ``nodes``, each of which calls the next one's address."""
    following = [*addresses[1:], None]
    return [
        PodRequest(
            name=hop_name(hop),
            role=hop_name(hop),
            node=nodes[hop % len(nodes)],
            image=FORTIO_IMAGE,
            command=_command(after),
        )
        for hop, after in enumerate(following, start=1)
    ]


def _command(after: str | None) -> tuple[str, ...]:
    if after is None:
        return ("fortio", "server", "-http-port", str(PORT), *HTTP_ONLY)
    proxy = f"{PORT} http://{after}:{PORT}"
    own = ("-http-port", str(_OWN_PORT), "-multi-serial-mode", "-M", proxy)
    return ("fortio", "server", *own, *HTTP_ONLY)


def server_nodes(bench: Bench) -> list[str]:
    """The nodes that a chain is spread over.

    :raises SkippedError: on fewer than two a hop would call its own node.
    """
    nodes = sorted(bench.targets.nodes("server") - bench.targets.nodes("client"))
    if len(nodes) < 2:
        raise SkippedError(
            "consecutive hops are to be on different nodes, and none on the client's: that takes "
            f"three nodes, here {len(nodes) + 1}"
        )
    return nodes


@contextmanager
def running_chain(bench: Bench, hops: int, say: Progress) -> Iterator[Chain]:
    """A chain that answers from each of its hops on, for the length of the block.

    :raises SkippedError: see :func:`server_nodes`.
    :raises SessionError: it does not come up, or calls do not go as they should.
    """
    session = bench.session
    # As capabilities they were asked for before.
    assert isinstance(session, ObjectStore) and isinstance(session, ExperimentPods)
    nodes, wanted = server_nodes(bench), hop_services(hops)
    slices: list[Manifest] = []
    try:
        session.create_objects(wanted, say)
        addresses = _addresses(session, hops)
        with session.experiment_pods(hop_requests(addresses, nodes)) as pods:
            chain = Chain(tuple(pods), tuple(addresses))
            slices = hop_endpoints(pods)
            session.create_objects(slices, say)
            check_placement(chain, bench.targets.nodes("client"))
            for length in range(1, hops + 1):
                _await(bench, chain, length)
            yield chain
    finally:
        session.delete_objects([*slices, *wanted], say)


def _addresses(session: ObjectStore, hops: int) -> list[str]:
    addresses = {
        str(each["metadata"]["name"]): str(each["spec"]["clusterIP"])
        for each in session.list_objects("v1", "Service", f"{_LABEL}=true")
    }
    return [addresses[hop_name(hop)] for hop in range(1, hops + 1)]


def check_placement(chain: Chain, clients: Collection[str]) -> None:
    """Every call of the chain leaves its node, the client's too.

    :raises SessionError: one does not.
    """
    nodes = chain.nodes(len(chain.pods))
    neighbours = [node for node, after in pairwise(nodes) if node == after]
    if neighbours or set(nodes) & set(clients):
        raise SessionError(f"hops do not cross nodes: they are on {', '.join(nodes)}")


def _await(bench: Bench, chain: Chain, hops: int) -> None:
    """Wait until a request has gone through every hop, as the last hop tells of it.

    :raises SessionError: it does not in time.
    """
    argv = ("fortio", "curl", "-quiet", "-timeout", "2s", chain.url(hops, "/debug"))
    clock = bench.clock
    end = clock.monotonic() + _READY_SECONDS
    while True:
        try:
            result = bench.run(Invocation("fortio-client", argv), _TRY_SECONDS)
            seen = passed(result.stdout) if result.returncode == 0 else None
        except SampleError as error:
            raise SessionError(str(error)) from error
        if seen == hops:
            return
        if clock.monotonic() > end:
            last = "no answer" if seen is None else f"a request came through {seen} hops"
            raise SessionError(
                f"the chain of {hops} hops did not answer in {_READY_SECONDS:.0f} s: {last}"
            )
        clock.sleep(_PAUSE_SECONDS)


def passed(shown: str) -> int:
    """How many hops a request has gone through, by what the last one shows of its headers: each
    proxy adds one."""
    return 1 + sum(len(ids.split(",")) for ids in _FORWARDED.findall(shown))


def chain_facts(chain: Chain, hops: int) -> Mapping[str, Any]:
    """What was there at a point of the axis."""
    return {"nodes": " → ".join(chain.nodes(hops))}
