"""benchstat against ours: the same samples, medians and Mann–Whitney's p by other people's code.

benchstat tests each metric by itself at 0.05 and corrects for nothing, so our p-values are compared
before the correction. It prints p to three decimals.

Where samples tie it has the exact distribution up to 25 a side and a normal approximation beyond
(``MannWhitneyTiesExactLimit``, ``internal/stats/utest.go`` of golang.org/x/perf): with the 26
rounds of one A/A it said 0.303 where the exact p is 0.485, of a metric whose samples were nearly
all 0. So no more are compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.benchstat import benchstat
from bench.compare import ALPHA, compare
from bench.results import Results
from studies.validate.model import Agreement, Check

_MEDIAN = 5e-6
"""Relative: results keep their medians to six significant digits (:mod:`bench.ledger`)."""
_P = 0.00051
_EXACT_ROUNDS = 25

Sides = tuple[Results, Results]


def exact(rounds: int) -> range:
    """Of so many rounds, counted from 1, those with which benchstat's p-values are exact."""
    return range(1, min(rounds, _EXACT_ROUNDS) + 1)


def agree(program: Path, compared: Mapping[str, Sides]) -> tuple[list[Check], list[Agreement]]:
    """Compare pairs of results, by name, with benchstat and by ourselves.

    Sides must have as many samples as each other: see :class:`bench.benchstat.Row`.

    :raises BenchstatError: benchstat failed.
    """
    agreements = [row for name, sides in compared.items() for row in _rows(program, name, sides)]
    median = max(
        abs(mine - theirs) / abs(theirs) if theirs else abs(mine)
        for row in agreements
        for mine, theirs in zip(row.ours, row.theirs, strict=True)
    )
    p_value = max(abs(row.our_p - row.their_p) for row in agreements)
    differ = [
        row.metric for row in agreements if _significant(row.our_p) != _significant(row.their_p)
    ]
    seen = sum(_significant(row.their_p) for row in agreements)
    many = f"{len(agreements)} metrics of {len(compared)} comparisons"
    checks = [
        Check(
            part="benchstat", name="medians",
            expectation="equal to the six digits that results keep",
            measured=f"largest difference {100 * median:.2g} %", interval=f"exact, {many}",
            passed=median <= _MEDIAN,
        ),
        Check(
            part="benchstat", name="p-values before the correction",
            expectation="equal to the three decimals that benchstat prints",
            measured=f"largest difference {p_value:.5f}", interval=f"exact, {many}",
            passed=p_value <= _P,
        ),
        Check(
            part="benchstat", name=f"differences at p ≤ {ALPHA}",
            expectation="the same metrics",
            measured=f"{len(agreements) - len(differ)} of {len(agreements)} alike"
            + (f"; not {', '.join(differ)}" if differ else "")
            + f" ({seen} differ by benchstat)",
            interval=f"exact, {many}",
            passed=not differ,
        ),
    ]  # fmt: skip
    return checks, agreements


def _rows(program: Path, name: str, sides: Sides) -> list[Agreement]:
    ours = compare(*sides).metrics
    with tempfile.TemporaryDirectory() as folder:
        theirs = benchstat(program, *sides, Path(folder))
    return [
        Agreement(
            metric=f"{metric} ({name})",
            ours=ours[metric].medians,
            theirs=row.medians,
            our_p=ours[metric].p,
            their_p=row.p,
        )
        for metric, row in theirs.items()
    ]


def _significant(p: float) -> bool:
    return round(p, 3) <= ALPHA
