"""One measurement at a time on this machine, and nothing of ours that disturbs it meanwhile.

Measuring takes the machine's lock alone. Bringing labs up, taking them down and building programs
share it: they may meet each other, but no measurement. Whoever cannot have it waits and says for
whom, or is refused (:data:`BUSY`). What a measuring process does itself or has its children do
never waits for it. The kernel gives the lock back when a process ends, however it ends.

Measurements in a cluster elsewhere do not take it: their load is not on this machine. The standard
library only: a set-up takes it before anything is installed.
"""

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import TracebackType

from lab.errors import MachineBusyError

LOCK = "CNI_BENCHMARK_LOCK"
"""Names the lock's file; containers that share a machine name one that they share, too."""
BUSY = "CNI_BENCHMARK_BUSY"
WAIT, REFUSE = "wait", "refuse"
"""What :data:`BUSY` may be: what becomes of who finds the machine taken; to wait is usual."""
MEASURED_BY = "CNI_BENCHMARK_MEASURED_BY"
"""Tells a measuring process's children its number."""
# Not in the user's folder of state: users, and tests with folders of their own, share the machine.
_FOLDERS = (Path("/run/lock"), Path("/tmp"))
_FILE = "cni-benchmark.lock"
_POLL_SECONDS = 0.2
_MOST_BYTES = 1 << 16

Say = Callable[[str], None]
_given_up = threading.Event()


def give_up() -> None:
    """End all waiting in this process, now and later: it has been told to stop."""
    _given_up.set()


@contextmanager
def given_up_within() -> Iterator[None]:
    """Have :func:`give_up` count for what is done within only."""
    try:
        yield
    finally:
        _given_up.clear()


def gave_up(seconds: float) -> bool:
    """Whether this process has been told to stop, now or within so many seconds."""
    return _given_up.wait(seconds)


def lock_file(environment: Mapping[str, str]) -> Path:
    """Where this machine's lock is."""
    if named := environment.get(LOCK):
        return Path(named)
    there = (each for each in _FOLDERS if each.is_dir() and os.access(each, os.W_OK))
    return next(there, _FOLDERS[-1]) / _FILE


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lock: a process, since when (time of day), and what it does."""

    pid: int
    alone: bool
    since: str
    what: str

    def text(self) -> str:
        """In a few words."""
        return f"{self.what} (pid {self.pid}, since {self.since})"

    def line(self) -> str:
        return f"{self.pid}\t{int(self.alone)}\t{self.since}\t{self.what}\n"

    @classmethod
    def of(cls, line: str) -> "Holder":
        pid, alone, since, what = line.split("\t")
        return cls(int(pid), alone == "1", since, what)


class Hold:
    """The lock, held for one piece of work until :meth:`release` or the end of a ``with``."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Give it back; does nothing the second time."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> "Hold":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.release()


class Machine:
    """This process's view of a machine's lock. It may hold it several times over, in threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._guard = threading.RLock()
        self._fd: int | None = None
        self._alone = self._together = 0

    def hold(self, what: str, say: Say, *, alone: bool) -> Hold:
        """Take the lock; waits as long as somebody else has it.

        :param what: the work, for those who wait for it: "a measurement".
        :param alone: it bears nobody beside it.
        :raises MachineBusyError: somebody has it and waiting is not wanted, or no more; or the
            lock's file cannot be used.
        """
        refused = _refuses()
        with self._guard:
            if not self._alone and self._is_child_of(self.holders()):
                return Hold(lambda: None)
            if not self._alone and (alone or not self._together):
                self._take(what, say, alone=alone, refused=refused)
            if alone:
                self._alone += 1
                os.environ[MEASURED_BY] = str(os.getpid())
            else:
                self._together += 1
        return Hold(lambda: self._release(alone=alone))

    def holders(self) -> list[Holder]:
        """Who has the lock, but for this process. Processes that were killed are not among them."""
        try:
            text = self._file.read_bytes()[-_MOST_BYTES:].decode(errors="replace")
        except OSError:
            return []
        last = {each.pid: each for each in map(_parsed, text.splitlines()) if each is not None}
        others = (each for pid, each in last.items() if pid != os.getpid())
        return [each for each in others if each.what and _lives(each.pid)]

    @staticmethod
    def _is_child_of(holders: Iterable[Holder]) -> bool:
        parent = os.environ.get(MEASURED_BY)
        return any(each.alone and str(each.pid) == parent for each in holders)

    def _take(self, what: str, say: Say, *, alone: bool, refused: bool) -> None:
        fd = self._opened()
        told = ""
        while not _locked(fd, alone=alone):
            by = ", ".join(each.text() for each in self.holders()) or "another process"
            if refused:
                self._close()
                raise MachineBusyError(
                    f"this machine is taken by {by}. Fix: wait for its end, or have it waited for: "
                    f"{BUSY}={WAIT}"
                )
            if by != told:
                say(f"waiting for {by}")
                told = by
            if _given_up.wait(_POLL_SECONDS):
                self._close()
                raise MachineBusyError(f"stopped while waiting for {by}")
        if alone:
            os.ftruncate(fd, 0)  # whoever else is named there has ended
        now = datetime.now().strftime("%H:%M:%S")
        self._write(Holder(os.getpid(), alone, now, what))

    def _release(self, *, alone: bool) -> None:
        with self._guard:
            if alone:
                self._alone -= 1
            else:
                self._together -= 1
            if self._fd is None or self._alone or (self._together and not alone):
                return
            if alone:
                os.environ.pop(MEASURED_BY, None)
                os.ftruncate(self._fd, 0)
            if self._together:
                fcntl.flock(self._fd, fcntl.LOCK_SH)
                return
            self._write(Holder(os.getpid(), False, "", ""))
            self._close()

    def _write(self, holder: Holder) -> None:
        assert self._fd is not None
        os.write(self._fd, holder.line().encode())

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _opened(self) -> int:
        if self._fd is None:
            try:
                self._fd = open_shared(self._file)
            except OSError as error:
                raise MachineBusyError(
                    f"the lock of this machine cannot be used: {error}. Fix: name another file "
                    f"by {LOCK}"
                ) from None
        return self._fd


def open_shared(file: Path) -> int:
    """Open a lock's file, which all users of the machine may have, whoever has made it.

    :raises OSError: it cannot be used: it is a link, say.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW
    try:
        # Not by O_CREAT alone: in folders that all may write to, the kernel refuses that for a
        # file that is another user's (fs.protected_regular).
        return os.open(file, flags)
    except FileNotFoundError:
        pass
    try:
        fd = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return os.open(file, flags)
    os.fchmod(fd, 0o666)  # for all users, whatever our umask
    return fd


def _locked(fd: int, *, alone: bool) -> bool:
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refuses() -> bool:
    asked = os.environ.get(BUSY) or WAIT
    if asked not in (WAIT, REFUSE):
        raise MachineBusyError(f"{BUSY}={asked}: must be {WAIT} or {REFUSE}")
    return asked == REFUSE


def _parsed(line: str) -> Holder | None:
    try:
        return Holder.of(line)
    except ValueError:  # half a line: somebody is writing it
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@cache
def _machine(file: Path) -> Machine:
    return Machine(file)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measuring(what: str, say: Say = _tell) -> Hold:
    """Have this machine alone (:meth:`Machine.hold`)."""
    return _machine(lock_file(os.environ)).hold(what, say, alone=True)


def working(what: str, say: Say = _tell) -> Hold:
    """Have no measurement beside this work (:meth:`Machine.hold`)."""
    return _machine(lock_file(os.environ)).hold(what, say, alone=False)
