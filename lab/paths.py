"""Where one lab keeps its files on the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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
