"""The lab's own branch of the host's cgroup v2 hierarchy.

Cilium's socket load-balancer attaches to a cgroup, so every node gets one and its pods' processes
live in it. Cgroups outlive mount namespaces: :func:`remove` takes the branch away again.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.errors import LabError
from lab.wait import until

#: All labs of this machine are children of this one cgroup.
BRANCH = "cni-benchmark"

#: Cgroup below a node's (and the control plane's) that holds one cgroup per CNI component.
AGENTS = "agents"
CONTROL_PLANE = "control-plane"


def hierarchy() -> Path:
    """Where the host has mounted its cgroup v2 hierarchy (hybrid hosts have it beside v1).

    :raises LabError: it is not mounted.
    """
    # Not by psutil, which prefers /etc/mtab, where containers may have a file that is out of date.
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mountpoint, fstype, *_ = line.split()
        if fstype == "cgroup2":
            return Path(mountpoint)
    raise LabError("no cgroup v2 hierarchy is mounted: mount one, e.g. on /sys/fs/cgroup/unified")


def lab_cgroup(lab_id: str) -> Path:
    """The cgroup of a lab, which need not exist."""
    return hierarchy() / BRANCH / lab_id


def create(lab_id: str, name: str) -> Path:
    """A child cgroup of the lab, made if it is not there."""
    path = lab_cgroup(lab_id) / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def of_control_plane(lab_id: str, component: str) -> Path:
    """The cgroup of a part of the control plane or of the cloud, made if it is not there."""
    return create(lab_id, f"{CONTROL_PLANE}/{component}")


def components(lab: Path) -> list[Path]:
    """The cgroups of all components of a lab: the CNI's, the control plane's and the cloud's."""
    others = (each for each in lab.glob(f"{CONTROL_PLANE}/*/") if each.name != AGENTS)
    return sorted([*lab.glob(f"*/{AGENTS}/*/"), *others])


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cgroup's processes use.

    :param cpu_seconds: user and system time of all processes so far, those that ended included.
    :param memory_bytes: resident memory of the processes that run now.
    """

    cpu_seconds: float
    memory_bytes: int


def usage(cgroup: Path) -> Usage:
    """What a cgroup's processes use: ``cpu.stat`` counts microseconds also without a controller
    (Linux, "Control Group v2"); memory is the sum of what is resident.

    :raises LabError: when no process runs in it.
    """
    resident = [_resident(int(pid)) for pid in (cgroup / "cgroup.procs").read_text().split()]
    if not resident:
        raise LabError(f"no process runs in {cgroup}")
    return Usage(cpu_seconds(cgroup), sum(resident))


def cpu_seconds(cgroup: Path) -> float:
    """User and system time of all processes of a cgroup so far, those that ended included."""
    stat = dict(line.split() for line in (cgroup / "cpu.stat").read_text().splitlines())
    return int(stat["usage_usec"]) / 1e6


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return 0


def of_process(proc: Path) -> Path:
    """The cgroup of a process.

    :param proc: its folder in a /proc.
    """
    branch = (proc / "cgroup").read_text().partition("0::")[2].splitlines()[0]
    return hierarchy() / branch.lstrip("/")


def frozen(lab_id: str) -> set[Path]:
    """Those of a lab whose processes do not run until they are thawed, also where a cgroup above
    is what was frozen (Linux, "Control Group v2": ``cgroup.events``).

    The states in proc_pid_stat(5) do not tell it.
    """
    found = set()
    for folder, _, _ in os.walk(lab_cgroup(lab_id)):
        with contextlib.suppress(OSError):  # it is being removed
            if "frozen 1" in (place := Path(folder)).joinpath("cgroup.events").read_text():
                found.add(place)
    return found


def remove(lab_id: str) -> None:
    """Remove the lab's cgroups, once its processes are gone; also the branch when it is empty."""
    top = lab_cgroup(lab_id)
    if top.exists():
        until(f"the cgroups of {lab_id} to be empty", lambda: _remove_tree(top), timeout=15)
    with contextlib.suppress(OSError):
        top.parent.rmdir()


def _remove_tree(top: Path) -> str | None:
    # A cgroup can be removed once its last process has been reaped, which may lag behind its death.
    try:
        folders = sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts))
        for folder in [*folders, top]:
            with contextlib.suppress(FileNotFoundError):  # somebody else removes them, too
                folder.rmdir()
    except OSError as error:
        return str(error)
    return None
