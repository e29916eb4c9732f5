"""Many metrics at once: Holm's correction, and how many runs it takes.

A comparison has some forty metrics. At 5 % each, two of them would differ between a scenario and
itself. Holm's method (Scandinavian Journal of Statistics 6 (1979) 65) keeps the chance of even one
false verdict in the whole comparison at 5 %, whatever the dependence between metrics, and metrics
of one probe depend on each other a great deal. Benjamini & Hochberg's would need fewer runs, but
bounds the share of false verdicts in the whole table: a single one, which is what a reader acts
upon, may then be wrong more often than 5 %, the more so the more other metrics truly differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.compare.ranks import smallest_p, smallest_paired_p

ALPHA = 0.05
"""Chance of one or more false verdicts in a comparison of two equal things."""

DEFAULT_ROUNDS = 8
"""Rounds of an interleaved comparison. Two sides of 8 runs that lie wholly apart have p = 0.00016,
which survives the correction for 300 metrics; at the 45 of a whole comparison up to three of the
64 pairs of runs may lie the other way round."""

_MOST_RUNS = 100


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrected p-values (0 to 1) by name: at most ``alpha`` is a verdict at level ``alpha``."""
    corrected: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = highest
    return corrected


def runs_needed(family: int, *, paired: bool = False, alpha: float = ALPHA) -> int:
    """Runs of each side with which a verdict on one of ``family`` metrics is possible at all.

    :raises ValueError: not with 100 either.
    """
    smallest: Callable[[int], float] = smallest_paired_p if paired else _smallest_of_equal
    for runs in range(2, _MOST_RUNS + 1):
        if family * smallest(runs) <= alpha:
            return runs
    raise ValueError(f"no verdict on {family} metrics at level {alpha} with {_MOST_RUNS} runs")


def _smallest_of_equal(runs: int) -> float:
    return smallest_p(runs, runs)
