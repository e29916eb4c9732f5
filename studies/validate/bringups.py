"""What is measured in one bring-up of three equal clusters, a, b and c.

First they are equal, and take turns for every primary metric. Then packets to c's servers are
delayed, unknown to who measures (:mod:`studies.validate.delays`): so long that round trips take 3 %
longer, that it takes 5 % of TCP's throughput, and so long that the effect is large enough to see
whether it depends on the length of a batch and on how many take turns.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bench.inference import samples_of
from bench.interleave import Side, abba, interleave
from bench.plan import Plan
from bench.probes.turns import TurnProbe, in_turns
from bench.results import Results
from studies.validate.delays import Path, path_of
from studies.validate.testbed import (
    LABELS,
    MissingSampleError,
    Passed,
    Progress,
    ValidationTestbed,
)

BASELINE, DELAYED = LABELS[0], LABELS[-1]
_TURNS = {"rtt": 1, "connect": 3, "http": 1, "dns": 1, "transfer": 1}
"""Of all primary metrics; with how many times the turns of a comparison. Connections differ so much
that a shift of 1 % between equal clusters would be found by chance in one validation of three."""


@dataclass(frozen=True, slots=True)
class Imposed:
    """A delay that is to be found: ``percent`` of the metric, for the worse."""

    metric: str
    percent: float

    @property
    def path(self) -> Path:
        return path_of(self.metric)

    @property
    def longer(self) -> float:
        """How much longer an operation takes, as a share of its time."""
        share = self.percent / 100
        return share / (1 - share) if self.metric == "tcp_throughput" else share

    def nanoseconds(self, usual: Results) -> int:
        """For how long a packet has to be held, where an operation takes what these say."""
        samples = samples_of(usual.metrics, usual.metrics, self.metric)
        typical = self.path.microseconds(samples.typical())
        return round(1e3 * self.longer * typical / self.path.packets)


IMPOSED = (Imposed("rtt_p50", 3.0), Imposed("tcp_throughput", 5.0))
WIDE = Imposed("rtt_p50", 20.0)


@dataclass(frozen=True, slots=True)
class Way:
    """Round trips measured in another way: a turn's operations, and who takes turns."""

    name: str
    batches: float = 1.0
    labels: tuple[str, ...] = LABELS

    def probe(self, seconds: float) -> TurnProbe:
        usual = in_turns("rtt", seconds)
        task = usual.kind.task
        other = replace(task, batch=round(self.batches * task.batch))
        return replace(usual, kind=replace(usual.kind, task=other))


USUAL = Way("as usual")
WAYS = (
    Way("half the batch", 0.5),
    Way("twice the batch", 2.0),
    Way("two in turns, not three", labels=(BASELINE, DELAYED)),
)

Sides = Mapping[str, Results]
"""Results by label."""


@dataclass(frozen=True, slots=True)
class BringUp:
    """What one gave; ``added`` is what is imposed in µs per operation, by metric."""

    equal: Sides
    delayed: Mapping[str, Sides]
    """By the imposed metric."""
    added: Mapping[str, float]
    ways: Mapping[str, Sides]
    """By the way's name."""


@dataclass(frozen=True, slots=True)
class Trio:
    """Three equal clusters that are ready to be measured."""

    beds: Mapping[str, ValidationTestbed]
    sides: Mapping[str, Side]
    plan: Plan
    say: Progress

    def measure(self) -> BringUp:
        """All of it.

        :raises MissingSampleError: something has no number.
        """
        self.say("equal clusters, all primary metrics")
        seconds = self.plan.turn_seconds
        probes = [in_turns(kind, times * seconds) for kind, times in _TURNS.items()]
        equal = self._take_turns(probes, LABELS)
        usual = equal[BASELINE]
        added, delayed = {}, {}
        for imposed in IMPOSED:
            held = imposed.nanoseconds(usual)
            self.say(f"{imposed.percent:g} % of {imposed.metric}: {held} ns per packet")
            delayed[imposed.metric], passed = self._delayed(
                imposed, held, in_turns(imposed.path.kind, seconds), LABELS
            )
            added[imposed.metric] = held / 1e3 * imposed.path.packets_of(passed)
        held = WIDE.nanoseconds(usual)
        ways = {}
        for way in (USUAL, *WAYS):
            self.say(f"round trips, {WIDE.percent:g} % ({held} ns per packet): {way.name}")
            ways[way.name], _ = self._delayed(WIDE, held, way.probe(seconds), way.labels)
        return BringUp(equal, delayed, added, ways)

    def _delayed(
        self, imposed: Imposed, nanoseconds: int, probe: TurnProbe, labels: Sequence[str]
    ) -> tuple[dict[str, Results], Passed]:
        """One round of turns while packets to c's servers are held, and what came to them."""
        with ExitStack() as stack:
            readers = {
                label: stack.enter_context(
                    self.beds[label].faults.delay(
                        imposed.path.servers, nanoseconds if label == DELAYED else 0
                    )
                )
                for label in labels
            }
            before = readers[DELAYED]()
            results = self._take_turns([probe], labels)
            return results, readers[DELAYED]() - before

    def _take_turns(self, probes: Sequence[TurnProbe], labels: Sequence[str]) -> dict[str, Results]:
        """One round of turns."""
        sides = [replace(self.sides[label], probes=tuple(probes)) for label in labels]
        results = interleave(sides, self.plan, abba(labels, 1))
        missing = [f"{label}: {e.text()}" for label, r in results.items() for e in r.errors]
        if missing:
            raise MissingSampleError("; ".join(missing))
        return results


def own_share(bring_ups: Sequence[BringUp]) -> float:
    """The largest CPU time per round trip that a client spent outside the kernel, in µs."""
    return max(
        float(side.probes["rtt"].facts["generator_us"])
        for each in bring_ups
        for side in each.equal.values()
    )
