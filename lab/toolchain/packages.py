"""Debian packages: which are installed, and how to install more."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Iterable

from lab.toolchain import process
from lab.toolchain.errors import ToolchainError


def missing(names: Iterable[str]) -> list[str]:
    """The packages that dpkg does not have installed."""
    wanted = list(names)
    if not wanted:
        return []
    query = subprocess.run(
        [
            "dpkg-query",
            "--show",
            "--showformat=${db:Status-Status} ${Package}\n",
            *wanted,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    there = {
        line.split(" ", 1)[1] for line in query.stdout.splitlines() if line.startswith("installed ")
    }
    return [name for name in wanted if name not in there]


def install_command(names: Iterable[str]) -> str:
    return "apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends " + " ".join(
        names
    )


def is_debian() -> bool:
    return shutil.which("dpkg-query") is not None and shutil.which("apt-get") is not None


def install(names: Collection[str]) -> None:
    """Install packages; without the right to do so, tell the command."""
    if not names:
        return
    if os.geteuid() != 0:
        raise ToolchainError(
            f"Debian packages are missing; as root: apt-get update && {install_command(names)}"
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    process.run(["apt-get", "update", "-qq"], what="apt-get update", env=env)
    process.run(install_command(names).split(), what=f"installing {', '.join(names)}", env=env)
