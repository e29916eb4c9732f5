"""What a command that works on several stacks shows: a table on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bench.interleave import Step
from bench.text import minutes
from studies.matrix.run import Display


class Lines(Display):
    """One line for everything that happens; of a sample, when it has ended."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def phase(self, name: str) -> None:
        self._say(name)

    def about(self, stack: str, text: str) -> None:
        self._say(f"{stack}: {text}")

    def step(self, step: Step) -> None:
        if step.outcome is not None:
            self._say(
                f"[{step.done}/{step.total}] round {step.round} of {step.rounds}: {step.label} "
                f"{step.probe.name} … {step.said()} ({minutes(step.seconds_left)} left)"
            )


@dataclass(slots=True)
class _Row:
    at: str = "waiting"
    last: str = ""
    done: int = 0


class LiveTable(Display):
    """A row per stack, what runs now, and the time that is left."""

    def __init__(self, stacks: Sequence[str], live: Live) -> None:
        self._rows = {stack: _Row() for stack in stacks}
        self._live = live
        self._phase = ""
        self._left: float | None = None
        self._round = ""
        self._start = time.monotonic()
        self._lock = Lock()

    def phase(self, name: str) -> None:
        with self._lock:
            self._phase, self._left = name, None
            self._draw()

    def about(self, stack: str, text: str) -> None:
        with self._lock:
            self._rows[stack].at = text
            self._draw()

    def step(self, step: Step) -> None:
        with self._lock:
            row = self._rows[step.label]
            self._left, self._round = step.seconds_left, f"round {step.round} of {step.rounds}"
            if step.outcome is None:
                row.at = f"{step.probe.name}, run {step.round} of {step.rounds}"
                self._draw()
            else:
                row.at, row.last = "", f"{step.probe.name}: {step.said()}"
                row.done += 1

    def _draw(self) -> None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
        table.add_column("scenario", no_wrap=True, min_width=max(map(len, self._rows)))
        table.add_column("samples", justify="right", no_wrap=True, min_width=len("samples"))
        table.add_column("now", overflow="ellipsis", no_wrap=True, ratio=1)
        table.add_column("last", overflow="ellipsis", no_wrap=True, ratio=1)
        for stack, row in self._rows.items():
            table.add_row(stack, str(row.done or ""), escape(row.at), escape(row.last))
        left = "" if self._left is None else f", {self._round}, {minutes(self._left)} left"
        spent = minutes(time.monotonic() - self._start)
        self._live.update(Group(table, Text(f"{self._phase}{left} ({spent} so far)")), refresh=True)


@contextmanager
def display(stacks: Sequence[str], console: Console) -> Iterator[Display]:
    """A table on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield Lines(lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
        return
    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield LiveTable(stacks, live)
