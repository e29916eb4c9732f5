"""Equal clusters without any: sessions that replay recordings, and delays that really delay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from bench.environment import About
from bench.session import CommandResult, Pod, TurnClient
from studies.validate.testbed import Link, ValidationTestbed
from tests.bench.fakes import FakeClock, FakeSession
from tests.bench.turns_output import NANOSECONDS, turns_output
from tests.studies.test_validate_faults import PACKETS_PER_MIB, Recorded

_MIB_PER_TRANSFER = 8
SPREAD = 0.002
"""Of bring-ups, relative."""


class Cluster(FakeSession):
    """One whose operations take a little more or less, and longer as imposed.

    ``seen`` is the share of a delay that turns see; others see all of it.
    """

    def __init__(self, others: dict[str, Cluster], label: str, bring_up: int, seen: float) -> None:
        super().__init__()
        self.faults = Recorded()
        self.label = label
        self.told = About(bring_up=f"{label}-{bring_up}")
        self.speed = float(np.random.default_rng([bring_up, ord(label)]).normal(1, SPREAD))
        self._others, self._seen = others, seen
        others[label] = self

    def turn_client(self, pod: Pod) -> TurnClient:
        """See ``bench.session.Session``."""
        return TurnClient("this machine", (self.label,), usage=("cpu.stat",))

    def take_turns(self, pod: Pod, plan: str, *, timeout: float) -> bytes:
        """See ``bench.session.Session``."""
        subjects = json.loads(plan)["subjects"]
        sides = [self._others[each["enter"][0]] for each in subjects]
        operation = subjects[0]["task"]["operation"]
        self.time.seconds += self.seconds_per_command
        return turns_output(plan, factors=[side.factor(operation) for side in sides])

    def factor(self, operation: str) -> float:
        """How much longer than usual an operation takes."""
        packets = _MIB_PER_TRANSFER * PACKETS_PER_MIB if operation == "transfer" else 1
        added = self._seen * self.faults.nanoseconds * packets
        return self.speed * (1 + added / NANOSECONDS[operation])

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """See ``bench.session.Session``."""
        result = super().run(pod, argv, timeout=timeout)
        return replace(result, stdout=delayed(result.stdout, self.faults.nanoseconds))


def delayed(text: str, nanoseconds: int) -> str:
    """A tool's recorded output, as if every packet to the server had been held so long."""
    microseconds = nanoseconds / 1e3
    if not nanoseconds:
        return text
    if "> NOERROR" in text:
        return re.sub(
            r"(?m)^(> NOERROR .* )([\d.]+)$",
            lambda found: f"{found[1]}{float(found[2]) + microseconds / 1e6:.6f}",
            text,
        )
    if not text.startswith("{"):
        return text
    report = json.loads(text)
    for histogram in ("DurationHistogram", "ConnectionStats"):
        for each in (report.get(histogram) or {}).get("Percentiles") or ():
            each["Value"] += microseconds / 1e6
    if "end" in report:
        received = report["end"]["sum_received"]
        bits = 8 * 2**20
        taken = bits / received["bits_per_second"] + PACKETS_PER_MIB * nanoseconds / 1e9
        received["bits_per_second"] = bits / taken
    return json.dumps(report)


class Clusters:
    """``studies.validate.testbed.Testbeds``; ``standing`` are those that are up."""

    def __init__(self, *, seen: float = 1.0) -> None:
        self.time = FakeClock()
        self.bring_ups: list[tuple[str, ...]] = []
        self.standing: dict[str, Cluster] = {}
        self.seconds_each = 20.0
        self._seen = seen

    @contextmanager
    def bring_up(self, labels: Sequence[str]) -> Iterator[Mapping[str, ValidationTestbed]]:
        """See ``studies.validate.testbed.Testbeds``."""
        self.bring_ups.append(tuple(labels))
        self.time.seconds += self.seconds_each
        made: dict[str, Cluster] = {}
        for label in labels:
            Cluster(made, label, len(self.bring_ups), self._seen).time = self.time
        self.standing = made
        try:
            yield {
                label: ValidationTestbed(cluster, Link(9001, 0), cluster.faults)
                for label, cluster in made.items()
            }
        finally:
            self.standing = {}
