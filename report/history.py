"""What was measured before, in one SQLite file, and as tables for a terminal.

Every result is stored whole, with its metrics as rows beside it. To forget it all, delete the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Group, RenderableType
from rich.text import Text

from bench.metrics import ARROWS
from bench.results import Results, from_json
from bench.text import number
from report.show import plain_table

if TYPE_CHECKING:
    from pandas import DataFrame

Origin = Literal["up", "run", "matrix"]
"""Who measured: a stack's ``pulumi up``, ``python -m bench run``, or a matrix."""

_VERSION: Final = 1
_WAIT_SECONDS = 30.0
_BARS = "▁▂▃▄▅▆▇█"
_TABLES = """
CREATE TABLE result (
    id INTEGER PRIMARY KEY, stack TEXT NOT NULL, origin TEXT NOT NULL, started TEXT NOT NULL,
    profile TEXT NOT NULL, runs INTEGER NOT NULL, rounds TEXT, data TEXT NOT NULL
);
CREATE TABLE metric (
    result INTEGER NOT NULL REFERENCES result (id) ON DELETE CASCADE, name TEXT NOT NULL,
    median REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL, level REAL NOT NULL,
    n INTEGER NOT NULL, unit TEXT NOT NULL, better TEXT NOT NULL, PRIMARY KEY (result, name)
);
CREATE INDEX metric_name ON metric (name);
"""


class HistoryError(Exception):
    """The history cannot be read or written; the message names its file and says why."""


class History:
    """The results in one file, which is made when the first one is added."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, origin: Origin, stack: str, results: Results) -> int:
        """Keep results; those of the same rounds of a stack replace each other.

        :returns: their id.
        :raises HistoryError: they cannot be written.
        """
        rounds = results.rounds.id if results.rounds else None
        row = (
            stack, origin, results.started, results.profile, int(results.plan.get("runs", 0)),
            rounds, results.to_json(),
        )  # fmt: skip
        with self._errors_named():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as file, file:
                if rounds is not None:
                    file.execute(
                        "DELETE FROM result WHERE stack = ? AND rounds = ?", (stack, rounds)
                    )
                id_ = file.execute(
                    "INSERT INTO result (stack, origin, started, profile, runs, rounds, data) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)", row,
                ).lastrowid  # fmt: skip
                assert id_ is not None
                file.executemany(
                    "INSERT INTO metric VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (id_, name, m.median, *m.ci, m.ci_level, m.n, m.unit, m.better)
                        for name, m in results.metrics.items()
                    ],
                )
        return id_

    def results(self, id_: int) -> tuple[str, Results]:
        """Results by their id, with the name of their stack.

        :raises HistoryError: there are none of that id.
        """
        with self._errors_named(), closing(self._existing()) as file:
            row = file.execute("SELECT stack, data FROM result WHERE id = ?", (id_,)).fetchone()
        if row is None:
            raise HistoryError(f"{self.path} has no results {id_}: python -m bench history lists")
        return str(row[0]), from_json(row[1])

    def runs(self, stack: str | None = None) -> DataFrame:
        """What there is, oldest first: id, stack, origin, started, profile, runs, metrics.

        :raises HistoryError: there is no history, or it cannot be read.
        """
        return self._frame(
            "SELECT id, stack, origin, started, profile, runs, COUNT(name) AS metrics "
            "FROM result LEFT JOIN metric ON result = id "
            "WHERE ?1 IS NULL OR stack = ?1 GROUP BY id ORDER BY started, id",
            (stack,),
        )

    def metric(self, name: str, stack: str | None = None) -> DataFrame:
        """One metric over time, oldest first: id, stack, origin, started, profile, median, low,
        high, level, n, unit, better.

        :raises HistoryError: as :meth:`runs`.
        """
        return self._frame(
            "SELECT id, stack, origin, started, profile, median, low, high, level, n, unit, better "
            "FROM metric JOIN result ON result = id "
            "WHERE name = ?1 AND (?2 IS NULL OR stack = ?2) ORDER BY started, id",
            (name, stack),
        )

    def names(self) -> list[str]:
        """All metrics that were ever kept.

        :raises HistoryError: as :meth:`runs`.
        """
        return [str(name) for name in self._frame("SELECT DISTINCT name FROM metric", ())["name"]]

    def _frame(self, query: str, values: tuple[str | None, ...]) -> DataFrame:
        import pandas

        with self._errors_named(), closing(self._existing()) as file:
            return pandas.read_sql_query(query, file, params=values)

    def _existing(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise HistoryError(f"no history yet ({self.path}): a measurement begins it")
        return self._open()

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, timeout=_WAIT_SECONDS)
        file.execute("PRAGMA foreign_keys = ON")
        # Several stacks may be measured for the first time at once.
        with file:
            file.execute("BEGIN IMMEDIATE")
            (version,) = file.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _TABLES.split(";"):
                    file.execute(statement)
                file.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise HistoryError(
                    f"{self.path} is a history of another version ({version}, not {_VERSION}). "
                    "Fix: move the file away"
                )
        return file

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"the history {self.path} cannot be used: {error}") from None


def keep_result(
    history: History, origin: Origin, stack: str, results: Results, say: Callable[[str], None]
) -> None:
    """Add results to a history. A measurement is worth more than its place there, so one
    that cannot be added is a warning and not lost."""
    try:
        history.add(origin, stack, results)
    except HistoryError as error:
        say(f"warning: not kept in the history: {error}")


def sparkline(values: Sequence[float]) -> str:
    """One character per value, from the lowest to the highest of them."""
    low, high = min(values), max(values)
    if high == low:
        return _BARS[len(_BARS) // 2] * len(values)
    top = len(_BARS) - 1
    return "".join(_BARS[round((value - low) / (high - low) * top)] for value in values)


def run_table(frame: DataFrame) -> RenderableType:
    """A row per result: its id, when, of what, by whom, how much."""
    table = plain_table()
    for heading in ("id", "started", "stack", "by", "profile"):
        table.add_column(heading, justify="right" if heading == "id" else "left", no_wrap=True)
    for heading in ("runs", "metrics"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in frame.itertuples():
        table.add_row(
            str(row.id), _when(str(row.started)), str(row.stack), str(row.origin),
            str(row.profile), str(row.runs), str(row.metrics),
        )  # fmt: skip
    return table


def metric_lines(name: str, frame: DataFrame) -> RenderableType:
    """One metric by stack: its course as bars on a scale of its own, then every median."""
    parts: list[RenderableType] = []
    for stack, rows in frame.groupby("stack", sort=True):
        medians = [float(value) for value in rows["median"]]
        last = rows.iloc[-1]
        unit = f"{last['unit']} {ARROWS[last['better']]}"
        course = f"{sparkline(medians)}  {number(min(medians))} to {number(max(medians))} {unit}"
        parts.append(Text(f"{stack}  {name}  {course}", style="bold"))
        table = plain_table()
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


def _when(started: str) -> str:
    return started[:16].replace("T", " ")
