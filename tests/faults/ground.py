"""What injections stand on: folders, commands of users', a small disk, and a running lab."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.wait import until
from tests.engine.checkout import Checkout
from tests.faults import planted
from tests.faults.planted import Watched
from tests.faults.table import line_of
from tests.lab import leftovers

ROOT = Path(__file__).parents[2]
_GONE_SECONDS = 25.0
BENCH = (sys.executable, "-m", "bench")


@dataclass
class Ground:
    """A folder of the run's own, and commands in it whose processes can be told from all others."""

    folder: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        os.environ[leftovers.RUN_MARK] = self.mark
        os.environ["XDG_STATE_HOME"] = str(self.folder / "state")
        os.environ.update(planted.VARIABLES)
        os.environ.pop("CNI_BENCHMARK_MEASURE", None)

    @property
    def user(self) -> Checkout:
        """This checkout, as a user has it, with a folder of state of the run's own."""
        return Watched(ROOT, dict(os.environ))

    def place(self, name: str) -> Path:
        """A fresh folder."""
        place = self.folder / f"{name}-{secrets.token_hex(2)}"
        place.mkdir()
        return place

    def refused(self, code: int, *argv: str, **more: str) -> str:
        """What a command tells that must end with this code, without a traceback."""
        done = self.user.run(*argv, **more)
        assert done.returncode == code, f"exit code {done.returncode}: {line_of(done.stdout)}"
        assert "Traceback" not in done.stdout, line_of(done.stdout)
        return line_of(done.stdout)

    def stopped(self, by: signal.Signals, line: str, *argv: str, **more: str) -> tuple[int, str]:
        """The exit code of a command that gets a signal once it has told a line, and its last
        words."""
        process = self.user.start(*argv, **more)
        told = self.user.interrupt(process, line, by)
        assert "Traceback" not in told, told
        return process.returncode, line_of(told)

    def strays(self) -> dict[int, str]:
        """Processes that the run has started, but for this one and hosts of Pulumi programs."""
        return leftovers.of_this_run(self.mark, hosts=False)

    def assert_no_strays(self) -> None:
        """Wait until all of them have ended."""
        until(
            "all that an injection has started to end",
            lambda: "; ".join(self.strays().values()) or None,
            timeout=_GONE_SECONDS,
        )

    def end_strays(self) -> None:
        """End what a failed injection has left, and hosts of programs whose engine was killed."""
        for pid in leftovers.of_this_run(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextmanager
    def small_disk(self, size: str, *, full: bool = False) -> Iterator[Path]:
        """A file system of so many bytes, as ``mount`` takes them; nobody else's is touched."""
        place = self.place("disk")
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "faults", str(place)], check=True
        )
        try:
            if full:
                fill(place)
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)

    @contextmanager
    def read_only(self, source: Path) -> Iterator[Path]:
        """A folder that may only be read, which permissions do not keep root from."""
        subprocess.run(["mount", "--bind", str(source), str(source)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(source)], check=True)
            yield source
        finally:
            subprocess.run(["umount", "--lazy", str(source)], check=True)


def fill(place: Path) -> None:
    """Leave no byte of a small disk."""
    with suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def soon(what: Callable[[], object], seconds: float) -> Callable[[], None]:
    """Do something in a moment, in a thread; what is returned waits for it and raises its error."""
    from concurrent.futures import ThreadPoolExecutor

    def later() -> None:
        time.sleep(seconds)
        what()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(later)

    def wait() -> None:
        future.result()
        pool.shutdown()

    return wait


def without_numbers(name: str) -> str:
    """What a process is, without which one of several: ``cilium-agent``, ``httpbin``."""
    return re.sub(r"^node-\d+-|-\d+$", "", name)


def environment_of(proc: Path) -> Mapping[str, str]:
    """A process's variables."""
    pairs = (pair.partition("=") for pair in (proc / "environ").read_text().split("\0") if pair)
    return {name: value for name, _, value in pairs}
