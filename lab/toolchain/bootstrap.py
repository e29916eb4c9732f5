"""The first stage, on the system's Python and its standard library: make the environment.

Commands that need no environment (``doctor``, ``clean-cache``) run here. For all others the
environment is made where it is missing, and they go on in it (:mod:`lab.toolchain.commands`), where
the project's libraries can be imported.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from cni.calendar import calendar
from lab import machine
from lab.errors import ToolchainError
from lab.toolchain import doctor, process
from lab.toolchain.cache import CHECKOUT, Cache, digest_files

_INTERRUPTED = 130
_LITTLE_ROOM = 200e6
"""Bytes. What is built takes some gigabytes."""


def say(text: str) -> None:
    """Progress goes to standard error: standard output is for ``eval``."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class PythonEnv:
    """The environment of one checkout; with ``dev`` the tools of the tests are in it too."""

    checkout: Path
    cache: Cache
    dev: bool = False

    @property
    def requirements(self) -> Path:
        """Every package with its version and the digests of its files (``make lock``)."""
        return self.checkout / ("requirements-dev.txt" if self.dev else "requirements.txt")

    @property
    def folder(self) -> Path:
        version = ".".join(str(part) for part in sys.version_info[:3])
        # The base interpreter's place counts: a virtual environment points to it.
        made_from = digest_files([self.requirements], version, sys.base_prefix)
        return self.cache.path(f"venv-{made_from}")

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def ready(self) -> bool:
        return (self.folder / "complete").exists()

    def make(self) -> None:
        """Make the environment, with the mark of completeness written last.

        It is made in its final place, because its scripts name their interpreter by path.
        """
        process.run(
            [sys.executable, "-m", "venv", "--clear", self.folder],
            what="making the Python environment",
        )
        try:
            self._install_with_uv()
        except ToolchainError:
            self._pip(self.requirements)  # uv does not read pip's configuration
        (self.folder / "complete").touch()

    def _install_with_uv(self) -> None:
        """The requirements in 6 s of processor time; pip takes 30 s, which the compilers miss."""
        self._pip(self.checkout / "tools" / "uv.txt")
        index = os.environ.get("PIP_INDEX_URL")
        process.run(
            [
                *(self.python, "-m", "uv", "pip", "install", "--quiet"),
                *("--require-hashes", "-r", self.requirements),
            ],
            what=f"installing {self.requirements.name}",
            cwd=self.checkout,
            env={**({"UV_DEFAULT_INDEX": index} if index else {}), **os.environ},
        )

    def _pip(self, requirements: Path) -> None:
        quiet = ("--disable-pip-version-check", "install", "--quiet", "--no-compile")
        process.run(
            [self.python, "-m", "pip", *quiet, "--require-hashes", "-r", requirements],
            what=f"pip install -r {requirements}",
            cwd=self.checkout,
        )

    def link(self) -> None:
        """Point ``.venv`` of the checkout to this environment; a folder of the user's stays."""
        link = self.checkout / ".venv"
        if link.is_symlink():
            if link.resolve() == self.folder.resolve():
                return
        elif link.exists():
            return
        fresh = self.checkout / f".venv.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.folder)
        fresh.replace(link)


def can_make_environments() -> bool:
    """Whether this Python has venv and pip inside (Debian packs them apart)."""
    done = subprocess.run(
        [sys.executable, "-c", "import ensurepip, venv"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def current_env(checkout: Path, cache: Cache) -> PythonEnv:
    """The environment to use now: the larger one where it is there."""
    dev = PythonEnv(checkout, cache, dev=True)
    return dev if dev.ready else PythonEnv(checkout, cache)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python3 -m lab.toolchain", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    ensure = commands.add_parser("ensure", help="build or find all that a stack needs")
    _add_choice(ensure).add_argument(
        "--down", metavar="STACK", help="to take a stack down, also where its file is gone"
    )
    ensure.add_argument("--python", action="store_true", help="the Python environment only")
    ensure.add_argument("--dev", action="store_true", help="with the tools of tests and checks")

    env = commands.add_parser("env", help='print shell exports: eval "$(make -s env)"')
    _add_choice(env)

    run = commands.add_parser("run", help="run a command in the project's environment")
    run.add_argument("--stack", help="the stack that must exist in the Pulumi backend")
    run.add_argument(
        "--clear", metavar="STACK", help="first clear what a killed command has left of a stack"
    )
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ...")

    commands.add_parser("doctor", help="say whether this machine can run the lab")
    commands.add_parser("versions", help="print the version of every program")
    clean = commands.add_parser("clean-cache", help="remove everything that was built")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    return top


def _add_choice(command: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    choice = command.add_mutually_exclusive_group()
    choice.add_argument("--stack", help="for this stack (Pulumi.<stack>.yaml)")
    choice.add_argument("--for", dest="cni", metavar="CNI", help="for this CNI")
    choice.add_argument("--all", action="store_true", help="for every stack (the default)")
    choice.add_argument("--every", action="store_true", help="every version that there is")
    return choice


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or have it run in the environment; this does not return then."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    return guarded(lambda: _run(arguments, words))


def guarded(work: Callable[[], None]) -> int:
    """The exit status of some work, with errors as one line."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        work()
    except ToolchainError as error:
        say(f"error: {error}{_little_room()}")
        return error.exit_status
    except OSError as error:  # no room, or a folder that may only be read
        say(f"error: {error}; what is finished is kept")
        return ToolchainError.exit_status
    except KeyboardInterrupt:
        say("interrupted; what is finished is kept, the same command goes on from here")
        return _INTERRUPTED
    return 0


def _little_room() -> str:
    """For an error: tools that run out of space do not all say so."""
    root = Cache().root
    place = next(each for each in (root, *root.parents) if each.is_dir())
    free = shutil.disk_usage(place).free
    return f"\n{free / 1e6:,.0f} MB are left for {root}" if free < _LITTLE_ROOM else ""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(arguments: argparse.Namespace, words: Sequence[str]) -> None:
    match arguments.command:
        case "doctor":
            run_doctor()
        case "clean-cache":
            clean_cache(yes=arguments.yes)
        case _:
            python = _environment(dev=getattr(arguments, "dev", False)).python
            os.execv(python, [str(python), "-m", "lab.toolchain.commands", *words])


def _environment(*, dev: bool) -> PythonEnv:
    """The environment of this checkout, made where it is missing and linked as ``.venv``."""
    cache = Cache()
    environment = PythonEnv(CHECKOUT, cache, dev=True) if dev else current_env(CHECKOUT, cache)
    if not environment.ready:
        with machine.working("a set-up", say), cache.lock(say):
            cache.clear_leftovers()
            if not environment.ready:
                _make(environment)
    environment.link()
    return environment


def _make(environment: PythonEnv) -> None:
    start = time.monotonic()
    say(f"making the Python environment in {environment.cache.root}: built once, then kept")
    if not can_make_environments() and doctor.is_debian():
        doctor.install_packages(["python3-venv"])
    try:
        environment.make()
    except BaseException:
        process.end_all()
        raise
    say(f"Python environment … {time.monotonic() - start:.0f} s")


def run_doctor() -> None:
    for line in calendar(datetime.now(UTC).date()):
        print(line)
    problems = doctor.missing(doctor.gather())
    if problems:
        raise ToolchainError(doctor.message(problems))
    print("this machine can run the lab")


def clean_cache(*, yes: bool) -> None:
    root: Path = Cache().root
    if not yes and sys.stdin.isatty():
        answer = input(f"remove {root}? It takes many minutes to build again [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return
    if not root.is_dir():
        say(f"nothing is built in {root}")
        return
    # Not beside a set-up, nor a measurement, whose programs these are.
    with machine.working("the removal of what was built", say), Cache().lock(say):
        shutil.rmtree(root, ignore_errors=True)
    link = CHECKOUT / ".venv"
    if link.is_symlink() and not link.exists():
        link.unlink()
    say(f"removed {root}")
