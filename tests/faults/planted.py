"""A secret in the environment of everything that the run starts, and where it must never be found:
in what is printed, in any file of the run's or of folders that all users share, in a process of the
lab's."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.engine.checkout import Checkout
from tests.faults.table import Seen
from tests.lab import leftovers
from tests.lab.running import RunningLab

SECRET = f"planted-{secrets.token_hex(12)}"
_MARK = SECRET.encode()
VARIABLES = dict.fromkeys(
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GITHUB_TOKEN"), SECRET
)
"""Credentials and a token, as users have them."""
PASSPHRASE = {"PULUMI_CONFIG_PASSPHRASE": SECRET}
_OUTPUTS: list[int] = []
_SHARED = tuple(map(Path, ("/tmp", "/var/tmp", "/run", "/dev/shm", "/var/log")))
"""Folders that other users read."""
_START = time.time()


@dataclass(frozen=True)
class Watched(Checkout):
    """A checkout, of whose commands nothing that is printed may hold the secret."""

    def run(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        done = super().run(*argv, **more)
        _look_at(done.stdout)
        return done

    def interrupt(self, process: subprocess.Popen[str], line: str, by: signal.Signals) -> str:
        told = super().interrupt(process, line, by)
        _look_at(told)
        return told


def _look_at(output: str) -> None:
    assert SECRET not in output, "a secret is printed"
    _OUTPUTS.append(len(output))


def holding(files: Iterable[Path]) -> Iterator[Path]:
    """Those of some files that hold the secret."""
    for file in files:
        with suppress(OSError):
            if file.is_file() and not file.is_symlink() and _MARK in file.read_bytes():
                yield file


def written(folder: Path, since: float) -> Iterator[Path]:
    """The files below a shared folder that have changed since a time of day (in seconds), but for
    those on other file systems."""
    device = folder.stat().st_dev
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if _is_on(device, Path(place, each))]
        for file in (Path(place, name) for name in names):
            with suppress(OSError):
                if file.lstat().st_mtime >= since:
                    yield file


def _is_on(device: int, folder: Path) -> bool:
    with suppress(OSError):
        return folder.lstat().st_dev == device
    return False


def searched(
    folder: Path, running: RunningLab | None = None, shared: Iterable[Path] = _SHARED
) -> Seen:
    """Look for it everywhere, while a lab runs or after all.

    :param folder: the run's own.
    :param shared: folders of which only what has changed since the run's start is looked at.
    """
    own = [file for file in folder.rglob("*") if file.is_file()]
    others = [file for place in shared if place.is_dir() for file in written(place, _START)]
    found = [str(file) for file in holding({*own, *others})]
    assert not found, f"a secret is in {found}"
    pids = leftovers.pids_inside(running.lab.sandbox.init_pid) if running else []
    for pid in pids:
        with suppress(OSError):
            for name in ("environ", "cmdline"):
                assert _MARK not in Path(f"/proc/{pid}/{name}").read_bytes(), (
                    f"a secret is in the {name} of process {pid}"
                )
    where = f"{len({*own, *others})} files, {len(_OUTPUTS)} outputs"
    return Seen(f"nothing: it is in none of {where}" + f", {len(pids)} processes" * bool(pids), "–")
