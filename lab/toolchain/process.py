"""Child processes that never outlive the set-up."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import ToolchainError

_TAIL = 30
MOST_SECONDS = 3600.0
"""No step takes so long by itself; a download that has stalled would hold the set-up's lock."""
# The group's first process: it runs the command and ends the whole group once its parent is gone,
# however that ended, which closes the pipe that it reads. A compiler told of nothing would go on.
_GUARDIAN = """
import os, signal, subprocess, sys, threading
try:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
except OSError as error:
    sys.exit(f"cannot run {sys.argv[1]}: {error}")
def watch():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
os._exit(child.wait() % 256)
"""
_running: set[subprocess.Popen[str]] = set()
_guard = threading.Lock()
_ending = threading.Event()


def last_lines(text: str, count: int = _TAIL) -> str:
    """The end of a program's output, for an error message."""
    return "\n".join(text.rstrip().splitlines()[-count:])


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = MOST_SECONDS,
    outlives: bool = False,
) -> str:
    """Run to the end and return standard output; a failure's error has the last lines.

    The child gets its own process group, so that its compilers end with it, and with this process.

    :param outlives: it goes on where this process is killed: what must not be left half done.
    """
    guardian = [] if outlives else [sys.executable, "-I", "-S", "-c", _GUARDIAN]
    command = [*guardian, *map(str, argv)]
    alive, ours = os.pipe()
    try:
        with _guard:
            if _ending.is_set():
                raise ToolchainError(f"{what}: not started, the set-up is ending")
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(env) if env is not None else None,
                stdin=subprocess.DEVNULL if outlives else alive,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            _running.add(child)
    except OSError as error:
        os.close(ours)
        raise ToolchainError(f"{what}: cannot run {argv[0]}: {error}") from error
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(alive)
    try:
        stdout, stderr = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(child)
        raise ToolchainError(
            f"{what}: not done after {seconds / 60:.0f} minutes, and ended: a download may have "
            "stalled. The same command goes on from here"
        ) from None
    except BaseException:
        _end(child)
        raise
    finally:
        os.close(ours)
        with _guard:
            _running.discard(child)
    if child.returncode != 0:
        output = last_lines(stdout + stderr) or "(no output)"
        raise ToolchainError(f"{what} failed with exit code {child.returncode}:\n{output}")
    return stdout


def end_all() -> None:
    """End every child that still runs, with all that it started, and start no more."""
    with _guard:
        _ending.set()
        children = list(_running)
    for child in children:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        try:
            child.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
        return
