"""Results in Go's benchmark format, and what benchstat makes of them.

Go's format (golang.org/design/14313-benchmark-format) has one line per sample; benchstat
(golang.org/x/perf/cmd/benchstat) computes medians, intervals and Mann–Whitney's test from it with
code that shares nothing with ours. Two files may be compared only where all their ``key: value``
lines agree, so what a result is of goes into comments.
"""

import csv
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median

from bench import metrics
from bench.results import MetricResult, Results, grouped
from bench.text import tail

_UNITS: Mapping[str, tuple[str, Decimal]] = {
    metrics.MICROSECONDS: ("sec", Decimal("1e-6")),
    metrics.GBIT_PER_SECOND: ("bit/s", Decimal("1e9")),
    metrics.MILLICORES: ("cores", Decimal("1e-3")),
    metrics.MEBIBYTES: ("B", Decimal(2**20)),
}
"""Base units, which benchstat gives its own prefixes; other units stay as they are."""

_PREFIX = "Benchmark"
_SECONDS = 60.0


class BenchstatError(Exception):
    """benchstat failed, or its output is not what is known of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric as benchstat has it: both medians in the metric's own unit, and p to 0.001.

    With tied samples and sides of unequal size that p may be off: benchstat takes the smaller U
    for either side's, as if the tied distribution were symmetric.
    """

    medians: tuple[float, float]
    p: float
    n: tuple[int, int]


def export(results: Results) -> str:
    """A result in Go's benchmark format: a line for each bring-up, or each round of a single one.

    benchstat takes lines for independent, which slices and rounds of a bring-up are not.
    """
    return "\n".join([*_head(results), *_units(results), *_lines(results), ""])


def benchstat(program: Path, a: Results, b: Results, folder: Path) -> dict[str, Row]:
    """Compare the metrics that two results share by benchstat, at its own defaults.

    :param folder: where the exported files are put: ``a.txt`` and ``b.txt``.
    :raises BenchstatError: see there.
    """
    shared = a.only(b.metrics.keys()).metrics
    for name, side in (("a", a), ("b", b)):
        text = export(side.only(shared.keys()))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    try:
        done = subprocess.run(
            [str(program), "-format", "csv", "a=a.txt", "b=b.txt"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise BenchstatError(f"benchstat: {tail(error.stderr)}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchstatError(f"benchstat: {error}") from None
    return parse(done.stdout, shared)


def parse(text: str, known: Mapping[str, MetricResult]) -> dict[str, Row]:
    """Read benchstat's CSV: a table per unit, each with header lines and a line per metric.

    :param known: the metrics, for their units.
    :raises BenchstatError: a line of another shape, or of an unknown metric.
    """
    rows: dict[str, Row] = {}
    names = {_benchmark(name): name for name in known}
    try:
        lines = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise BenchstatError(f"benchstat: {error}") from None
    for line in lines:
        if not line or not line[0] or line[0] == "geomean" or ":" in line[0]:
            continue
        name = names.get(_PREFIX + line[0])
        if name is None or len(line) < 7:
            raise BenchstatError(f"benchstat: unexpected line {','.join(line)!r}")
        factor = _unit(known[name].unit)[1]
        try:
            medians = (_back(line[1], factor), _back(line[3], factor))
            rows[name] = Row(medians, *_comparison(line[6]))
        except (ValueError, ArithmeticError) as error:
            raise BenchstatError(f"benchstat: {error} in {','.join(line)!r}") from None
    return rows


def _head(results: Results) -> Iterator[str]:
    about = {
        "scenario": results.scenario.title,
        "target": results.environment.target,
        "profile": results.profile,
        "started": results.started,
        **results.tools,
    }
    for key, value in about.items():
        yield f"# {key} {value}"
    yield "pkg: cni-benchmark"


def _units(results: Results) -> Iterator[str]:
    """Each unit's direction, where all metrics of the unit share one: benchstat knows no other."""
    directions: dict[str, set[str]] = {}
    for metric in results.metrics.values():
        directions.setdefault(_unit(metric.unit)[0], set()).add(metric.better)
    for unit, known in sorted(directions.items()):
        if len(known) == 1 and "neither" not in known:
            yield f"Unit {unit} better={known.pop()}"


def _lines(results: Results) -> Iterator[str]:
    for name, metric in results.metrics.items():
        unit, factor = _unit(metric.unit)
        for sample in _replicates(metric):
            # In decimal, so that nothing is rounded and equal samples stay equal.
            yield f"{_benchmark(name)} 1 {Decimal(repr(sample)) * factor} {unit}"


def _replicates(metric: MetricResult) -> Iterator[float]:
    several = len(set(metric.bring_ups)) > 1
    groups = grouped(metric.by_place(), lambda place: place.bring_up if several else place.round)
    for values in groups.values():
        yield values[0] if len(values) == 1 else median(values)


def _benchmark(name: str) -> str:
    """A benchmark's name has to go on with a capital letter."""
    return _PREFIX + name[:1].upper() + name[1:]


def _unit(unit: str) -> tuple[str, Decimal]:
    return _UNITS.get(unit, (unit.replace(" ", "-"), Decimal(1)))


def _back(text: str, factor: Decimal) -> float:
    return float(Decimal(text) / factor)


def _comparison(text: str) -> tuple[float, tuple[int, int]]:
    """``p=0.008 n=5+6``; ``n=5`` alone where both sides have as many."""
    words = dict(word.split("=", 1) for word in text.split() if "=" in word)
    if not {"p", "n"} <= words.keys():
        raise ValueError(f"no p and n in {text!r}")
    first, _, second = words["n"].partition("+")
    return float(words["p"]), (int(first), int(second or first))
