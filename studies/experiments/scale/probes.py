"""What is measured at one size, and at which Services: those looked up first and last."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, cast

from bench.checks import read_clock
from bench.metrics import MICROSECONDS, Metric
from bench.probes.base import Bench, Invocation, Reading, SampleError, WrappedProbe
from bench.probes.cost import read_usage
from bench.probes.turns import TurnProbe, take_turns
from bench.session import CommandResult, Service, SessionError, Targets
from bench.text import ParseError, latency
from studies.experiments.capabilities import ComponentMetrics, ComponentRestart
from studies.experiments.scale.services import Changing, Dataplane, Fillers, Run, Syncs

_GROUP = "Change of an endpoint"
CPU_MILLISECONDS = "CPU ms"

CHANGE_SERVED = Metric(
    "change_served", MICROSECONDS, "lower", _GROUP,
    "from asking the API server for another endpoint of a Service to the first answer by that "
    "endpoint to requests that a client sends one after the other",
)  # fmt: skip
CHANGE_SYNC = Metric(
    "change_sync", MICROSECONDS, "lower", _GROUP,
    "how long the component on the client's node took to bring that change in, by its own metrics",
)  # fmt: skip
CHANGE_CPU = Metric(
    "change_cpu", CPU_MILLISECONDS, "lower", _GROUP,
    "CPU time of the component on the client's node for that change",
)  # fmt: skip
CHANGE_STALL = Metric(
    "change_stall", MICROSECONDS, "lower", _GROUP,
    "the longest time from one answer to the next meanwhile, of requests over new connections to "
    "that Service, one every 2 ms",
)  # fmt: skip
FULL_SYNC = Metric(
    "full_sync", MICROSECONDS, "lower", "Full sync",
    "how long the component took to write everything anew after a restart, by its own metrics, "
    "IPv4 and IPv6 together",
)  # fmt: skip

T = TypeVar("T")

_SECONDS = 30.0
_LEAD_SECONDS = 0.3
_SYNC_WAIT_SECONDS = 10.0
_SYNC_LOOK_SECONDS = 0.05
_FULL_WAIT_SECONDS = 180.0
_STILL_SECONDS = 1.0
_US = 1e6

ASK_UNTIL = Path(__file__).with_name("ask_until.sh").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class ChangeProbe:
    """Changes the backend of a Service under a client's eyes.

    ``wall`` is the time of day in seconds since 1970, as the bench's clock has it. The client's
    node has another clock: as much of its offset as is certain is taken off.
    """

    changing: Changing
    dataplane: Dataplane
    wall: Callable[[], float]
    name: str = "change"
    seconds: float = 2.0
    metrics: tuple[Metric, ...] = (CHANGE_SERVED, CHANGE_STALL, CHANGE_SYNC, CHANGE_CPU)

    def invocation(self, targets: Targets) -> Invocation:
        service = self.changing.service
        arguments = (service.host, str(service.port), self.changing.PATH, self.changing.next_status)
        argv = ("bash", "-c", ASK_UNTIL, "bash", *arguments, f"{_SECONDS:.0f}")
        return Invocation("iperf3-client", argv)

    def measure(self, bench: Bench) -> Reading:
        node = bench.targets.one("iperf3-client").node
        key = (node, self.dataplane.component)
        before, cpu_before = self._told(bench, node), read_usage(bench)[0].cpu_seconds[key]
        invocation = self.invocation(bench.targets)
        client = read_clock(bench, invocation.role)
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(bench.run, invocation, _SECONDS)
            bench.clock.sleep(_LEAD_SECONDS)
            changed = self.wall()
            try:
                self.changing.change()
            except SessionError as error:
                raise SampleError(f"the endpoint cannot be changed: {error}") from error
            result = asking.result()
        seen = seen_by_client(result, invocation.argv[-2])
        values = {
            CHANGE_SERVED.name: _US * (seen.served - changed - client.certain),
            CHANGE_STALL.name: _US * seen.stall,
        }
        notes = client.doubts(values)
        missing = {}
        if before is None:
            missing[CHANGE_SYNC.name] = f"this {self.dataplane.component} does not tell it"
        else:
            after = self._after(bench, node, before)
            took = (after.seconds - before.seconds) / (after.count - before.count)
            values[CHANGE_SYNC.name] = _US * took
        values[CHANGE_CPU.name] = 1e3 * (read_usage(bench)[0].cpu_seconds[key] - cpu_before)
        return Reading(values, missing, notes=notes)

    def _told(self, bench: Bench, node: str) -> Syncs | None:
        assert isinstance(bench.session, ComponentMetrics)
        try:
            texts = bench.session.component_metrics(self.dataplane.component)
            return self.dataplane.syncs(texts[node])
        except (SessionError, ParseError, KeyError) as error:
            raise SampleError(f"metrics of {self.dataplane.component}: {error}") from error

    def _after(self, bench: Bench, node: str, before: Syncs) -> Syncs:
        """The metrics once they count the change: it is served before they do."""
        end = bench.clock.monotonic() + _SYNC_WAIT_SECONDS
        while bench.clock.monotonic() < end:
            now = self._told(bench, node)
            if now and now.count > before.count:
                return now
            bench.clock.sleep(_SYNC_LOOK_SECONDS)
        raise SampleError(f"{self.dataplane.component} counts no sync after the change")

    def summary(self, reading: Reading) -> str:
        words = {CHANGE_SERVED.name: "served after", CHANGE_SYNC.name: "sync"}
        told = {words[name]: each for name, each in reading.values.items() if name in words}
        return ", ".join(f"{word} {latency(each)}" for word, each in told.items())


@dataclass(frozen=True, slots=True)
class FullSyncProbe:
    """Restarts the component on the client's node, which then writes everything anew."""

    component: str
    full: Callable[[str], Syncs]
    name: str = "full_sync"
    seconds: float = 5.0
    metrics: tuple[Metric, ...] = (FULL_SYNC,)

    def invocation(self, targets: Targets) -> Invocation | None:
        """None: nothing is run in a pod."""
        return None

    def measure(self, bench: Bench) -> Reading:
        session, node = bench.session, bench.targets.one("iperf3-client").node
        assert isinstance(session, ComponentRestart)
        assert isinstance(session, ComponentMetrics)
        try:
            session.restart_component(self.component, node)
            last = Syncs(0, 0)
            end = bench.clock.monotonic() + _FULL_WAIT_SECONDS
            while bench.clock.monotonic() < end:
                now = self.full(session.component_metrics(self.component)[node])
                # Both families have written their rules when no more comes.
                if now.count > 0 and now.count == last.count:
                    return Reading({FULL_SYNC.name: _US * now.seconds})
                last = now
                bench.clock.sleep(_STILL_SECONDS)
        except (SessionError, ParseError, KeyError) as error:
            raise SampleError(f"{self.component} was restarted: {error}") from error
        what = "did not stop writing rules" if last.count else "told of no full sync"
        raise SampleError(f"{self.component} {what} after its restart")

    def summary(self, reading: Reading) -> str:
        return latency(reading.values[FULL_SYNC.name])


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw of a change.

    :ivar served: when the new backend answered first, in seconds since 1970.
    :ivar stall: the longest time from one answer to the next, in seconds.
    """

    served: float
    stall: float


def seen_by_client(result: CommandResult, wanted: str) -> Seen:
    """What ``ask_until.sh`` printed.

    :param wanted: the status by which the new backend answers.
    :raises SampleError: it never did, or there was no answer by the old one before.
    """
    answers = [line.split() for line in result.stdout.splitlines()]
    codes = [code for _, code, _ in answers]
    if not codes or codes[-1] != wanted:
        raise SampleError(f"the new endpoint did not answer: {', '.join(codes) or result.stderr}")
    if len(codes) == 1:
        raise SampleError("the new endpoint answered before the change")
    served, _, longest = answers[-1]
    return Seen(int(served) / _US, int(longest) / _US)


@dataclass(frozen=True, slots=True)
class Towards(WrappedProbe):
    """Another probe, to another Service than httpbin's, under names of its own.

    Its command is shown to httpbin, since the Service differs from sample to sample. ``where`` is
    added to the names; ``choose`` gives the Service for each sample, or raises
    :class:`SampleError`; ``same`` tells after a sample whether it is still that kind of Service.
    """

    where: str
    choose: Callable[[], Service]
    same: Callable[[Service], bool] = lambda service: True

    @property
    def name(self) -> str:
        """The inner probe's, and where to."""
        return f"{self.inner.name}_{self.where}"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The inner probe's under these names."""
        return tuple(
            replace(
                metric,
                name=f"{metric.name}_{self.where}",
                group=f"{metric.group}, {self.where} Service",
            )
            for metric in self.inner.metrics
        )

    def measure(self, bench: Bench) -> Reading:
        aimed = self.aimed(bench)
        return self.renamed(aimed, self.inner.measure(aimed))

    def aimed(self, bench: Bench) -> Bench:
        """The same clients, and the Service that is chosen now.

        :raises SampleError: none can be chosen.
        """
        return replace(bench, targets=replace(bench.targets, httpbin=self.choose()))

    def renamed(self, aimed: Bench, reading: Reading) -> Reading:
        """What was read of that Service, under these names.

        :raises SampleError: it is not that kind of Service any more.
        """
        if not self.same(aimed.targets.httpbin):
            raise SampleError(
                f"the rules were written anew meanwhile: not the {self.where} any more"
            )
        return replace(
            reading,
            values=self._renamed(reading.values),
            missing=self._renamed(reading.missing),
            notes=self._renamed(reading.notes),
            slices=self._renamed(reading.slices),
        )

    def _renamed(self, by_name: Mapping[str, T]) -> dict[str, T]:
        return {f"{name}_{self.where}": value for name, value in by_name.items()}

    def summary(self, reading: Reading) -> str:
        """The inner probe's."""
        end = len(self.where) + 1
        values = {name[:-end]: value for name, value in reading.values.items()}
        return self.inner.summary(replace(reading, values=values))


@dataclass(frozen=True, slots=True)
class EndsInTurns:
    """Turns of one operation towards several Services in one run, so that all meet the same
    machine: ``towards`` have a turn probe each, all of the same operation."""

    towards: tuple[Towards, ...]

    @property
    def name(self) -> str:
        return self.towards[0].inner.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(metric for each in self.towards for metric in each.metrics)

    @property
    def seconds(self) -> float:
        return sum(each.seconds for each in self.towards)

    def invocation(self, targets: Targets) -> Invocation | None:
        return self.towards[0].invocation(targets)

    def measure(self, bench: Bench) -> Reading:
        """:raises SampleError: one of them has no number."""
        benches = [each.aimed(bench) for each in self.towards]
        turns = [cast("TurnProbe", each.inner) for each in self.towards]
        whole = Reading({})
        for each, aimed, taken in zip(
            self.towards, benches, take_turns(turns, benches), strict=True
        ):
            if isinstance(taken, SampleError):
                raise taken
            part = each.renamed(aimed, taken)
            whole = replace(
                part,
                values={**whole.values, **part.values},
                missing={**whole.missing, **part.missing},
                slices={**whole.slices, **part.slices},
            )
        return whole

    def summary(self, reading: Reading) -> str:
        return ", ".join(f"{each.where} {each.summary(reading)}" for each in self.towards)


@dataclass(slots=True)
class _RuleOrder:
    """The order of the rules, and how many syncs the component had made then."""

    syncs: float
    order: list[str]


@dataclass(slots=True)
class Aim:
    """The Services to measure.

    Where rules are compared one after the other, these are those of the first and of the last
    rule, as the node lists them now: every sync writes them in another order, and the first that
    was created may be anywhere. Where they are looked up, they are the first and the last created.

    :param run: a command beside the component on the client's node.
    :param syncs: how many syncs that component has made so far.
    """

    dataplane: Dataplane
    run: Run
    syncs: Callable[[], float]
    fillers: Fillers
    oldest: Service
    changing: Service
    _seen: _RuleOrder | None = field(default=None, init=False)

    def first(self) -> Service:
        """:raises SampleError: the rules cannot be read."""
        order = self._order()
        return self.oldest if order is None else self._at(order[0])

    def last(self) -> Service:
        """:raises SampleError: the rules cannot be read."""
        order = self._order()
        if order is not None:
            return self._at(order[-1])
        try:
            return self.fillers.last() or self.oldest
        except SessionError as error:
            raise SampleError(f"the last Service is not told: {error}") from error

    def same(self, _service: Service) -> bool:
        """Whether the rules are still those by which a Service was chosen."""
        return self._seen is None or self.syncs() == self._seen.syncs

    def _at(self, address: str) -> Service:
        return Service(address, address, self.oldest.port)

    def _order(self) -> list[str] | None:
        read = self.dataplane.order
        if read is None:
            return None
        try:
            syncs = self.syncs()
            if self._seen is None or self._seen.syncs != syncs:
                listed = read(self.run, self.oldest.port)
                order = [address for address in listed if address != self.changing.host]
                self._seen = _RuleOrder(syncs, order)
        except (SessionError, ParseError) as error:
            raise SampleError(f"the order of the rules is not told: {error}") from error
        if not self._seen.order:
            raise SampleError("no rule leads to any of the Services")
        return self._seen.order
