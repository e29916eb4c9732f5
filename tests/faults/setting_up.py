"""Faults of a set-up, from an empty cache on: it is told to stop, killed, cut off from the network,
and has no room. Nothing half made is ever used, and no compiler outlives it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lab.toolchain.build import Toolchain
from lab.toolchain.cache import Cache, default_cache
from tests.engine.checkout import Checkout, wait_for_line
from tests.faults.ground import Ground
from tests.faults.table import Injection, Seen, line_of, plain

_TOOLCHAIN = (str(Path(sys.base_prefix) / "bin/python3"), "-m", "lab.toolchain")
PYTHON = (*_TOOLCHAIN, "ensure", "--python")
PROGRAMS = (*_TOOLCHAIN, "ensure", "--stack", "scenario-c")
_NOWHERE = "http://127.0.0.1:9"
_AT_WORK_SECONDS = 2.0
"""After its first line a set-up has something running."""
CACHE = "CNI_BENCHMARK_CACHE"


class SetUp:
    """Set-ups of one checkout, each in a cache of its own."""

    def __init__(self, ground: Ground, user: Checkout) -> None:
        self.ground, self.user = ground, user

    def empty(self) -> Path:
        return self.ground.place("cache") / "cache"

    def with_python(self) -> Path:
        """A cache that has the Python environment, and nothing else."""
        cache = self.empty()
        cache.mkdir()
        for each in default_cache().glob("venv-*"):
            (cache / each.name).symlink_to(each)
        return cache

    def stopped(self, by: signal.Signals, what: tuple[str, ...], line: str, cache: Path) -> Seen:
        process = self.user.start(*what, **{CACHE: str(cache)})
        wait_for_line(process, line)
        time.sleep(_AT_WORK_SECONDS)
        os.kill(process.pid, by)
        if by is signal.SIGKILL:
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()
            last = "nothing more"
        else:
            last = line_of(process.communicate(timeout=30)[0])
        assert process.returncode, "it was over already"
        self.assert_whole(cache)
        return Seen(last, "what was finished; nothing half made has a place in the cache")

    def assert_whole(self, cache: Path) -> None:
        """Whatever has its place is whole."""
        made = [each.parent for each in cache.glob("venv-*/complete")]
        torn = [each for each in made if not (each / "bin/python").exists()]
        kept = Cache(cache)
        torn += [each for each in cache.glob("programs/*/") if not kept.whole(each)]
        assert not torn, f"half made: {torn}"

    def goes_on(self) -> Seen:
        """A killed set-up is run again, to its end."""
        cache = self.empty()
        self.stopped(signal.SIGKILL, PYTHON, "making the Python environment", cache)
        done = self.user.run(*PYTHON, **{CACHE: str(cache)})
        assert done.returncode == 0, line_of(done.stdout)
        (made,) = cache.glob("venv-*/complete")
        python = made.with_name("bin") / "python"
        subprocess.run([python, "-c", "import pulumi, yaml"], check=True)
        return Seen(line_of(done.stdout), "the same command goes on, and ends well")

    def refused(self, cache: Path, **more: str) -> Seen:
        done = self.user.run(*PYTHON, **{CACHE: str(cache), **more})
        assert done.returncode == 1, f"{done.returncode}: {line_of(done.stdout)}"
        assert "Traceback" not in done.stdout, line_of(done.stdout)
        lines = done.stdout.splitlines()
        first = next(line for line in lines if line.startswith("error: "))
        told = first if first == lines[-1] else f"{first} … {lines[-1]}"
        return Seen(plain(told), "nothing was there")

    def other_digest(self) -> Seen:
        """A package is not what it was when its digest was taken."""
        file = self.user.folder / "requirements.txt"
        before = file.read_text()
        (entry,) = re.findall(r"^mdurl==(?:.*\\\n)+.*\n", before, re.MULTILINE)
        file.write_text(before.replace(entry, re.sub(r":[0-9a-f]{64}", ":" + 64 * "0", entry)))
        try:
            return self.refused(self.empty())
        finally:
            file.write_text(before)

    def full(self) -> Seen:
        with self.ground.small_disk("64k", full=True) as disk:
            return self.refused(disk / "cache")

    def little_room(self) -> Seen:
        with self.ground.small_disk("4m") as disk:
            seen = self.refused(disk)
            self.assert_whole(disk)
            return seen

    def read_only(self) -> Seen:
        with self.ground.read_only(self.ground.place("cache")) as cache:
            return self.refused(cache)

    def no_folder(self) -> Seen:
        cache = self.empty()
        cache.write_text("a file\n")
        seen = self.refused(cache)
        assert cache.read_text() == "a file\n"
        return Seen(seen.told, "that file")

    def damaged(self) -> Seen:
        """A program that has lost its contents, as after a power cut, is not used."""
        program = Path(Toolchain.default().command("turns"))
        cache = Cache(self.empty())
        with cache.scratch("turns") as scratch:
            shutil.copytree(program.parent, scratch / "turns", dirs_exist_ok=True)
            copy = cache.publish(scratch / "turns", cache.path("programs", "turns"))
        assert cache.whole(copy), "the copy is not whole"
        (copy / ".verified").unlink()  # as after a start of the machine
        os.truncate(copy / "turns", 100)
        told = subprocess.run(
            [sys.executable, "-c", "import sys; from pathlib import Path;"
             "from lab.toolchain.cache import Cache;"
             "print(Cache(Path(sys.argv[1])).whole(Path(sys.argv[2])))",
             str(cache.root), str(copy)],
            capture_output=True, text=True, check=True, cwd=self.user.folder,
        ).stdout  # fmt: skip
        assert told == "False\n", told
        return Seen("nothing: it is built again", "all other programs")


def injections(ground: Ground, user: Checkout) -> Iterator[Injection]:
    made = SetUp(ground, user)

    def stopped(by: signal.Signals, what: str, python: bool) -> Injection:
        argv, line = (PYTHON, "making the Python") if python else (PROGRAMS, "to build:")

        def do() -> Seen:
            return made.stopped(by, argv, line, made.empty() if python else made.with_python())

        return Injection("set-up", f"{by.name} to a command", what, do)

    for by in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        yield stopped(by, "while Python's packages are installed", True)
    for by in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP):
        yield stopped(by, "while programs are compiled", False)
    yield Injection("set-up", "run again after a kill", "the same command", made.goes_on)
    yield Injection("set-up", "full disk", "for the cache", made.full)
    yield Injection("set-up", "disk that fills up", "while packages are installed",
                    made.little_room)  # fmt: skip
    yield Injection("set-up", "folder that may only be read", "for the cache", made.read_only)
    yield Injection("set-up", "file in a folder's place", "for the cache", made.no_folder)
    yield Injection("set-up", "damaged program", "all but 100 bytes are lost", made.damaged)
    no_packages = {"PIP_INDEX_URL": _NOWHERE, "PIP_RETRIES": "0", "UV_DEFAULT_INDEX": _NOWHERE}
    yield Injection("set-up", "registry out of reach", "Python's packages",
                    lambda: made.refused(made.empty(), **no_packages))  # fmt: skip
    yield Injection("set-up", "package of another digest", "mdurl", made.other_digest)
    yield Injection("set-up", "bad environment", "CNI_BENCHMARK_BUSY=perhaps",
                    partial(_busy, made))  # fmt: skip


def _busy(made: SetUp) -> Seen:
    return made.refused(made.empty(), CNI_BENCHMARK_BUSY="perhaps")
