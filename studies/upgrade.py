"""Whether to upgrade: a stack's settings with two versions, side by side.

Measured as a matrix of two sides (:mod:`studies.matrix.run`) whose rounds have the operations of
the primary metrics in turns and, last, :class:`ServicesProbe`. What is compared was chosen
beforehand, and is little, so that a few bring-ups make a verdict.
"""

import json
import math
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, Literal

from bench.compare import Comparison, MetricComparison
from bench.environment import Model
from bench.interleave import Build, abba
from bench.metrics import CNI_COST, CPU_SECONDS, MEBIBYTES, MILLICORES, PRIMARY, Metric
from bench.plan import Plan
from bench.probes.base import Bench, Invocation, Probe, Reading, SampleError
from bench.probes.cost import CLUSTER_WIDE, Cost, cost_between, read_usage
from bench.probes.turns import turn_probes
from bench.readiness import await_idle_agents
from bench.session import Clock, Opener, SessionError, Targets
from bench.text import number
from studies.experiments.capabilities import ObjectStore, Progress
from studies.experiments.scale.services import Fillers, await_served
from studies.matrix.run import Display, Matrix, Stacks
from studies.matrix.state import FolderError, MatrixFolder, MatrixState

SCHEMA: Final = "cni-benchmark/upgrade/v1"
RECORD: Final = "upgrade.json"
FROM, TO = SIDES = ("from", "to")
FEW: Final = 10
SERVICES, BRING_UPS, TOLERATE = 5_000, 5, 5.0
_SETTLE_SECONDS = 90.0
_WINDOW_SECONDS = 3.0
_OBJECTS_PER_SECOND = 400.0


class UpgradeRefusedError(Exception):
    """An upgrade that cannot be measured; one line says why and what could. Nothing was done."""


# -- what changes in the configuration ------------------------------------------------------------


class Change(Model):
    """One setting that is not what it was; None where it is not there. ``ours``: the scenario sets
    it, in either version."""

    kind: Literal["gone", "changed", "new"]
    key: str
    before: str | None
    after: str | None
    ours: bool


def changes(
    before: Mapping[str, str], after: Mapping[str, str], ours: Collection[str] = ()
) -> list[Change]:
    """All that differs: what the user has set first, each part by what became of it."""
    became: dict[Literal["gone", "changed", "new"], set[str]] = {
        "gone": before.keys() - after.keys(),
        "changed": {key for key in before.keys() & after.keys() if before[key] != after[key]},
        "new": after.keys() - before.keys(),
    }
    found = [
        Change(kind=kind, key=key, before=before.get(key), after=after.get(key), ours=key in ours)
        for kind, keys in became.items()
        for key in sorted(keys)
    ]
    return sorted(found, key=lambda change: not change.ours)


class UpgradeSide(Model):
    """One side as it will be: its versions by what they are of, the scenario's settings, the values
    for the CNI's installer by dotted path, and the agents' settings that it makes of them.

    ``ours`` are those of the agents' settings that the installer would have otherwise without the
    values.
    """

    facts: dict[str, str]
    settings: dict[str, Any]
    values: dict[str, str]
    configuration: dict[str, str]
    ours: list[str]


class Upgrade(Model):
    """What is asked. ``refused`` is what the new side does not take, known in advance."""

    stack: str
    before: UpgradeSide
    after: UpgradeSide
    refused: list[str]
    bring_ups: int
    services: int
    plan: dict[str, Any]

    @property
    def title(self) -> str:
        """From what to what, on which stack."""
        old, new = self.before.facts, self.after.facts
        shown = [name for name in old if old[name] != new[name]] or list(old)[:1]
        return f"{', '.join(f'{n} {old[n]} → {new[n]}' for n in shown)} on {self.stack}"

    @property
    def metrics(self) -> list[str]:
        """What is compared."""
        return [*PRIMARY, *(metric.name for metric in services_probe(self.services).metrics)]

    @property
    def decisive(self) -> list[str]:
        """Of them, those that end it with a regression."""
        return [*PRIMARY, *self.also_decisive]

    @property
    def also_decisive(self) -> tuple[str, ...]:
        """Those that are no primary metrics elsewhere."""
        return (_metric("agents", "memory", self.services).name,)

    def changes(self) -> dict[str, list[Change]]:
        """What changes before anything runs, by what it is a setting of."""
        old, new = self.before, self.after
        return {
            "values": changes(old.values, new.values, {*old.values, *new.values}),
            "configuration": changes(old.configuration, new.configuration, {*old.ours, *new.ours}),
        }


# -- what Services cost ---------------------------------------------------------------------------

_WHAT: Final = {
    "memory": (MEBIBYTES, "resident memory"),
    "cpu": (MILLICORES, "CPU at rest"),
    "take_up": (CPU_SECONDS, "CPU time until it has taken up the Services"),
}
_WHOSE: Final = {
    "agents": "CNI agent and kube-proxy, mean per node",
    "operator": "what runs once for the cluster",
}


def _metric(whose: str, what: str, services: int) -> Metric:
    unit, text = _WHAT[what]
    description = f"{text} of {_WHOSE[whose]}, with {services:,} Services"
    return Metric(f"{whose}_{what}_{services}", unit, "lower", CNI_COST, description)


@dataclass(frozen=True, slots=True)
class ServicesProbe:
    """Memory and CPU of agents, and of an operator where there is one, with few and with many
    Services, which stay.

    Asked a second time, since it failed or others were busy meanwhile, it says the same: the agents
    would not be as new as they were, and the figures do not depend on others.
    """

    sizes: tuple[int, int]
    whose: tuple[str, ...]
    say: Progress
    name: str = "services"
    _taken: list[Reading | SampleError] = field(default_factory=list)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Taking up is that of the many."""
        at_rest = product(self.sizes, ("memory", "cpu"), self.whose)
        return (
            *(_metric(whose, what, size) for size, what, whose in at_rest),
            *(_metric(whose, "take_up", self.sizes[-1]) for whose in self.whose),
        )

    @property
    def seconds(self) -> float:
        """Planned."""
        return 2 * self.sizes[-1] / _OBJECTS_PER_SECOND + 10 * _WINDOW_SECONDS

    def invocation(self, targets: Targets) -> Invocation | None:
        """None: nothing is run."""
        return None

    def measure(self, bench: Bench) -> Reading:
        if not self._taken:
            try:
                self._taken.append(self._measured(bench))
            except SampleError as error:
                self._taken.append(error)
        (taken,) = self._taken
        if isinstance(taken, SampleError):
            raise taken
        return taken

    def _measured(self, bench: Bench) -> Reading:
        session = bench.session
        assert isinstance(session, ObjectStore)
        values: dict[str, float] = {}
        try:
            fillers = Fillers(session, bench.targets, bench.clock, self.say)
            if len(fillers):
                raise SampleError("agents have met many Services before: they keep what they took")
            others = len(session.list_objects("v1", "Service"))
            for size in self.sizes:
                bench.remaining()
                values.update(self._at(size, bench, fillers, max(0, size - others)))
        except SessionError as error:
            raise SampleError(str(error)) from error
        return Reading({each.name: values[each.name] for each in self.metrics})

    def _at(
        self, size: int, bench: Bench, fillers: Fillers, wanted: int
    ) -> Iterator[tuple[str, float]]:
        start, began = read_usage(bench)
        fillers.resize(wanted)
        if (last := fillers.last()) is not None:
            await_served(bench, last)
        await_idle_agents(bench, _SETTLE_SECONDS, windows=2)
        rest, rested = read_usage(bench)
        bench.clock.sleep(_WINDOW_SECONDS)
        end, ended = read_usage(bench)
        taking = cost_between(start, rest, rested - began)
        at_rest = cost_between(rest, end, ended - rested)
        wide = [each for each in bench.session.cni_usage() if each.component in CLUSTER_WIDE]
        memory = {
            "agents": at_rest.mebibytes,
            "operator": sum(each.memory_bytes for each in wide) / 2**20,
        }
        for whose in self.whose:
            yield _metric(whose, "memory", size).name, memory[whose]
            yield _metric(whose, "cpu", size).name, _millicores(at_rest, whose)
            seconds = _millicores(taking, whose) * (rested - began) / 1e3
            yield _metric(whose, "take_up", size).name, seconds

    def summary(self, reading: Reading) -> str:
        memory = (_metric("agents", "memory", size).name for size in self.sizes)
        shown = " and ".join(number(reading.values[name]) for name in memory)
        return f"agents' memory {shown} {MEBIBYTES}"


def _millicores(cost: Cost, whose: str) -> float:
    if whose == "agents":
        return cost.millicores
    return sum(used for name, used in cost.components.items() if name in CLUSTER_WIDE)


def services_probe(
    services: int, components: Collection[str] = CLUSTER_WIDE, say: Progress = lambda line: None
) -> ServicesProbe:
    """The probe for a CNI with these components."""
    whose = ("agents", "operator") if CLUSTER_WIDE & set(components) else ("agents",)
    return ServicesProbe((FEW, services), whose, say)


def probes(services: int, say: Progress) -> Build:
    """What makes the probes of an upgrade's rounds."""

    def build(plan: Plan, components: tuple[str, ...]) -> tuple[Probe, ...]:
        turns = (
            probe
            for probe in turn_probes(plan)
            if any(metric.name in PRIMARY for metric in probe.metrics)
        )
        return (*turns, services_probe(services, components, say))

    return build


# -- measuring ------------------------------------------------------------------------------------


Reported = Mapping[str, Mapping[str, str]]
"""What agents say of their own settings, by side; nothing of those that nobody has asked."""


def begun(folder: MatrixFolder, upgrade: Upgrade) -> tuple[MatrixState, Reported]:
    """The state from which the folder's upgrade goes on, or begins, and what agents have said.

    One that was measured to its end stays as it is; one that failed begins anew.

    :raises FolderError: the folder has another upgrade, or something else.
    """
    file, asked = folder.path / RECORD, upgrade.model_dump(mode="json")
    before = folder.load()
    if before is not None:
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        if known.get("upgrade") != asked:
            raise FolderError(
                f"{folder.path} has another upgrade, or what else was measured: go on by its own "
                "command, or choose another folder: --out"
            )
        if not before.failed and before.status != "ended":
            return before, known.get("reported", {})
        folder.clear(before)
    folder.write(file, json.dumps({"schema": SCHEMA, "upgrade": asked}))
    clock = Clock()
    state = MatrixState(
        id=f"{clock.now().isoformat(timespec='seconds')}/{secrets.token_hex(4)}",
        stacks=list(SIDES),
        seed=0,
        bring_ups=upgrade.bring_ups,
        rounds=1,
        order=[list(each) for each in abba(SIDES, upgrade.bring_ups)],
        plan=upgrade.plan,
        started=clock.now().isoformat(timespec="seconds"),
    )
    return state, {}


def measure(
    upgrade: Upgrade,
    folder: MatrixFolder,
    state: MatrixState,
    stacks: Stacks,
    display: Display,
    open_session: Opener,
) -> MatrixState:
    """All bring-ups that are left; nothing is up afterwards, whatever happens.

    :param stacks: by the names :data:`SIDES`, and nobody else's.
    """
    matrix = Matrix(
        folder, state, stacks, display, open_session,
        build=probes(upgrade.services, display.phase), all_or_none=True,
    )  # fmt: skip
    try:
        return matrix.run()
    finally:
        matrix.take_down()


# -- the verdict ----------------------------------------------------------------------------------


class Outcome(Model):
    """What came out: a line for a pull request, the decisive metrics that are worse by more than is
    tolerated, and those of which nothing can be said."""

    verdict: str
    worse: list[str]
    undecided: list[str]


def worse_by(metric: MetricComparison) -> float:
    """By how many % it is worse; 0 where that is no verdict."""
    if metric.verdict != "worse":
        return 0.0
    return abs(metric.effect.value) if metric.effect.relative else math.inf


def conclude(upgrade: Upgrade, comparison: Comparison, tolerate: float) -> Outcome:
    """Judge a comparison of both sides."""
    told = {name: comparison.metrics.get(name) for name in upgrade.decisive}
    undecided = [n for n, m in told.items() if m is None or m.verdict == "too few runs"]
    found = {name: metric for name, metric in told.items() if metric is not None}
    worse = [name for name, metric in found.items() if worse_by(metric) > tolerate]
    return Outcome(
        verdict=f"{upgrade.title}: {'; '.join(_parts(found, undecided, worse, tolerate))}",
        worse=worse,
        undecided=undecided,
    )


def _parts(
    found: Mapping[str, MetricComparison],
    undecided: Collection[str],
    worse: Collection[str],
    tolerate: float,
) -> Iterator[str]:
    differ = [n for n, metric in found.items() if metric.verdict in ("better", "worse")]
    if differ:
        yield ", ".join(f"{name} {found[name].change_text()}" for name in differ)
    alike = [n for n in found if n not in differ and n not in undecided]
    if alike:
        yield f"no evidence that {', '.join(alike)} {'differ' if len(alike) > 1 else 'differs'}"
    if undecided:
        yield f"nothing can be said of {', '.join(undecided)}"
    if worse:
        yield f"WORSE by more than {tolerate:g} %: {', '.join(worse)}"
    else:
        yield (
            f"nothing primary is worse by more than {tolerate:g} %"
            + ", as far as is known" * bool(undecided)
        )
