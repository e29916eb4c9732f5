"""What a command that was killed has left of a stack, in the way of the next one.

The engine keeps a lock in its backend for as long as it works on a stack, and a note of every
creation that it has begun. A killed one takes neither away: the next command is refused, and from
then on every command warns. Nor does its host of dynamic providers end, if it was not asked for
anything yet (:mod:`components.dynamic` ends one that was). ``make up``, ``make measure`` and ``make
down`` clear all of it first.
"""

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from lab.toolchain import process
from lab.toolchain.launcher import state_file

_ENGINE, _HOST = "pulumi", "pulumi.dynamic"
"""The name of the engine's process, and a word on the command line of its hosts of providers."""
_DYNAMIC = "$pulumi-python:dynamic"
"""In the URN of a resource whose provider is this project's: such a step finds what it has left."""


def has_ended(host: str, pid: int) -> bool:
    """Whether a Pulumi command of this machine runs no more; of another machine's nobody knows."""
    if host != socket.gethostname():
        return False
    try:
        found = psutil.Process(pid)
        # Its number may be somebody else's by now, and nobody may have waited for its end.
        return bool(found.name() != _ENGINE or found.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def clear(
    pulumi: str | Path,
    backend: str,
    project: str,
    stack: str,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Free a stack's lock if all who hold it have ended, and forget creations that were never
    finished if their resources are ours; says what is done.

    It looks into folders only. Other backends, and creations in a cloud, are for the user to
    decide on, and the engine tells them.

    :raises ToolchainError: Pulumi cannot do it; with its own words.
    """
    kept = state_file(backend, project, stack)
    if kept is None:
        return
    locks = kept.parents[2] / "locks" / "organization" / project / stack
    holders = [_holder(each) for each in locks.glob("*.json")]
    if not all(has_ended(*each) for each in holders):
        return
    run = _Runner(pulumi, stack, environment)
    if holders:
        say(f"{stack}: freeing the lock of a command that was killed")
        run("cancel", "--yes", "--stack", stack)
        _end_hosts()
    pending = _pending(kept)
    if pending and all(_DYNAMIC in urn for urn in pending):
        names = ", ".join(urn.rpartition("::")[2] for urn in pending)
        say(f"{stack}: forgetting what a killed command has not finished: {names}")
        run("refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", stack)


def _end_hosts() -> None:
    """End this user's hosts of dynamic providers whose engine has ended."""
    for host in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended meanwhile, or is another user's
            if (
                _HOST in host.cmdline()
                and host.uids().real == os.getuid()
                and not any(each.name() == _ENGINE for each in host.parents())
            ):
                host.kill()


class _Runner:
    """Runs Pulumi commands without showing what they print, unless they fail."""

    def __init__(self, pulumi: str | Path, stack: str, environment: Mapping[str, str]) -> None:
        self._pulumi, self._stack, self._environment = pulumi, stack, environment

    def __call__(self, *words: str) -> None:
        process.run(
            [self._pulumi, *words],
            what=f"clearing what a killed command has left of {self._stack}",
            env=self._environment,
        )


def _holder(lock: Path) -> tuple[str, int]:
    """Host and PID of a lock's holder; of one that cannot be read, nobody."""
    try:
        content = json.loads(lock.read_text())
        return str(content["hostname"]), int(content["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0


def _pending(kept: Path) -> Sequence[str]:
    """The URNs of creations that were begun; none where the file cannot be read, which the engine
    tells itself."""
    try:
        latest: Any = json.loads(kept.read_text())["checkpoint"]["latest"]
        operations = latest.get("pending_operations") or []
        return [each["resource"]["urn"] for each in operations if each["type"] == "creating"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
