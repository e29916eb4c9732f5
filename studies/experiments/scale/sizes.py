"""The visits to every size, and what was sampled in them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.interleave import Entry
from bench.results import Results

WAYS = 2
"""Every size is visited on the way up and on the way down."""


@dataclass(frozen=True, slots=True)
class Visit:
    """So many rounds at a size, on the way up or down."""

    size: int
    way: str
    rounds: int

    def __str__(self) -> str:
        return f"{self.size:,} Services, on the way {self.way}"


def visits(points: Sequence[int], rounds: int) -> list[Visit]:
    """The sizes in order, and back, so that time is not size; the largest once, for as many rounds
    as the others in all."""
    *sizes, largest = sorted(points)
    return [
        *(Visit(size, "up", rounds) for size in sizes),
        Visit(largest, "up", WAYS * rounds),
        *(Visit(size, "down", rounds) for size in reversed(sizes)),
    ]


@dataclass(slots=True)
class Samples:
    """Samples of some probes in rounds that several visits share; ``latest`` is of all so far."""

    entries: list[Entry] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """The last round of each visit."""
    latest: Results | None = None

    @property
    def rounds(self) -> int:
        """How many there were."""
        return self.ends[-1] if self.ends else 0

    def medians(self) -> dict[str, list[float]]:
        """The median of each visit, by metric."""
        values: defaultdict[str, defaultdict[int, list[float]]]
        values = defaultdict(lambda: defaultdict(list))
        for entry in self.entries:
            if entry.outcome.reading is not None:
                for name, value in entry.outcome.reading.values.items():
                    values[name][bisect_left(self.ends, entry.round)].append(value)
        return {
            name: [median(samples) for samples in by_visit.values()]
            for name, by_visit in values.items()
        }


@dataclass(slots=True)
class Size:
    """One size: its samples, those of full syncs apart, and what was counted at it."""

    samples: Samples = field(default_factory=Samples)
    full: Samples = field(default_factory=Samples)
    facts: dict[str, str | int | float] = field(default_factory=dict)

    @property
    def results(self) -> Results:
        """Of all its visits so far."""
        assert self.samples.latest is not None
        if self.full.latest is None:
            return self.samples.latest
        metrics = {**self.full.latest.metrics, **self.samples.latest.metrics}
        warnings = [*self.full.latest.warnings, *self.samples.latest.warnings]
        errors = [*self.full.latest.errors, *self.samples.latest.errors]
        return self.samples.latest.model_copy(
            update={"metrics": metrics, "warnings": warnings, "errors": errors}
        )

    @property
    def services(self) -> float:
        """How many there were."""
        return float(self.facts["services"])

    def medians(self) -> dict[str, list[float]]:
        """The median of each visit, by metric."""
        return {**self.full.medians(), **self.samples.medians()}
