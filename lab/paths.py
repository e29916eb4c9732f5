"""Where one lab keeps its files on the host, and a lock for labs with a fixed id."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.toolchain import cache


def state_root() -> Path:
    """The folder of all labs: ``$XDG_STATE_HOME/cni-benchmark/labs``."""
    return cache.state_root(os.environ) / "labs"


@dataclass(frozen=True, slots=True)
class LabPaths:
    """The files of one lab; ``lab_id`` is unique, so two labs never share a folder."""

    lab_id: str
    root: Path

    @classmethod
    def of(cls, lab_id: str) -> LabPaths:
        return cls(lab_id, state_root() / lab_id)

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        return self.root / "pids"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.config / "kubeconfig"

    def make(self) -> None:
        """Create the folders; safe to call again."""
        for folder in (self.logs, self.pids, self.config, self.pki):
            folder.mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


@contextmanager
def only_one(name: str, what: str) -> Iterator[None]:
    """Hold a lock of this name for the length of the block.

    With a fixed id, what a killed run has left is ended by the next one.

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
