"""The Python environment: made once per set of requirements, linked as ``.venv``."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.toolchain import process
from lab.toolchain.cache import Cache, digest_files
from lab.toolchain.errors import ToolchainError

UV = "uv==0.13.9"


@dataclass(frozen=True, slots=True)
class PythonEnv:
    """The environment of one checkout; with ``dev`` the tools of the tests are in it too."""

    checkout: Path
    cache: Cache
    dev: bool = False

    @property
    def requirements(self) -> Path:
        return self.checkout / ("requirements-dev.txt" if self.dev else "requirements.txt")

    @property
    def folder(self) -> Path:
        files = [self.checkout / "requirements.txt"]
        if self.dev:
            files.append(self.checkout / "requirements-dev.txt")
        version = ".".join(str(part) for part in sys.version_info[:3])
        # The base interpreter's place counts: a virtual environment points to it.
        return self.cache.path(f"venv-{digest_files(files, version, sys.base_prefix)}")

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def ready(self) -> bool:
        return (self.folder / "complete").exists()

    def make(self) -> None:
        """Make the environment, with the mark of completeness written last.

        It is made in its final place, because its scripts name their interpreter by path.
        """
        process.run(
            [sys.executable, "-m", "venv", "--clear", self.folder],
            what="making the Python environment",
        )
        try:
            self._install_with_uv()
        except ToolchainError:
            self._pip("-r", str(self.requirements))  # uv does not read pip's configuration
        (self.folder / "complete").touch()

    def _install_with_uv(self) -> None:
        """The requirements in 6 s of processor time; pip takes 30 s, which the compilers miss."""
        self._pip(UV)
        index = os.environ.get("PIP_INDEX_URL")
        process.run(
            [self.python, "-m", "uv", "pip", "install", "--quiet", "-r", self.requirements],
            what=f"installing {self.requirements.name}",
            cwd=self.checkout,
            env={**({"UV_DEFAULT_INDEX": index} if index else {}), **os.environ},
        )

    def _pip(self, *arguments: str) -> None:
        quiet = ("--disable-pip-version-check", "install", "--quiet", "--no-compile")
        process.run(
            [self.python, "-m", "pip", *quiet, *arguments],
            what=f"pip install {' '.join(arguments)}",
            cwd=self.checkout,
        )

    def link(self) -> None:
        """Point ``.venv`` of the checkout to this environment; a folder of the user's stays."""
        link = self.checkout / ".venv"
        if link.is_symlink():
            if link.resolve() == self.folder.resolve():
                return
        elif link.exists():
            return
        fresh = self.checkout / f".venv.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.folder)
        fresh.replace(link)


def can_make_environments() -> bool:
    """Whether this Python has venv and pip inside (Debian packs them apart)."""
    told = subprocess.run(
        [sys.executable, "-c", "import ensurepip, venv"],
        capture_output=True,
        check=False,
    )
    return told.returncode == 0


def current_env(checkout: Path, cache: Cache) -> PythonEnv:
    """The environment to use now: the larger one where it is there."""
    dev = PythonEnv(checkout, cache, dev=True)
    return dev if dev.ready else PythonEnv(checkout, cache)
