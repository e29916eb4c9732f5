"""What the commands of ``python -m bench`` share: exit codes, refusals, sessions, progress."""

import argparse
import errno
import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeAlias

from rich.console import Console, RenderableType

from bench.benchstat import BenchstatError
from bench.checks import PreconditionError
from bench.journal import JournalError
from bench.plan import ALLOWABLE, PROFILES, PlanError
from bench.session import SessionError
from report.history import HistoryError
from report.show import print_results
from report.sources import SourceError
from studies.census.model import CensusError
from studies.experiments.ablate import OtherPlanError, TrialFileError
from studies.experiments.capabilities import StageError
from studies.experiments.definition import ExtentError
from studies.matrix.state import FolderError, MatrixFolder
from studies.upgrade import UpgradeRefusedError

Commands: TypeAlias = "argparse._SubParsersAction[Any]"
"""What ``add_subparsers`` gives: where a group adds its commands."""

OK, MISSING_NUMBERS, USAGE, PRECONDITION, SESSION, NO_RESULTS, CHECK_FAILED = range(7)
REGRESSION, UNDECIDED = 7, 8
INTERRUPTED = 130

EXIT_CODES = """exit codes:
  0    done
  1    measured, but some metric has no number (the others are kept)
  2    wrong arguments, or an impossible plan
  3    a precondition failed: nothing was measured
  4    the session descriptor or the cluster behind it does not work
  5    there are no results to show
  6    validated, and a check failed (the page says which)
  7    gate: something is worse than in the baseline; upgrade: by more than is tolerated
  8    gate: too few runs, so that nothing could have been found to be worse
  130  interrupted"""


EXPECTED: Mapping[type[Exception], int] = {
    PlanError: USAGE,
    ExtentError: USAGE,
    UpgradeRefusedError: USAGE,
    OtherPlanError: USAGE,
    FolderError: USAGE,
    CensusError: USAGE,
    JournalError: USAGE,
    PreconditionError: PRECONDITION,
    SessionError: SESSION,
    StageError: SESSION,
    BenchstatError: SESSION,
    SourceError: NO_RESULTS,
    HistoryError: NO_RESULTS,
    TrialFileError: NO_RESULTS,
}
"""Errors that end any command with their message and this exit code."""


class FatalError(Exception):
    """Ends the program with one line and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see --help)\n")


def descriptor(path: str) -> dict[str, Any]:
    """A session's descriptor from a file.

    :raises SessionError: there is none in it.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SessionError(f"session descriptor {path}: {error}") from None
    if not isinstance(data, dict):
        raise SessionError(f"session descriptor {path}: not a JSON object")
    return data


SESSION_FILE = 'JSON: {"target": "lab", "args": {…}}, as a stack keeps it'
"""What is said of an option that takes a session's descriptor."""


def add_allow(command: argparse.ArgumentParser) -> None:
    """Add the option that lets preconditions fail."""
    command.add_argument(
        "--allow", action="append", default=[], metavar="NAME",
        help="measure although this precondition fails; once for each: " + ", ".join(ALLOWABLE),
    )  # fmt: skip


ANSWERS = ("text", "json", "markdown")


def add_answer(command: argparse.ArgumentParser, file: str, folder: str) -> None:
    """Add the options of a study that answers a question: where it is kept, and how it is told.

    :param file: what ``folder`` has in the end.
    """
    command.add_argument("--out", metavar="FOLDER", help=f"for {file}: {folder}")
    command.add_argument("--format", choices=ANSWERS, default="text", help="text by default")
    add_allow(command)


def print_answer(
    form: str,
    *,
    text: Callable[[], RenderableType],
    as_json: Callable[[], str],
    markdown: Callable[[], str],
    width: int,
) -> None:
    """Print an answer in one of :data:`ANSWERS`.

    :param width: of text that goes to no terminal.
    """
    match form:
        case "json":
            print(as_json())
        case "markdown":
            print(markdown(), end="")
        case _:
            console = Console(width=None if sys.stdout.isatty() else width)
            print_results(console, text())


def add_profile(command: argparse.ArgumentParser) -> None:
    """Add the options that say what is measured, and for how long."""
    command.add_argument("--profile", default="quick", metavar="NAME", help=" | ".join(PROFILES))
    command.add_argument("--seconds", type=int, metavar="S", help="length of each probe's run")


def add_chosen_metrics(command: argparse.ArgumentParser) -> None:
    """Add the option that names the metrics of a comparison."""
    command.add_argument(
        "--metrics", type=names, metavar="M,M",
        help="only these, chosen before any was looked at: fewer metrics need fewer runs",
    )  # fmt: skip


def again(options: argparse.Namespace, *words: str) -> str:
    """The command line that does the same, which ends with the preconditions that may fail."""
    allowed = [word for name in options.allow for word in ("--allow", name)]
    return shlex.join(["python", "-m", "bench", *words, *allowed])


def names(text: str) -> list[str]:
    """Names that are separated by commas, as an argument."""
    return [name.strip() for name in text.split(",") if name.strip()]


def progress(line: str) -> None:
    """A line of progress; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn a refused write of ``what`` into one line."""
    try:
        yield
    except OSError as error:
        raise FatalError(USAGE, f"--out: cannot write {what}: {error}") from None


_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


@contextmanager
def alone_in(folder: MatrixFolder) -> Iterator[None]:
    """Keep others out of a folder; what the system refuses meanwhile is one line.

    :raises FatalError: the folder cannot be written, or something else was refused: a process
        could not be started, say.
    """
    try:
        with folder.only_one():
            yield
    except OSError as error:
        named = Path(error.filename) if isinstance(error.filename, str) else None
        inside = named is not None and named.absolute().is_relative_to(folder.path.absolute())
        if inside or (named is None and error.errno in _OF_A_DISK):
            raise FatalError(USAGE, f"--out: {error}") from None
        raise FatalError(SESSION, f"the system refuses: {error}. {_GOES_ON}") from error


_GOES_ON = "What was measured is kept, and the same command goes on"


@contextmanager
def interrupted_by_term(
    first: Callable[[], None] = lambda: None, *, either: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Have SIGTERM call ``first``, then end what is done as Ctrl-C does, so that it cleans up.

    :param either: is called before, also by Ctrl-C where that is not ignored.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        either()
        if number == signal.SIGTERM:
            first()
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
