"""One at a time: labs with a fixed id, so that what a killed run has left is ended by the next."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import LabError
from lab.paths import state_root


@contextmanager
def only_one(name: str, what: str) -> Iterator[None]:
    """Hold a lock of this name for the length of the block.

    :param what: the work, for the message: "validation".
    :raises LabError: somebody else holds it.
    """
    folder = state_root()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"another {what} runs on this machine. Fix: wait for its end") from None
        yield
