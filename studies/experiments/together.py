"""Several probes as one, for rounds in which a change is too dear to be made for each of them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics import Metric
from bench.notes import Note
from bench.probes.base import Bench, Invocation, Probe, Reading, SampleError
from bench.sampling import sample
from bench.targets import Targets


@dataclass(frozen=True, slots=True)
class Together:
    """Probes that are run one after the other, each tried ``attempts`` times; one without a number
    costs only its own metrics."""

    name: str
    probes: tuple[Probe, ...]
    attempts: int

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All of theirs."""
        return tuple(metric for probe in self.probes for metric in probe.metrics)

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return sum(probe.seconds for probe in self.probes)

    def invocation(self, targets: Targets) -> Invocation | None:
        """None: there are several."""
        return None

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`."""
        values: dict[str, float] = {}
        missing: dict[str, str] = {}
        notes: dict[str, tuple[Note, ...]] = {}
        facts: dict[str, str | int | float] = {}
        warnings: list[str] = []
        failures: list[str] = []
        for probe in self.probes:
            outcome = sample(probe, bench, attempts=self.attempts)
            reading = outcome.reading
            if reading is None:
                missing |= {metric.name: outcome.failures[-1] for metric in probe.metrics}
                continue
            values |= reading.values
            missing |= reading.missing
            notes |= reading.notes
            facts |= {f"{probe.name}: {key}": value for key, value in reading.facts.items()}
            warnings += [f"{probe.name}: {text}" for text in reading.warnings]
            failures += [f"{probe.name}: {text}" for text in outcome.failures]
        if not values:
            raise SampleError("; ".join(dict.fromkeys(missing.values())))
        return Reading(
            values=values,
            missing=missing,
            warnings=tuple(warnings),
            notes=notes,
            facts=facts,
            failures=tuple(failures),
        )

    def summary(self, reading: Reading) -> str:
        """Those of the inner ones that have a number."""
        return "; ".join(
            probe.summary(reading)
            for probe in self.probes
            if all(metric.name in reading.values for metric in probe.metrics)
        )
