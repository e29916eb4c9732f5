"""What an explanation says: for each operation its parts, by side, and where differences lie."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic import Field, ValidationError

from bench.environment import Model
from bench.stats import TARGET_LEVEL, mean_shift
from bench.text import problem
from studies.explain.parts import OTHER, PARTS
from studies.explain.profile import Profile, largest
from studies.explain.way import Followed
from studies.matrix.state import EXPLANATION

SCHEMA: Final = "cni-benchmark/explain/v1"
RECORD: Final = EXPLANATION
MOST_OFF, MOST_OTHER = 0.05, 0.10
"""By what share of the whole the parts may miss it, and what share may be of no known part."""
_SYMBOLS: Final = 6


class Side(Model):
    """One of the labs: its stack, and what tells it from the others."""

    name: str
    title: str
    facts: dict[str, str]


class Interval(Model):
    """A mean with the interval that holds the true one with 95 % confidence."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """By Student's t."""
        shift = mean_shift(values, TARGET_LEVEL).shift
        return cls(value=shift.value, low=shift.low, high=shift.high)

    @property
    def sure(self) -> bool:
        """Whether there is a difference at all."""
        return self.low > 0 or self.high < 0


class Taken(Model):
    """One side's time, in µs of CPU time per operation.

    ``whole`` is by the tasks' clocks, ``sampled`` by samples, the sum of ``parts``. ``symbols`` are
    the largest functions, programs or agents of each part. ``rest`` is what the side's programs use
    per second without any operation, which is left out, in µs. ``beside`` is time of softirqs that
    no task was charged with, in no sum.
    """

    operations: int
    turns: int
    whole: float
    sampled: float
    parts: dict[str, float]
    symbols: dict[str, dict[str, float]]
    rest: float
    beside: float

    @property
    def off(self) -> float:
        """By what share of the whole the parts miss it."""
        return self.sampled / self.whole - 1

    @property
    def other(self) -> float:
        """The share of no known part."""
        return self.parts.get(OTHER, 0.0) / self.sampled


class Difference(Model):
    """A side against the baseline: by the tasks' clocks, by samples, and by parts."""

    whole: Interval
    sampled: Interval
    parts: dict[str, Interval]

    def causes(self) -> list[tuple[str, Interval]]:
        """The parts that surely differ, the largest first."""
        found = [each for each in self.parts.items() if each[1].sure]
        return sorted(found, key=lambda each: -abs(each[1].value))


class Operation(Model):
    """One operation: what one of it is called, each side's time, and each but the baseline's
    difference. ``by_turn`` has what it rests on: of each bring-up, by side and part (and
    ``whole``), the value of every turn."""

    name: str
    what: str
    sides: dict[str, Taken]
    differences: dict[str, Difference]
    by_turn: list[dict[str, dict[str, list[float]]]]

    @classmethod
    def of(
        cls, name: str, what: str, baseline: str, found: Sequence[Mapping[str, Profile]]
    ) -> "Operation":
        """From the profiles of each bring-up, by side."""
        sides = list(found[0])
        return cls(
            name=name,
            what=what,
            sides={side: _taken([each[side] for each in found]) for side in sides},
            differences={
                side: _difference([(each[baseline], each[side]) for each in found])
                for side in sides
                if side != baseline
            },
            by_turn=[{side: _by_turn(each[side]) for side in sides} for each in found],
        )

    def doubts(self) -> list[str]:
        """What of the bounds is not kept."""
        said = []
        for side, taken in self.sides.items():
            if abs(taken.off) > MOST_OFF:
                said.append(
                    f"{self.what}, {side}: the parts are {100 * taken.off:+.1f} % off the tasks' "
                    "clocks"
                )
            if taken.other > MOST_OTHER:
                said.append(f"{self.what}, {side}: {100 * taken.other:.0f} % is of no known part")
        return said


class Explanation(Model):
    """All that was found. ``unit``: over what intervals are, turns or bring-ups."""

    sides: list[Side]
    baseline: str
    started: str
    seconds: float
    bring_ups: int
    kernel: str
    operations: list[Operation]
    warnings: list[str]
    ways: list[Followed] = Field(default_factory=list)

    @property
    def unit(self) -> str:
        """What intervals are over."""
        return "bring-ups" if self.bring_ups > 1 else "turns of one bring-up"

    def doubts(self) -> list[str]:
        """What of the bounds is not kept, in all operations."""
        return [line for each in self.operations for line in each.doubts()]


class ExplanationError(ValueError):
    """Data that is no explanation; one line says why."""


def from_dict(data: Mapping[str, Any]) -> Explanation:
    """Read what :func:`report.explain.to_json` wrote.

    :raises ExplanationError: it is of another version, or damaged.
    """
    if data.get("schema") != SCHEMA:
        raise ExplanationError(f"schema {data.get('schema')}: {SCHEMA} is read")
    try:
        return Explanation.model_validate({k: v for k, v in data.items() if k != "schema"})
    except ValidationError as error:
        raise ExplanationError(f"no explanation: {problem(error)}") from None


def _by_turn(profile: Profile) -> dict[str, list[float]]:
    return {
        name: [round(float(each), 4) for each in profile.of(name)]
        for name in ("whole", *PARTS)
        if name == "whole" or name in profile.parts
    }


def _taken(profiles: Sequence[Profile]) -> Taken:
    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    parts = {
        part: mean(each.of(part).mean() for each in profiles)
        for part in PARTS
        if any(part in each.parts for each in profiles)
    }
    what = {part: [each.what.get(part, {}) for each in profiles] for part in parts}
    return Taken(
        operations=sum(each.operations for each in profiles),
        turns=sum(len(each.whole) for each in profiles),
        whole=mean(each.whole.mean() for each in profiles),
        sampled=sum(parts.values()),
        parts=parts,
        symbols={
            part: {
                name: mean(each.get(name, 0.0) for each in of_each)
                for name in largest(of_each, _SYMBOLS)
            }
            for part, of_each in what.items()
        },
        rest=mean(each.rest for each in profiles),
        beside=mean(sum(each.beside.values()) for each in profiles),
    )


def _difference(pairs: Sequence[tuple[Profile, Profile]]) -> Difference:
    """Of the baseline and a side, by bring-up."""

    def over(name: str) -> Interval:
        # The turns of one cycle belong together; the last cycle may lack one.
        shifts = [
            [after - before for before, after in zip(base.of(name), side.of(name), strict=False)]
            for base, side in pairs
        ]
        return Interval.of(shifts[0] if len(shifts) == 1 else [float(np.mean(s)) for s in shifts])

    parts = [part for part in PARTS if any(part in each.parts for pair in pairs for each in pair)]
    return Difference(
        whole=over("whole"), sampled=over("sampled"), parts={part: over(part) for part in parts}
    )
