"""A matrix's state while it works: every change is on the disk before anything follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from bench.clock import Clock
from studies.matrix.folder import MatrixFolder, MatrixState, Status


class Memory:
    """The state and its file; may be changed from any thread."""

    def __init__(self, folder: MatrixFolder, state: MatrixState, clock: Clock) -> None:
        self.state = state
        self._folder = folder
        self._clock = clock
        self._lock = Lock()
        folder.save(state)

    def left(self) -> list[str]:
        """Stacks that have not failed, in their order."""
        return [stack for stack in self.state.stacks if stack not in self.state.failed]

    def reach(self, status: Status) -> None:
        """The matrix has come to another status."""
        over = {"finished": self._now()} if status in ("finished", "ended") else {}
        with self._lock:
            self._save({"status": status, **over})

    def begin_part(self, *, anew: bool) -> None:
        """The rounds begin, or go on."""
        with self._lock:
            self._save({"parts": 1 if anew else self.state.parts + 1})

    def fail(self, stack: str, why: str) -> None:
        """A scenario has failed."""
        with self._lock:
            self._save({"failed": {**self.state.failed, stack: why}})

    def warn(self, stack: str, what: str) -> None:
        """Something that the reader should know."""
        with self._lock:
            self._save({"warnings": [*self.state.warnings, f"{stack}: {what}"]})

    def is_up(self, stack: str, session: dict[str, object], toggles: object) -> None:
        """A stack can be measured."""
        with self._lock:
            self._save(
                {
                    "sessions": {**self.state.sessions, stack: session},
                    "toggles": {**self.state.toggles, stack: toggles},
                }
            )

    def bringing_up(self, stack: str) -> None:
        """A stack is about to be brought up: from now on it has to be taken down."""
        with self._lock:
            own, up = (
                list(dict.fromkeys([*names, stack]))
                for names in (self.state.own, self.state.brought_up)
            )
            self._save({"own": own, "brought_up": up})

    def is_down(self, stack: str) -> None:
        """A stack has been taken down."""
        with self._lock:
            self._save({"brought_up": [each for each in self.state.brought_up if each != stack]})

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time that is spent to that of a phase."""
        start = self._clock.monotonic()
        try:
            yield
        finally:
            with self._lock:
                before = self.state.seconds.get(phase, 0.0)
                spent = round(before + self._clock.monotonic() - start, 1)
                self._save({"seconds": {**self.state.seconds, phase: spent}})

    def _save(self, changes: dict[str, object]) -> None:
        self.state = self.state.model_copy(update=changes)
        self._folder.save(self.state)

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="seconds")
