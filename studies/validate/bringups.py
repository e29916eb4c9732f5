"""What is measured in one bring-up of three equal clusters, a, b and c.

First they are equal, and take turns for every primary metric. Then c has rules of a firewall that
nobody measured knows of (:mod:`studies.validate.delays`): as many as make round trips 3 % longer,
as take 5 % of TCP's throughput, and as many that the effect is large enough to see whether it
depends on the length of a batch and on how many take turns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.interleave import Side, abba, interleave
from bench.plan import Plan
from bench.probes.turns import TurnProbe, in_turns
from bench.results import Results
from studies.validate.delays import Path, cost_of_a_rule, path_of
from studies.validate.testbed import LABELS, MissingSampleError, Progress, ValidationTestbed

BASELINE, DELAYED = LABELS[0], LABELS[-1]
_KINDS = ("rtt", "connect", "http", "dns", "transfer")
"""With all primary metrics."""


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


IMPOSED = (Imposed("rtt_p50", 3.0), Imposed("tcp_throughput", 5.0))
WIDE = Imposed("rtt_p50", 20.0)
_CALIBRATION_PAIRS = 10


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
    """What one gave; ``added`` is what is imposed in µs per operation, by metric, as a tool sees
    it."""

    equal: Sides
    delayed: Mapping[str, Sides]
    """By the imposed metric."""
    added: Mapping[str, float]
    ways: Mapping[str, Sides]
    """By the way's name."""


@dataclass(slots=True)
class Rules:
    """How many stand for what is imposed: chosen in the first bring-up, the same in all."""

    numbers: dict[Imposed, int] = field(default_factory=dict)

    def of(self, imposed: Imposed, typical: float, cost: float) -> int:
        """So many; ``typical`` is what an operation takes without them, in µs."""
        wanted = max(1, round(imposed.longer * typical / cost))
        return self.numbers.setdefault(imposed, wanted)


@dataclass(frozen=True, slots=True)
class Trio:
    """Three equal clusters that are ready to be measured."""

    beds: Mapping[str, ValidationTestbed]
    sides: Mapping[str, Side]
    plan: Plan
    say: Progress

    def measure(self, rules: Rules) -> BringUp:
        """All of it.

        :raises MissingSampleError: something has no number.
        """
        self.say("equal clusters, all primary metrics")
        seconds = self.plan.turn_seconds
        equal = self._turns([in_turns(kind, seconds) for kind in _KINDS])
        costs, added, delayed = {}, {}, {}
        for imposed in IMPOSED:
            costs[imposed.metric] = cost = self._calibrate(imposed)
            typical = imposed.path.microseconds(equal[BASELINE].metrics[imposed.metric].median)
            number = rules.of(imposed, typical, cost)
            self.say(f"{imposed.percent:g} % of {imposed.metric}: {number} rules")
            added[imposed.metric] = number * cost
            probe = in_turns(imposed.path.kind, seconds)
            delayed[imposed.metric] = self._turns([probe], imposed, number)
        typical, cost = equal[BASELINE].metrics[WIDE.metric].median, costs[WIDE.metric]
        many = rules.of(WIDE, typical, cost)
        ways = {}
        for way in (USUAL, *WAYS):
            self.say(f"round trips, {WIDE.percent:g} % ({many} rules): {way.name}")
            ways[way.name] = self._turns([way.probe(seconds)], WIDE, many, way.labels)
        return BringUp(equal, delayed, added, ways)

    def _calibrate(self, imposed: Imposed) -> float:
        bed, bench = self.beds[DELAYED], self.sides[DELAYED].bench
        self.say(f"what a rule costs, by {imposed.path.tool}")
        return cost_of_a_rule(bench, bed.faults, imposed.path, _CALIBRATION_PAIRS)

    def _turns(
        self,
        probes: Sequence[TurnProbe],
        imposed: Imposed = IMPOSED[0],
        rules: int = 0,
        labels: Sequence[str] = LABELS,
    ) -> dict[str, Results]:
        """One round of turns, while c has the rules."""
        sides = [replace(self.sides[label], probes=tuple(probes)) for label in labels]
        with self.beds[DELAYED].faults.useless_rules(imposed.path.servers, rules):
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
