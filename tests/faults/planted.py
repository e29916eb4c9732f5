"""A secret in the environment of everything that the run starts, and where it must never be found:
in what is printed, in any file, in a process of the lab's."""

from __future__ import annotations

import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.engine.checkout import Checkout
from tests.faults.table import Seen
from tests.lab import leftovers
from tests.lab.running import RunningLab

SECRET = f"planted-{secrets.token_hex(12)}"
VARIABLES = dict.fromkeys(
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GITHUB_TOKEN"), SECRET
)
"""Credentials and a token, as users have them."""
PASSPHRASE = {"PULUMI_CONFIG_PASSPHRASE": SECRET}
_OUTPUTS: list[int] = []


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


def holding(folder: Path) -> Iterator[Path]:
    """The files below a folder that hold the secret."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with suppress(OSError):
                if SECRET.encode() in file.read_bytes():
                    yield file


def searched(folder: Path, running: RunningLab | None = None) -> Seen:
    """Look for it everywhere, while a lab runs or after all."""
    found = [str(file) for file in holding(folder)]
    assert not found, f"a secret is in {found}"
    pids = leftovers.pids_inside(running.lab.sandbox.init_pid) if running else []
    for pid in pids:
        with suppress(OSError):
            for name in ("environ", "cmdline"):
                assert SECRET.encode() not in Path(f"/proc/{pid}/{name}").read_bytes(), (
                    f"a secret is in the {name} of process {pid}"
                )
    files = sum(1 for file in folder.rglob("*") if file.is_file())
    where = f"{files} files, {len(_OUTPUTS)} outputs"
    return Seen(f"nothing: it is in none of {where}" + f", {len(pids)} processes" * bool(pids), "–")
