"""Faults while a lab goes: destroying is killed on its way, or something is in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

from bench.session import SessionError
from lab import cgroups
from lab.cluster import Lab
from lab.errors import LabError
from lab.sandbox import Place
from lab.wait import until
from tests.faults.ground import Ground
from tests.faults.table import Injection, Seen, plain
from tests.lab.leftovers import Footprint
from tests.lab.running import RunningLab


class Small:
    """A lab of nothing but its first processes: it is removed as any other."""

    def __init__(self) -> None:
        self.lab = Lab(f"faults-{os.urandom(4).hex()}")
        self.lab.sandbox.start()
        node = Place(cgroup=cgroups.create(self.lab.paths.lab_id, "node-1"))
        self.lab.sandbox.spawn("sleeper", ["sleep", "infinity"], node)

    def removed(self, told: str = "nothing") -> Seen:
        self.lab.remove()
        self.assert_gone()
        return Seen(told, "nothing of the lab")

    def assert_gone(self) -> None:
        assert not self.lab.sandbox.alive(), "its processes live"
        assert not self.lab.paths.root.exists(), "its folder is there"
        gone = lambda: "its cgroups" if cgroups.lab_cgroup(self.lab.paths.lab_id).exists() else None  # noqa: E731
        until("its cgroups to be gone", gone, timeout=5)


_REMOVE = "import sys; from lab.cluster import Lab; Lab(sys.argv[1]).remove()"


def destroyed_by_a_killed_command(ground: Ground, seconds: float) -> Seen:
    """Destroying is killed on its way, and done again."""
    small = Small()
    argv = (sys.executable, "-c", _REMOVE, small.lab.paths.lab_id)
    process = ground.user.start(*argv)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    return small.removed("nothing; again, it ends well")


def stopped_processes() -> Seen:
    small = Small()
    sandbox = small.lab.sandbox
    sandbox.run(["kill", "-STOP", str(sandbox.pid_of("sleeper"))])
    os.kill(sandbox.init_pid, signal.SIGSTOP)
    return small.removed()


def frozen() -> Seen:
    small = Small()
    (cgroups.lab_cgroup(small.lab.paths.lab_id) / "cgroup.freeze").write_text("1")
    return small.removed()


def dead_already() -> Seen:
    small = Small()
    os.kill(small.lab.sandbox.init_pid, signal.SIGKILL)
    return small.removed()


def without_folder() -> Seen:
    small = Small()
    subprocess.run(["rm", "-rf", str(small.lab.paths.root)], check=True)
    return small.removed()


def twice() -> Seen:
    small = Small()
    small.removed()
    return small.removed()


def somebody_in_its_cgroup() -> Seen:
    """A process of somebody else's is not ended with a lab."""
    small = Small()
    other = subprocess.Popen(["sleep", "60"])
    cgroup = cgroups.lab_cgroup(small.lab.paths.lab_id) / "node-1"
    (cgroup / "cgroup.procs").write_text(str(other.pid))
    try:
        try:
            small.lab.remove()
        except LabError as error:
            told = plain(str(error))
        else:
            raise AssertionError("nothing was told")
        assert other.poll() is None, "it was ended"
    finally:
        other.kill()
        other.wait()
    small.removed()
    return Seen(told, "that process; without it, the same command ends well")


def injections(ground: Ground) -> Iterator[Injection]:
    for seconds in (0.4, 0.7, 1.0):
        do = partial(destroyed_by_a_killed_command, ground, seconds)
        yield Injection("destroy", "SIGKILL to a command", f"{seconds:g} s after its start", do)
    yield Injection("destroy", "SIGSTOP to a process", "everything of the lab", stopped_processes)
    yield Injection("destroy", "cgroup frozen", "everything of a node", frozen)
    yield Injection("destroy", "SIGKILL to a process", "the lab's first", dead_already)
    yield Injection("destroy", "folder removed", "with the lab's files", without_folder)
    yield Injection("destroy", "process of somebody else", "in the lab's cgroup",
                    somebody_in_its_cgroup)  # fmt: skip
    yield Injection("destroyed", "done twice", "destroy", twice)


def last_look(running: RunningLab) -> Seen:
    """A whole lab is removed, and nothing of it is found."""
    footprint = Footprint.of(running.lab)
    assert footprint.processes
    assert footprint.namespaces
    running.session.close()
    running.lab.remove()
    footprint.wait_until_gone()
    try:
        running.session.cni_usage()
    except SessionError as error:
        return Seen(plain(str(error)), "nothing of the lab", "no sample can be taken")
    raise AssertionError("a session of a lab that is gone answers")
