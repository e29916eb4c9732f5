"""Parts of the CPU time of an operation, from folded samples, beside the tasks' own clocks.

All figures are µs of CPU time per operation, less what the side's programs use at rest: what they
use while others have their turns, which is a rate per second and not per operation.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.turns import Turns
from studies.explain.parts import UNTIL, WAKING, Share, program_of, share
from studies.explain.samples import REST, WOKEN, Folded, Key, Stack, Windows

Floats = NDArray[np.float64]
NANOSECONDS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Profile:
    """One side in one bring-up, of one operation. By turn: ``whole``, by the tasks' clocks, and
    ``parts``, by samples. ``what`` has the functions of a part, ``stacks`` the stacks, their
    outermost function first below who ran them. ``rest`` is what is left out, per second, in µs;
    ``beside`` softirqs that no task was charged with, by part, per operation."""

    operations: int
    whole: Floats
    parts: Mapping[str, Floats]
    what: Mapping[str, Mapping[str, float]]
    stacks: Mapping[Stack, float] = field(repr=False)
    rest: float
    beside: Mapping[str, float]

    def of(self, name: str) -> Floats:
        """By turn: a part's time, the ``whole``, or ``sampled``, all parts together."""
        if name == "whole":
            return self.whole
        nothing = np.zeros(len(self.whole))
        if name == "sampled":
            return np.asarray(sum(self.parts.values(), nothing))
        return self.parts.get(name, nothing)


def windows_of(turns: Turns) -> Windows:
    """The turns of a run; the last one's end is not told, and it is left out."""
    return Windows(turns.began[:-1], turns.subject[:-1].astype(np.int64), int(turns.began[-1]))


def profiles(turns: Turns, folded: Folded, units: float) -> list[Profile]:
    """One for each side.

    :param units: how many of what is told an operation of the generator is.
    """
    made = turns.took.shape[1] * units
    return [
        _profile(turns, counts, beside, side, made)
        for side, (counts, beside) in enumerate(zip(folded.sides, folded.beside, strict=True))
    ]


def _profile(
    turns: Turns,
    counts: Counter[Key],
    beside: Counter[Stack],
    side: int,
    made: float,
) -> Profile:
    own = np.flatnonzero(turns.of(side)[:-1])
    lengths = np.diff(turns.began)[own] / NANOSECONDS
    elsewhere = (turns.began[-1] - turns.began[0]) / NANOSECONDS - lengths.sum()
    # A turn costs its samples less those that its time would have had at rest.
    resting = lengths / elsewhere if elsewhere > 0 else np.zeros(len(own))
    position = {int(turn): place for place, turn in enumerate(own)}
    parts: dict[str, Floats] = defaultdict(lambda: np.zeros(len(own)))
    what: dict[str, Counter[str]] = defaultdict(Counter)
    stacks: Counter[Stack] = Counter()
    shares: dict[tuple[bool, str, Stack], Share] = {}
    all_resting = float(resting.sum())
    for (turn, node, place, stack), nanoseconds in counts.items():
        time = nanoseconds / 1e3 / made
        found = shares.get((node == WOKEN, place, stack))
        if found is None:
            found = Share(WAKING, UNTIL) if node == WOKEN else share(stack, place)
            shares[node == WOKEN, place, stack] = found
        if turn == REST:
            parts[found.part] -= time * resting
            amount = -time * all_resting / len(own)
        else:
            parts[found.part][position[turn]] += time
            amount = time / len(own)
        what[found.part][found.what] += amount  # type: ignore[assignment]
        stacks[(place or node, *map(_shown, reversed(stack)))] += amount  # type: ignore[assignment]
    spent = turns.cpu[own]
    used = turns.spent[own]
    # Between the end of its first turn and the start of its last, less its turns in between.
    idle = float(used[-1] - used[0] - spent[:-1].sum()) if len(own) > 1 else 0.0
    apart = (turns.began[own[-1]] - turns.began[own[0]]) / NANOSECONDS - lengths[:-1].sum()
    rest = idle / apart if apart > 0 else 0.0
    outside: Counter[str] = Counter()
    for stack, nanoseconds in beside.items():
        outside[share(stack, "").part] += nanoseconds / 1e3 / made / len(own)  # type: ignore[assignment]
    return Profile(
        operations=round(len(own) * made),
        whole=(spent - rest * lengths) / made,
        parts=dict(parts),
        what={part: dict(names) for part, names in what.items()},
        stacks=dict(stacks),
        rest=rest,
        beside=dict(outside),
    )


def _shown(symbol: str) -> str:
    """A BPF program without its tag, which is another one in every version and setting."""
    name = program_of(symbol)
    return symbol if name is None else f"BPF {name}"


def mean_stacks(profiles: Sequence[Profile]) -> dict[Stack, float]:
    """Of several bring-ups."""
    together: Counter[Stack] = Counter()
    for each in profiles:
        for stack, amount in each.stacks.items():
            together[stack] += amount / len(profiles)  # type: ignore[assignment]
    return dict(together)


def largest(what: Sequence[Mapping[str, float]], most: int) -> list[str]:
    """The names with the largest figures in any of several."""
    top: Counter[str] = Counter()
    for each in what:
        for name, amount in each.items():
            top[name] = max(top[name], abs(amount))  # type: ignore[assignment]
    return [name for name, _ in top.most_common(most)]
