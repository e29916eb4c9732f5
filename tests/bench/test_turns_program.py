"""The generator of turns itself: its own tests, in Go, over loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.toolchain.build import build_env, find_go, needed_version

SOURCES = Path(__file__).parents[2] / "tools" / "turns"


@pytest.mark.process
def test_it_passes_its_own_tests() -> None:
    go = find_go(needed_version(SOURCES.parent))
    if go is None:
        pytest.skip("no Go on PATH that can build it")
    done = subprocess.run(
        [go.command, "test", "-count=1", "./..."],
        cwd=SOURCES, env=build_env(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
