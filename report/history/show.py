"""The history for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.text import number

if TYPE_CHECKING:
    from pandas import DataFrame

_BARS = "▁▂▃▄▅▆▇█"
_ARROWS = {"higher": "↑", "lower": "↓"}


def sparkline(values: Sequence[float]) -> str:
    """One character per value, from the lowest to the highest of them."""
    low, high = min(values), max(values)
    if high == low:
        return _BARS[len(_BARS) // 2] * len(values)
    top = len(_BARS) - 1
    return "".join(_BARS[round((value - low) / (high - low) * top)] for value in values)


def run_table(found: DataFrame) -> RenderableType:
    """Every result: its id, when, of what, by whom, how much."""
    table = _table()
    for heading in ("id", "started", "stack", "by", "profile"):
        table.add_column(heading, justify="right" if heading == "id" else "left", no_wrap=True)
    for heading in ("runs", "metrics"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.itertuples():
        table.add_row(
            str(row.id), _when(str(row.started)), str(row.stack), str(row.origin),
            str(row.profile), str(row.runs), str(row.metrics),
        )  # fmt: skip
    return table


def metric_lines(name: str, found: DataFrame) -> RenderableType:
    """One metric by stack: its course as bars on a scale of its own, then every median."""
    parts: list[RenderableType] = []
    for stack, rows in found.groupby("stack", sort=True):
        medians = [float(value) for value in rows["median"]]
        last = rows.iloc[-1]
        unit = f"{last['unit']} {_ARROWS[str(last['better'])]}"
        course = f"{sparkline(medians)}  {number(min(medians))} to {number(max(medians))} {unit}"
        parts.append(Text(f"{stack}  {name}  {course}", style="bold"))
        table = _table()
        table.add_column("id", justify="right", no_wrap=True)
        table.add_column("started", no_wrap=True)
        for heading in ("median", "interval", "n"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("profile", no_wrap=True)
        for _, row in rows.iterrows():
            interval = f"{number(float(row['low']))} to {number(float(row['high']))}"
            if row["level"] > 0:
                interval += f" ({100 * row['level']:.0f} %)"
            else:
                interval = "none"
            table.add_row(
                str(row["id"]), _when(str(row["started"])), number(float(row["median"])), interval,
                str(row["n"]), str(row["profile"]),
            )  # fmt: skip
        parts.append(table)
    return Group(*parts)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def _when(started: str) -> str:
    return started[:16].replace("T", " ")
