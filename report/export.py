"""Scenarios side by side as Markdown, CSV, JSON, and in Go's benchmark format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from bench import benchstat
from bench.metrics import ARROWS
from bench.text import number
from report.sidebyside import Cell, Row, SideBySide, caveats, certainty, qualified

SCHEMA: Final = "cni-benchmark/side-by-side/v1"

_ADVICE = "Fewer metrics need fewer runs."

COLUMNS: Final = (
    "metric", "group", "unit", "better", "scenario", "n", "median", "low", "high", "ci_level",
    "baseline", "effect", "effect_low", "effect_high", "effect_unit", "p", "p_corrected", "verdict",
    "notes",
)  # fmt: skip
"""Of the CSV: a line per metric and scenario."""


def as_csv(side: SideBySide) -> str:
    """A line per metric and scenario, with full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in side.rows():
        writer.writerows(_record(row, cell, side.baseline.name) for cell in row.cells)
    return text.getvalue()


def _record(row: Row, cell: Cell, baseline: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "metric": row.name,
        "group": row.group,
        "unit": row.unit,
        "better": row.better,
        "scenario": cell.scenario,
        "n": cell.result.n if cell.result else 0,
    }
    if cell.result:
        low, high = cell.result.ci
        record |= {"median": cell.result.median, "low": low, "high": high}
        record |= {"ci_level": cell.result.ci_level, "notes": "; ".join(qualified(cell.result))}
    if cell.against:
        effect = cell.against.effect
        record |= {
            "baseline": baseline,
            "effect": effect.value,
            "effect_low": effect.low,
            "effect_high": effect.high,
            "effect_unit": "%" if effect.relative else row.unit,
            "p": cell.against.p,
            "p_corrected": cell.against.corrected,
            "verdict": cell.against.verdict,
        }
    return record


def as_markdown(side: SideBySide) -> str:
    """One table: medians with intervals, and below each its effect and verdict."""
    names = [scenario.name for scenario in side.scenarios]
    lines = [
        f"| metric | unit | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
        *(_line(row) for row in side.rows()),
        "",
        f"Median (interval); effect on {names[0]} (interval); verdict. {certainty(side, _ADVICE)}",
        *(f"- {text}" for text in caveats(side)),
        "",
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    cells = " | ".join("<br>".join(cell_lines(cell)) or "-" for cell in row.cells)
    return f"| {row.name} | {row.unit} {ARROWS[row.better]} | {cells} |"


def cell_lines(cell: Cell) -> Iterator[str]:
    """A cell of a table: median and interval, effect and verdict, what limits them."""
    if cell.result is None:
        return
    interval = f" ({cell.result.interval_text()})" if cell.result.ci_level > 0 else ""
    yield f"{number(cell.result.median)}{interval}"
    if cell.against:
        yield f"{cell.against.effect_text()}: {cell.against.verdict}"
    yield from qualified(cell.result)


def as_json(side: SideBySide) -> str:
    """The comparisons, each as :mod:`bench.compare` has it."""
    data = {
        "schema": SCHEMA,
        "baseline": side.baseline.name,
        "interleaved": side.interleaved,
        "comparisons": [comparison.to_dict() for comparison in side.comparisons],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def as_benchstat(side: SideBySide) -> str:
    """All samples in one file: ``benchstat -col scenario FILE`` compares them."""
    names = [row.name for row in side.rows()]
    return "".join(
        f"scenario: {scenario.name}\n{benchstat.export(scenario.results.only(names))}\n"
        for scenario in side.scenarios
    )


FORMATS: Mapping[str, Callable[[SideBySide], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "benchstat": as_benchstat,
}
