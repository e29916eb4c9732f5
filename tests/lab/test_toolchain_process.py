"""A set-up that is killed, stalls, or meets another: nothing is left, and no lock is held."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import ToolchainError
from lab.toolchain import bootstrap, doctor, process
from lab.toolchain.cache import Cache

_SETUP = """
from lab.toolchain import process
process.run(["sh", "-c", "sleep 300 & echo $! >compiler.new; mv compiler.new compiler; wait"],
            what="building")
"""
ROOT = Path(__file__).parents[2]


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_compilers_end_with_a_set_up_that_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", _SETUP], cwd=tmp_path, env=environment) as setup:
        told = tmp_path / "compiler"
        assert until(told.exists)
        compiler = int(told.read_text())
        assert alive(compiler)
        setup.send_signal(signal.SIGKILL)
    assert until(lambda: not alive(compiler))


def test_what_is_done_is_told_and_what_fails_too(tmp_path: Path) -> None:
    assert process.run(["sh", "-c", "echo done; cat"], what="building") == "done\n"
    with pytest.raises(ToolchainError, match=r"building failed with exit code 3:\nno disk"):
        process.run(["sh", "-c", "echo no disk >&2; exit 3"], what="building")
    missing = tmp_path / "go"
    with pytest.raises(ToolchainError, match=f"cannot run {missing}"):
        process.run([missing], what="building")


def test_a_stalled_download_is_ended() -> None:
    with pytest.raises(ToolchainError, match=r"downloading: not done .* stalled"):
        process.run(["sleep", "300"], what="downloading", seconds=0.3)


def test_a_fresh_machines_own_update_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    busy = ["E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7"] * 2

    def run(argv: list[str], *, what: str, **_: object) -> str:
        ran.append(argv[1] if argv[1] == "update" else "install")
        if busy:
            raise ToolchainError(f"{what} failed with exit code 100:\n{busy.pop()}")
        return ""

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(doctor, "_APT_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    doctor.install_packages(["jq"])
    assert ran == ["update", "update", "update", "install"]
    busy.append("E: Unable to locate package jq")
    with pytest.raises(ToolchainError, match="Unable to locate"):
        doctor.install_packages(["jq"])


def test_the_cache_is_not_removed_below_a_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    monkeypatch.setattr(bootstrap, "Cache", lambda: cache)
    monkeypatch.setattr(bootstrap, "CHECKOUT", tmp_path)
    said: list[str] = []
    monkeypatch.setattr(bootstrap, "say", said.append)
    with cache.lock(said.append):
        removal = threading.Thread(target=bootstrap.clean_cache, kwargs={"yes": True})
        removal.start()
        assert until(lambda: any("another set-up is running" in line for line in said))
        assert cache.root.is_dir()
    removal.join()
    assert not cache.root.exists()


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    said: list[str] = []
    with cache.path("lock").open("w") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        entered = threading.Event()

        def enter() -> None:
            with cache.lock(said.append):
                entered.set()

        waiting = threading.Thread(target=enter)
        waiting.start()
        assert until(lambda: bool(said))
        cache.path("lock").unlink()
    waiting.join(20)
    assert entered.is_set() and cache.path("lock").exists()
