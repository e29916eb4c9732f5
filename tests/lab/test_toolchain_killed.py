"""What a killed command has left of a stack: cleared where it is certain, and said."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.errors import ToolchainError
from lab.toolchain import killed
from lab.wait import until

URN = "urn:pulumi:tiny::project::cni-benchmark:index:ScenarioStack$pulumi-python:dynamic:Resource::"
CLOUDS = "urn:pulumi:tiny::project::aws:eks/cluster:Cluster::cluster"
CANCEL = "cancel --yes --stack tiny"
REFRESH = "refresh --yes --skip-preview --clear-pending-creates --stack tiny"


class Backend:
    """A folder as the engine keeps stacks in, and a Pulumi that notes what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.stack = folder / ".pulumi/stacks/project/tiny.json"
        self.stack.parent.mkdir(parents=True)
        self.log.touch()
        self.pulumi = folder / "pulumi.sh"
        self.pulumi.write_text(f'#!/bin/sh\necho "$@" >>{self.log}\ntest ! -e {folder}/broken\n')
        self.pulumi.chmod(0o755)
        self.pending()

    def pending(self, *urns: str) -> None:
        operations = [{"resource": {"urn": urn}, "type": "creating"} for urn in urns]
        other = {"resource": {"urn": CLOUDS}, "type": "deleting"}
        latest = {"pending_operations": [*operations, other]} if urns else {}
        self.stack.write_text(json.dumps({"version": 3, "checkpoint": {"latest": latest}}))

    def locked(self, pid: int, host: str = "") -> None:
        place = self.folder / f".pulumi/locks/organization/project/tiny/{pid}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        content = {"pid": pid, "username": "root", "hostname": host or socket.gethostname()}
        place.write_text(json.dumps(content))

    def cleared(self, backend: str | None = None) -> tuple[list[str], list[str]]:
        """What Pulumi was asked for, and what the user was told."""
        said: list[str] = []
        where = backend or f"file://{self.folder}"
        killed.clear(self.pulumi, where, "project", "tiny", os.environ, said.append)
        return self.log.read_text().splitlines(), said


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


@pytest.fixture
def ended() -> int:
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[int]:
    """A process by the name of the engine's."""
    program = shutil.copy(shutil.which("sleep") or "sleep", tmp_path / "pulumi")
    with subprocess.Popen([program, "60"]) as process:
        yield process.pid
        process.kill()


def test_where_nothing_was_killed_nothing_is_asked(backend: Backend) -> None:
    assert backend.cleared() == ([], [])
    backend.stack.unlink()
    assert backend.cleared() == ([], [])


def test_a_lock_and_creations_of_ours_are_cleared_and_said(backend: Backend, ended: int) -> None:
    backend.locked(ended)
    backend.pending(URN + "cluster", URN + "cni")
    told = [
        "tiny: freeing the lock of a command that was killed",
        "tiny: forgetting what a killed command has not finished: cluster, cni",
    ]
    assert backend.cleared() == ([CANCEL, REFRESH], told)


def test_a_number_that_is_somebody_elses_by_now_holds_no_lock(backend: Backend) -> None:
    backend.locked(os.getpid())
    assert backend.cleared()[0] == [CANCEL]


def test_who_is_still_at_work_is_left_alone(backend: Backend, engine: int, ended: int) -> None:
    backend.locked(ended)
    backend.locked(engine)
    backend.pending(URN + "cluster")
    assert backend.cleared() == ([], [])


def test_who_was_killed_and_not_waited_for_holds_no_lock(backend: Backend, engine: int) -> None:
    os.kill(engine, signal.SIGKILL)
    backend.locked(engine)
    dead = lambda: None if psutil.Process(engine).status() == psutil.STATUS_ZOMBIE else "lives"  # noqa: E731
    until("its end", dead, timeout=5)
    assert backend.cleared()[0] == [CANCEL]


_HOST = [sys.executable, "-c", "import time; time.sleep(60)", "-m", "pulumi.dynamic"]


def test_hosts_of_providers_end_with_a_killed_engine_and_no_others(
    backend: Backend, ended: int, tmp_path: Path
) -> None:
    engine = shutil.copy(shutil.which("sh") or "sh", tmp_path / "pulumi")
    backend.locked(ended)
    with (
        subprocess.Popen(_HOST) as left,
        subprocess.Popen([engine, "-c", f"{shlex.join(_HOST)} & wait"]) as other,
    ):
        running = psutil.Process(other.pid)
        until("its host", lambda: None if running.children() else "not yet", timeout=5)
        backend.cleared()
        assert left.wait(5) == -signal.SIGKILL
        (host,) = running.children()
        host.kill()
        other.kill()


def test_of_another_machine_and_of_a_lock_that_is_torn_nobody_knows(
    backend: Backend, ended: int
) -> None:
    backend.locked(ended, "elsewhere")
    assert backend.cleared() == ([], [])
    backend.locked(ended)
    (backend.folder / ".pulumi/locks/organization/project/tiny/torn.json").write_text('{"pi')
    assert backend.cleared() == ([], [])


def test_what_may_be_in_a_cloud_is_for_the_user_to_decide(backend: Backend, ended: int) -> None:
    backend.locked(ended)
    backend.pending(URN + "gate", CLOUDS)
    assert backend.cleared()[0] == [CANCEL]


def test_a_torn_record_is_the_engines_to_tell(backend: Backend) -> None:
    backend.stack.write_text('{"checkpoint": {"la')
    assert backend.cleared() == ([], [])


def test_backends_elsewhere_are_not_looked_into(backend: Backend, ended: int) -> None:
    backend.locked(ended)
    assert backend.cleared("s3://bucket") == ([], [])


def test_pulumis_refusal_is_told(backend: Backend, ended: int) -> None:
    backend.locked(ended)
    (backend.folder / "broken").touch()
    with pytest.raises(ToolchainError, match="clearing what a killed command has left of tiny"):
        backend.cleared()
