"""A matrix's folder and its state, whose every change is on the disk before anything follows.

``matrix.json`` is the state, ``samples.jsonl`` the journal of its rounds, ``<stack>.json`` the
results of a scenario. All that a stopped matrix needs to go on is here.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.journal import RoundsHeader
from bench.results import Results, from_json
from bench.session import Clock

MATRIX: Final = "matrix.json"
SCHEMA: Final = "cni-benchmark/matrix/v1"
SAMPLES: Final = "samples.jsonl"
_LOCK: Final = ".lock"

Status = Literal["measuring", "measured", "finished", "ended"]


class FolderError(Exception):
    """A folder that cannot be used; the message says why and what to do."""


class MatrixRecord(BaseModel):
    """What a matrix knows beside its results, as far as it is shown.

    ``stacks`` are in the user's order, ``failed`` has the reason of each that has no results,
    ``toggles`` each one's output of that name. Which rounds were shared is in the results.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    stacks: list[str] = []
    failed: dict[str, str] = {}
    toggles: dict[str, Any] = {}


class MatrixState(MatrixRecord):
    """All that a matrix has to remember.

    ``order`` has the stacks of each round in the order in which they are measured, made from
    ``seed``. ``status``: ``measuring`` until all rounds are over, ``measured`` until stacks have
    their results and are taken down, ``finished``, or ``ended`` before its end. ``own`` are the
    stacks that it has brought up, ``brought_up`` those of them that are still up, ``sessions`` the
    descriptors of those that can be measured. ``parts`` is in how many its rounds were measured,
    ``seconds`` the time spent by phase, however often it was stopped. Times are ISO 8601 in UTC.
    """

    schema_: Literal["cni-benchmark/matrix/v1"] = Field(default=SCHEMA, alias="schema")
    id: str
    stacks: list[str]
    seed: int
    rounds: int
    order: list[list[str]]
    plan: dict[str, Any]
    status: Status = "measuring"
    own: list[str] = Field(default_factory=list)
    brought_up: list[str] = Field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    parts: int = 0
    started: str
    finished: str | None = None
    seconds: dict[str, float] = Field(default_factory=dict)

    def header(self) -> RoundsHeader:
        """Of the journal of its rounds."""
        order = tuple(map(tuple, self.order))
        return RoundsHeader(
            id=self.id, labels=self.stacks, seed=self.seed, order=order, plan=self.plan
        )


class MatrixFolder:
    """The files of one matrix."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = path / SAMPLES

    def results_file(self, stack: str) -> Path:
        """Where a scenario's results are."""
        return self.path / f"{stack}.json"

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """Keep other matrices out of the folder; it is made if it is not there.

        :raises FolderError: another one is at work in it, or it cannot be made.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                (self.path / ".gitignore").write_text("*\n", encoding="utf-8")
            lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise FolderError(f"the folder cannot be used: {error}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderError(
                    f"another matrix is at work in {self.path}. Fix: wait for its end, or choose "
                    "another folder: --out"
                ) from None
            yield

    def load(self) -> MatrixState | None:
        """The state of the matrix in this folder, if there is one.

        :raises FolderError: it cannot be read.
        """
        file = self.path / MATRIX
        try:
            return MatrixState.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise FolderError(
                f"{file} is no state of a matrix: {first}. Fix: choose another folder: --out"
            ) from None

    def save(self, state: MatrixState) -> None:
        """Write the state, whole or not at all.

        :raises OSError: it cannot be written.
        """
        self._write(self.path / MATRIX, state.model_dump_json(by_alias=True, indent=2))

    def save_results(self, stack: str, results: Results) -> None:
        """Write a scenario's results.

        :raises OSError: they cannot be written.
        """
        self._write(self.results_file(stack), results.to_json(indent=2))

    def results(self, stack: str) -> Results:
        """A scenario's results.

        :raises OSError: there are none.
        :raises ResultsError: they are damaged.
        """
        return from_json(self.results_file(stack).read_text(encoding="utf-8"))

    def clear(self, stacks: list[str]) -> None:
        """Remove what an earlier matrix has left."""
        for stack in stacks:
            self.results_file(stack).unlink(missing_ok=True)
        self.samples.unlink(missing_ok=True)

    def _write(self, path: Path, text: str) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(text + "\n", encoding="utf-8")
        fresh.replace(path)


class StateKeeper:
    """The state and its file; may be changed from any thread."""

    def __init__(self, folder: MatrixFolder, state: MatrixState, clock: Clock) -> None:
        self.state = state
        self._folder = folder
        self._clock = clock
        self._lock = Lock()
        folder.save(state)

    def remaining(self) -> list[str]:
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

    def record_up(self, stack: str, session: dict[str, object], toggles: object) -> None:
        """A stack can be measured."""
        with self._lock:
            self._save(
                {
                    "sessions": {**self.state.sessions, stack: session},
                    "toggles": {**self.state.toggles, stack: toggles},
                }
            )

    def record_start(self, stack: str) -> None:
        """A stack is about to be brought up: from now on it has to be taken down."""
        with self._lock:
            own, up = (
                list(dict.fromkeys([*names, stack]))
                for names in (self.state.own, self.state.brought_up)
            )
            self._save({"own": own, "brought_up": up})

    def record_down(self, stack: str) -> None:
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
