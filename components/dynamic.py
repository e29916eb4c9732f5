"""What all dynamic providers of this project share.

A dynamic provider's class is found again by its import path for as long as a stack lives, so these
classes keep their names; a change of what they do is told to the engine by :data:`VERSION`.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pulumi.dynamic import DiffResult, ResourceProvider

#: Input of every resource: raising it makes existing stacks take up a provider's new behaviour.
VERSION = 1

_LOOK_SECONDS = 1.0


class UserError(Exception):
    """Shown to the user as it is, without a traceback."""


class Provider(ResourceProvider):
    """A dynamic provider whose inputs decide alone whether something has to be done again.

    ``replaced_by`` are the inputs whose change replaces the resource; another input's change
    updates it.
    """

    replaced_by: tuple[str, ...] = ()

    def configure(self, req: Any) -> None:
        _show_user_errors_plainly()
        _end_with_the_engine()

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        changed = changed_inputs(_olds, _news)
        replaces = [name for name in changed if name in self.replaced_by]
        return DiffResult(
            changes=bool(changed), replaces=replaces, delete_before_replace=bool(replaces)
        )


def changed_inputs(olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
    """Inputs whose new value differs from the recorded one; unknown ones (at preview) differ."""
    return [
        name
        for name, value in news.items()
        # None stands for an output, whose name an input must have for the engine to know it.
        if _own(name) and value is not None and olds.get(name) != value
    ]


def inputs(props: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The named inputs, to be recorded among a resource's outputs."""
    return {name: props[name] for name in names}


def _own(name: str) -> bool:
    return not name.startswith("__")


class _PlainTraceback:
    """Stands in for the module `traceback` in the process that hosts dynamic providers."""

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)

    @staticmethod
    def format_exc(*args: Any, **kwargs: Any) -> str:
        error = sys.exc_info()[1]
        return str(error) if isinstance(error, UserError) else traceback.format_exc(*args, **kwargs)


def _show_user_errors_plainly() -> None:
    """The host of dynamic providers answers every error with a traceback, which hides the one line
    that the user needs (pulumi/dynamic/__main__.py, ``_abort_with_traceback``)."""
    host = sys.modules["__main__"]
    if hasattr(host, "DynamicResourceProviderServicer"):
        host.traceback = _PlainTraceback()  # type: ignore[attr-defined]


@cache
def _end_with_the_engine() -> None:
    """An engine that is killed leaves the host of its providers behind, which would go on with its
    step, beside the next `up`, and would never end."""
    engine = _engine(os.getppid())
    if engine is None:
        return
    wait = _end_of(engine)

    def end() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _engine(pid: int) -> int | None:
    """PID of the Pulumi command that has started a process, directly or by a script."""
    while pid > 1:
        name, parent = _process(pid)
        if name == "pulumi":
            return pid
        pid = parent
    return None


def _process(pid: int) -> tuple[str, int]:
    """A process's name and its parent; no name and no parent where it has ended."""
    if sys.platform != "linux":
        return _process_by_ps(pid)
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in status)
    return fields["Name"].strip(), int(fields["PPid"])


def _process_by_ps(pid: int) -> tuple[str, int]:
    command = ["ps", "-o", "ppid=,comm=", "-p", str(pid)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    # macOS gives the program's path, which may have spaces.
    parent, _, program = told.strip().partition(" ")
    return (Path(program.strip()).name, int(parent)) if program else ("", 0)


def _end_of(pid: int) -> Callable[[], None]:
    """Waits until a process has ended, when it is called."""
    if not hasattr(os, "pidfd_open"):  # Linux has it
        return lambda: _until_gone(pid)
    watched = os.pidfd_open(pid)

    def wait() -> None:
        select.select([watched], [], [])

    return wait


def _until_gone(pid: int) -> None:
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            time.sleep(_LOOK_SECONDS)
