"""In which order the sides follow each other, round by round."""

from __future__ import annotations

import random
from collections.abc import Sequence

Order = tuple[tuple[str, ...], ...]
"""The sides' labels for every round."""


def abba(labels: Sequence[str], rounds: int) -> Order:
    """Every other round the other way round, so that neither a drift nor the place within the
    round favours one of two sides."""
    there, back = tuple(labels), tuple(reversed(labels))
    return tuple(back if round_ % 2 else there for round_ in range(rounds))


def shuffled(labels: Sequence[str], rounds: int, seed: int) -> Order:
    """Every round in an order of its own, by chance: the same for the same seed."""
    chance = random.Random(seed)
    return tuple(tuple(chance.sample(list(labels), len(labels))) for _ in range(rounds))
