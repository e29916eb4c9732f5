"""How far a set-up is: a line for every step that is done, and on a terminal what is under way."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType

from rich import progress
from rich.console import Console

from lab.toolchain.bootstrap import say

_PER_SECOND = 2.0
"""Times that the terminal is written to: compilers need the CPUs."""


class Progress:
    """Counts steps: ``[3/14] cilium 1.16.5 … 212 s``.

    On a terminal, below these lines, stand what is being made at this moment, each for how long,
    and how much is left. It is shown for as long as a ``with`` block lasts.
    """

    def __init__(self, total: int, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._total, self._done, self._begun = total, 0, 0
        self._lock = Lock()
        self._shown = progress.Progress(
            progress.SpinnerColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.description}", markup=False),
            console=console,
            refresh_per_second=_PER_SECOND,
            transient=True,
            disable=not console.is_terminal,
        )
        self._all = self._shown.add_task(self._left(), total=None)

    def __enter__(self) -> "Progress":
        self._shown.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._shown.stop()

    def run(self, name: str, work: Callable[[], object]) -> None:
        """Do a step, and tell that it is done."""
        start = time.monotonic()
        self._count(begun=1)
        with self.under_way(name):
            work()
        self._count(done=1)
        say(f"[{self._done}/{self._total}] {name} … {time.monotonic() - start:.0f} s")

    @contextmanager
    def under_way(self, name: str) -> Iterator[None]:
        """Something is being made for as long as a block lasts, which may be no step of its own."""
        task = self._shown.add_task(name, total=None)
        try:
            yield
        finally:
            self._shown.remove_task(task)

    def _count(self, *, begun: int = 0, done: int = 0) -> None:
        with self._lock:
            self._begun += begun
            self._done += done
            self._shown.update(self._all, description=self._left())

    def _left(self) -> str:
        return f"set-up: {self._done} of {self._total} done, {self._total - self._begun} to begin"
