"""Child processes that never outlive the set-up."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import ToolchainError

_TAIL = 30
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
) -> str:
    """Run to the end and return standard output; a failure's error has the last lines.

    The child gets its own process group, so that its compilers end with it.
    """
    command = [str(part) for part in argv]
    try:
        with _guard:
            if _ending.is_set():
                raise ToolchainError(f"{what}: not started, the set-up is ending")
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(env) if env is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            _running.add(child)
    except OSError as error:
        raise ToolchainError(f"{what}: cannot run {command[0]}: {error}") from error
    try:
        stdout, stderr = child.communicate()
    except BaseException:
        _end(child)
        raise
    finally:
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
