"""A matrix's folder and its state, whose every change is on the disk before anything follows.

``matrix.json`` is the state and ``<stack>.json`` the results of a scenario. Each bring-up has a
folder (``bring-up-1`` …) with the journal of its rounds, ``samples.jsonl``, and its own results by
scenario. All that a stopped matrix needs to go on is here.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.journal import RoundsHeader, write_whole
from bench.plan import Plan
from bench.results import Results, from_json
from bench.session import Clock
from studies.census.twin import Twin

MATRIX: Final = "matrix.json"
SCHEMA: Final = "cni-benchmark/matrix/v2"
SAMPLES: Final = "samples.jsonl"
EXPLANATION, GRAPHS = "explain.json", "why"
"""Where the CPU time of the last bring-up's operations went, and the folder of its flame graphs."""
_LOCK: Final = ".lock"
RESERVED: Final = tuple(Path(name).stem for name in (MATRIX, EXPLANATION))
"""What no stack may be called: its results would be written over these files."""

TOOL_BRING_UPS: Final = 3
"""In so many, the first ones, the tools measure, too. What decides is measured in turns, in all."""

Status = Literal["measuring", "measured", "finished", "ended"]


class FolderError(Exception):
    """A folder that cannot be used; the message says why and what to do."""


class MatrixRecord(BaseModel):
    """What a matrix knows beside its results, as far as it is shown.

    ``stacks`` are in the user's order, ``failed`` has the reason of each that has no results,
    ``toggles`` each one's output of that name. Which rounds were shared is in the results.
    ``twin`` is what was around in all clusters; None for nothing.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    stacks: list[str] = []
    failed: dict[str, str] = {}
    toggles: dict[str, Any] = {}
    twin: Twin | None = None


class MatrixState(MatrixRecord):
    """All that a matrix has to remember.

    There are ``bring_ups`` bring-ups of ``rounds`` rounds each; ``over`` of them are over. ``lost``
    has, for each that has begun, the reason of every stack that has no results of it; those in
    ``torn`` were interrupted and begun anew. ``order`` has the stacks of each round, through all
    bring-ups, in the order in which they are measured, made from ``seed``. ``status``:
    ``measuring`` until all rounds are over, ``measured`` until stacks have their results and are
    taken down, ``finished``, or ``ended`` before its end. ``own`` are the stacks that it has
    brought up, ``brought_up`` those of them that are still up, ``sessions`` the descriptors of
    those that can be measured. ``parts`` is in how many the rounds of a single bring-up were
    measured, ``seconds`` the time spent by phase, however often it was stopped. Times are ISO 8601
    in UTC.
    """

    schema_: Literal["cni-benchmark/matrix/v2"] = Field(default=SCHEMA, alias="schema")
    id: str
    stacks: list[str]
    seed: int
    bring_ups: int
    rounds: int
    order: list[list[str]]
    plan: dict[str, Any]
    status: Status = "measuring"
    over: int = 0
    lost: list[dict[str, str]] = Field(default_factory=list)
    torn: list[int] = Field(default_factory=list)
    own: list[str] = Field(default_factory=list)
    brought_up: list[str] = Field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    parts: int = 0
    started: str
    finished: str | None = None
    seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def anew(self) -> bool:
        """Whether all is brought up anew for each bring-up, and nothing may have been up before."""
        return self.bring_ups > 1

    def gaps(self) -> list[str]:
        """What single bring-ups lack, in a line each; without those that have failed in all."""
        return [
            f"bring-up {number} has no results of {stack}: {why}"
            for number, reasons in enumerate(self.lost, 1)
            for stack, why in reasons.items()
            if stack not in self.failed
        ]

    def plan_of(self, bring_up: int) -> Plan:
        """What is measured in a bring-up."""
        return replace(Plan.from_dict(self.plan), tools=bring_up <= TOOL_BRING_UPS)

    def header(self, bring_up: int) -> RoundsHeader:
        """Of the journal of a bring-up's rounds."""
        order = tuple(map(tuple, self.order[(bring_up - 1) * self.rounds : bring_up * self.rounds]))
        plan = self.plan_of(bring_up).as_dict()
        return RoundsHeader(id=self.id, labels=self.stacks, seed=self.seed, order=order, plan=plan)


class MatrixFolder:
    """The files of one matrix."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def bring_up(self, number: int) -> Path:
        """The folder of a bring-up."""
        return self.path / f"bring-up-{number}"

    def samples(self, bring_up: int) -> Path:
        """The journal of a bring-up's rounds."""
        return self.bring_up(bring_up) / SAMPLES

    def results_file(self, stack: str, bring_up: int | None = None) -> Path:
        """Where a scenario's results are: all, or those of one bring-up."""
        folder = self.path if bring_up is None else self.bring_up(bring_up)
        return folder / f"{stack}.json"

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
            data = json.loads(file.read_bytes())
            schema = data.get("schema") if isinstance(data, dict) else None
            if schema != SCHEMA:
                raise FolderError(
                    f"{file} is no state of a matrix of this version: its schema is {schema!r}, "
                    f"not {SCHEMA!r}. Fix: choose another folder: --out"
                )
            return MatrixState.model_validate(data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise FolderError(
                f"{file} is no state of a matrix: {first}. Fix: choose another folder: --out"
            ) from None

    def save(self, state: MatrixState) -> None:
        """Write the state, whole or not at all.

        :raises OSError: it cannot be written.
        """
        self.write(self.path / MATRIX, state.model_dump_json(by_alias=True, indent=2))

    def save_results(self, stack: str, results: Results, bring_up: int | None = None) -> None:
        """Write a scenario's results: all, or those of one bring-up.

        :raises OSError: they cannot be written.
        """
        self.write(self.results_file(stack, bring_up), results.to_json(indent=2))

    def results(self, stack: str, bring_up: int | None = None) -> Results:
        """A scenario's results: all, or those of one bring-up.

        :raises OSError: there are none.
        :raises ResultsError: they are damaged.
        """
        return from_json(self.results_file(stack, bring_up).read_text(encoding="utf-8"))

    def begin(self, bring_up: int, *, anew: bool) -> None:
        """Make the folder of a bring-up; with ``anew``, remove what is there.

        :raises OSError: that is not possible.
        """
        folder = self.bring_up(bring_up)
        if anew and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)

    def clear(self, before: MatrixState) -> None:
        """Remove what an earlier matrix has left.

        :raises OSError: that is not possible.
        """
        for stack in before.stacks:
            self.results_file(stack).unlink(missing_ok=True)
        (self.path / EXPLANATION).unlink(missing_ok=True)
        for folder in (*self.path.glob("bring-up-*"), *self.path.glob(GRAPHS)):
            shutil.rmtree(folder)

    def write(self, path: Path, text: str) -> None:
        """Write a file of the folder, whole or not at all.

        :raises OSError: that is not possible.
        """
        write_whole(path, text + "\n")


class StateKeeper:
    """The state and its file; may be changed from any thread."""

    def __init__(self, folder: MatrixFolder, state: MatrixState, clock: Clock) -> None:
        self.state = state
        self._folder = folder
        self._clock = clock
        self._lock = Lock()
        folder.save(state)

    def remaining(self) -> list[str]:
        """Stacks that have not failed in the bring-up that is under way, in their order."""
        return [stack for stack in self.state.stacks if stack not in self.state.lost[-1]]

    def reach(self, status: Status) -> None:
        """The matrix has come to another status."""
        over = {"finished": self._now()} if status in ("finished", "ended") else {}
        with self._lock:
            self._save({"status": status, **over})

    def begin_bring_up(self, number: int) -> None:
        """A bring-up begins, or is taken up again: with several, it begins anew then."""
        state = self.state
        again = len(state.lost) == number
        with self._lock:
            if not again:
                self._save({"lost": [*state.lost, {}], "parts": 0})
            elif state.anew:
                torn = list(dict.fromkeys([*state.torn, number]))
                self._save({"lost": [*state.lost[:-1], {}], "torn": torn})

    def end_bring_up(self) -> None:
        """A bring-up is over."""
        with self._lock:
            self._save({"over": len(self.state.lost)})

    def begin_part(self, *, anew: bool) -> None:
        """The rounds begin, or go on."""
        with self._lock:
            self._save({"parts": 1 if anew else self.state.parts + 1})

    def lose(self, stack: str, why: str) -> None:
        """A scenario has no results of the bring-up that is under way."""
        with self._lock:
            *before, now = self.state.lost
            self._save({"lost": [*before, {**now, stack: why}]})

    def fail(self, stack: str, why: str) -> None:
        """A scenario has failed in the end."""
        with self._lock:
            self._save({"failed": {**self.state.failed, stack: why}})

    def warn(self, stack: str, what: str) -> None:
        """Something that the reader should know."""
        with self._lock:
            self._save({"warnings": [*self.state.warnings, f"{stack}: {what}"]})

    def record_up(self, stack: str, session: dict[str, object], toggles: object = None) -> None:
        """A stack can be measured.

        :param toggles: None where they are not known anew.
        """
        with self._lock:
            known = {**self.state.toggles, **({} if toggles is None else {stack: toggles})}
            self._save({"sessions": {**self.state.sessions, stack: session}, "toggles": known})

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
