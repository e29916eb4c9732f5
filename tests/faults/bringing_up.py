"""Faults of a bring-up, without the engine: what is killed while a lab comes up, where it has no
room, and what stands against it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from lab import cgroups
from lab.errors import LabError
from lab.sandbox import Sandbox
from tests.faults.ground import Ground
from tests.faults.table import Injection, Seen, plain
from tests.lab import logs
from tests.lab.running import bring_up

STACK = "scenario-c"
CHANGES: dict[str, object] = {"lab.nodes": 2}


@contextmanager
def state_in(place: Path) -> Iterator[None]:
    """Labs have their files elsewhere for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(place))
        yield


def refused(changes: dict[str, object] | None = None) -> str:
    """Why a lab does not come up; nothing of it is left."""
    try:
        running = bring_up(STACK, {**CHANGES, **(changes or {})})
    except (LabError, OSError) as error:
        told = str(error)
    else:
        running.session.close()
        running.lab.remove()
        raise AssertionError("it came up")
    paths = logs.STARTED[-1]
    assert not Sandbox(paths).alive(), "its processes live"
    assert not paths.root.exists(), "its folder is there"
    assert not cgroups.lab_cgroup(paths.lab_id).exists(), "its cgroups are there"
    return plain(told.split("\nlast lines of")[0])


def killed_as_soon_as_it_runs(name: str) -> Seen:
    """A part of it is killed while it comes up."""
    known = len(logs.STARTED)
    over = threading.Event()
    hit = []

    def watch() -> None:
        while not over.wait(0.02):
            if len(logs.STARTED) == known:
                continue
            sandbox = Sandbox(logs.STARTED[-1])
            with suppress(LabError, OSError):
                pid = sandbox.init_pid if name == "sandbox" else sandbox.pid_of(name)
                if pid is None:
                    continue
                if name == "sandbox":
                    os.kill(pid, signal.SIGKILL)
                else:
                    sandbox.run(["kill", "-KILL", str(pid)])
                hit.append(pid)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        told = refused()
    finally:
        over.set()
        watcher.join()
    assert hit, f"{name} was never there"
    return Seen(told, "nothing of the lab")


def without_room(ground: Ground) -> Seen:
    with ground.small_disk("1m") as disk, state_in(disk):
        return Seen(refused(), "nothing of the lab")


def only_to_read(ground: Ground) -> Seen:
    with ground.read_only(ground.place("state")) as place, state_in(place):
        return Seen(refused(), "nothing was there")


def hidden() -> Seen:
    with state_in(Path("/run/faults-of-nobody")):
        return Seen(refused(), "nothing was there")


def injections(ground: Ground) -> Iterator[Injection]:
    for name in ("sandbox", "etcd", "kube-apiserver", "node-2-cilium-agent"):
        do = partial(killed_as_soon_as_it_runs, name)
        yield Injection("bring-up", "SIGKILL to a process", name.removeprefix("node-2-"), do)
    yield Injection("bring-up", "disk that fills up", "with 1 MB for the lab's files",
                    partial(without_room, ground))  # fmt: skip
    yield Injection("bring-up", "folder that may only be read", "for the lab's files",
                    partial(only_to_read, ground))  # fmt: skip
    yield Injection("bring-up", "folder that the lab covers", "for its files", hidden)
    wrong: dict[str, object] = {"scenario.values": {"extraConfig": {"ipam": "nonsense"}}}
    yield Injection("bring-up", "value that an agent refuses", "ipam: nonsense",
                    lambda: Seen(refused(wrong), "nothing of the lab"))  # fmt: skip
