"""The history's file: SQLite, in the folder where the project keeps its state.

Every result is stored whole, with its metrics as rows beside it. To forget it all, delete the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from bench.results import Results, from_json

if TYPE_CHECKING:
    from pandas import DataFrame

Origin = Literal["up", "run", "matrix"]
"""Who measured: a stack's ``pulumi up``, ``python -m bench run``, or a matrix."""

_VERSION: Final = 1
_WAIT_SECONDS = 30.0
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
        with self._told():
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
        with self._told(), closing(self._existing()) as file:
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

        with self._told(), closing(self._existing()) as file:
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
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"the history {self.path} cannot be used: {error}") from None


def keep_result(
    history: History, origin: Origin, stack: str, results: Results, say: Callable[[str], None]
) -> None:
    """Add results to a history. A measurement is worth more than its place there, so that one
    that cannot be added is told and not lost."""
    try:
        history.add(origin, stack, results)
    except HistoryError as error:
        say(f"warning: not kept in the history: {error}")
