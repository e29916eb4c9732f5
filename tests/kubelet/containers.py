"""Containers of a lab's pods: with a root, processes and cgroups of their own, in their pod's
network.

A container's root is this machine's, written to in memory, so that what is copied into one
container is in no other. Commands find the programs of its image only, run as its user without any
capability, and are at the head of a session, as those of a runtime are.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from lab.cgroups import BRANCH
from lab.cluster import Lab
from lab.network import Node
from lab.sandbox import INIT, environment
from lab.wait import until
from tests.kubelet.images import Image

# In version 1, each has a hierarchy of its own.
CONTROLLERS = ("cpuacct", "memory")
_PROGRAMS = "/image"
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LONGEST_SECONDS = 86_400.0
_FORKED = ["unshare", "--pid", "--fork", "--kill-child"]

_ROOT = """
set -e
mkdir -p {base}
mount -t tmpfs -o mode=755 container {base}
mkdir {base}/upper {base}/work {base}/root
mount -t overlay -o lowerdir=/,upperdir={base}/upper,workdir={base}/work container {base}/root
cd {base}/root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=1777 tmp tmp
mount --rbind /dev dev
rm -f etc/resolv.conf
printf '%s' {resolver} > etc/resolv.conf
mkdir .before .{programs}
pivot_root . .before
{own}
umount -l .before
rmdir .before
"""


class ContainerError(Exception):
    """A container was not started; in the words of what failed."""


def hierarchy(controller: str) -> Path | None:
    """Where a controller's hierarchy of cgroups of version 1 is; None where there is none."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and controller in options.split(","):
            return Path(place)
    return None


@dataclass(frozen=True)
class Cgroups:
    """A node's own branch in the hierarchies that count CPU time and memory of containers."""

    lab_id: str
    node: str

    @property
    def branches(self) -> dict[str, Path]:
        """By controller."""
        found = {name: hierarchy(name) for name in CONTROLLERS}
        return {name: top / BRANCH / self.lab_id / self.node for name, top in found.items() if top}

    def make(self, container: str) -> list[Path]:
        """The cgroups of a container, by its id."""
        made = [branch / container for branch in self.branches.values()]
        for each in made:
            each.mkdir(parents=True, exist_ok=True)
        return made

    def remove(self) -> None:
        """Remove them all; what still runs there goes on in the hierarchy's root."""
        for branch in self.branches.values():
            for folder in (*branch.glob("*/"), branch, branch.parent, branch.parent.parent):
                with suppress(OSError):  # gone, or another lab's
                    for pid in (folder / "cgroup.procs").read_text().split():
                        (branch.parents[2] / "cgroup.procs").write_text(pid)
                    folder.rmdir()


@dataclass(frozen=True)
class Settings:
    """What a pod says of a container.

    :param id: as a runtime numbers it.
    :param user: its processes' user and group.
    :param variables: of its environment.
    :param mounts: folders of the node by their place in the container.
    :param resolver: its ``resolv.conf``.
    :param folder: where commands start.
    """

    id: str
    argv: tuple[str, ...]
    user: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    resolver: str = ""
    folder: str = "/"


def _inside(lab: Lab, network: str | None, processes: Path | None = None) -> list[str]:
    """The words before a command line that run it in the sandbox, in one of its networks.

    :param processes: their namespace, within the sandbox's; None is that.
    """
    own = Path(f"/proc/{lab.sandbox.init_pid}/ns")
    names = [f"--mount={own / 'mnt'}", f"--pid={processes or own / 'pid'}"]
    return ["nsenter", *names, f"--net={lab.sandbox.netns_path(network)}", "--"]


def _bound(source: Path, place: str) -> str:
    """The command that shows a file or folder of the machine in a new root, links in it heeded."""
    return f"mount --bind {shlex.quote(f'/.before{source.resolve()}')} {shlex.quote(place)}"


class Processes:
    """The namespace of a pod's processes, where its containers share one."""

    def __init__(self, lab: Lab, name: str) -> None:
        first = [sys.executable, "-I", "-S", str(INIT), name]
        self._process = subprocess.Popen(
            [*_inside(lab, None), *_FORKED, *first], stdin=subprocess.DEVNULL, env=environment()
        )
        until("a pod's processes", self._missing, timeout=10, interval=0.01)
        (self._holder,) = psutil.Process(self._process.pid).children()

    def _missing(self) -> str | None:
        there = psutil.Process(self._process.pid).children(recursive=True)
        return None if len(there) > 1 else "not there yet"

    @property
    def namespace(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/ns/pid_for_children")

    def end(self) -> None:
        """End all that runs in it."""
        with suppress(psutil.NoSuchProcess):
            self._holder.kill()
        self._process.wait(10)


class Container:
    """A container that runs.

    :param network: the name of its pod's network namespace in the sandbox.
    :param processes: those of its pod, where they are shared.
    :param log: takes its output.
    :raises ContainerError: it could not be started.
    """

    def __init__(
        self,
        lab: Lab,
        node: Node,
        network: str,
        image: Image,
        settings: Settings,
        log: Path,
        processes: Processes | None,
    ) -> None:
        self._lab = lab
        self._node = node
        self._network = network
        self._image = image
        self.settings = settings
        self.log = log
        self._cgroups = Cgroups(lab.paths.lab_id, node.name).make(settings.id)
        self._shares = processes is not None
        self._process, self._holder = self._start(processes)

    def _start(self, processes: Processes | None) -> tuple[subprocess.Popen[bytes], psutil.Process]:
        reading, writing = os.pipe()
        script = f'{self._root()}\necho ready >&{writing}\nexec {writing}>&-\nexec "$@"'
        shared = None if processes is None else processes.namespace
        argv = [*self._joining(), *_inside(self._lab, self._network, shared), "unshare", "--mount"]
        argv += [*([] if shared else _FORKED), "bash", "-c", script, "bash"]
        argv += self._as_its_user(self.settings.argv)
        with self.log.open("ab") as log, os.fdopen(reading) as ready:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                pass_fds=[writing],
                start_new_session=True,
            )
            os.close(writing)
            if ready.readline() != "ready\n":
                process.wait(10)
                raise ContainerError(self.log.read_text(errors="replace")[-300:])
        (holder,) = psutil.Process(process.pid).children()
        return process, holder

    def _root(self) -> str:
        """The script that makes its root and goes there."""
        own = []
        for program in self._image.programs:
            place = f"{_PROGRAMS}/{program}"
            own += [f"touch {place}", _bound(Path(self._lab.toolchain.command(program)), place)]
        for folder in self._image.folders:
            above = " ".join(shlex.quote(str(each)) for each in folder.parents[:-1])
            made = shlex.quote(str(folder))
            own += [f"mkdir -p {made}", f"chmod a+rx {above}", _bound(folder, str(folder))]
        for place, source in self.settings.mounts.items():
            make = "mkdir -p" if source.is_dir() else "touch"
            own += [f"{make} {shlex.quote(place)}", _bound(source, place)]
        return _ROOT.format(
            base=f"/run/containers/{self.settings.id}",
            resolver=shlex.quote(self.settings.resolver),
            own="\n".join(own),
            programs=_PROGRAMS,
        )

    def _joining(self) -> list[str]:
        groups = [*self._cgroups, self._node.cgroup]
        joins = [f"echo 0 > {shlex.quote(str(each / 'cgroup.procs'))}" for each in groups]
        cpus = ",".join(map(str, self._node.cpus))
        pinned = ["taskset", "--cpu-list", cpus] if cpus else []
        return ["sh", "-c", " && ".join([*joins, 'exec "$@"']), "sh", *pinned]

    def _as_its_user(self, argv: Sequence[str]) -> list[str]:
        user = self.settings.user
        kept = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if user else []
        own = [f"--reuid={user}", f"--regid={user}", "--clear-groups", *kept]
        places = (self._image.path, _PROGRAMS, _SYSTEM if self._image.system else "")
        path = ":".join(filter(None, places))
        variables = {"PATH": path, "HOME": "/tmp", **self.settings.variables}
        assigned = [f"{name}={value}" for name, value in variables.items()]
        clean = ["/usr/bin/env", "--ignore-environment", f"--chdir={self.settings.folder}"]
        return ["/usr/bin/setpriv", *own, *clean, *assigned, *argv]

    def words(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs a command in it, from the host.

        :raises ContainerError: its image has no such program.
        """
        if "/" not in argv[0] and not self._image.system and argv[0] not in self._image.programs:
            # In runc's words.
            raise ContainerError(
                "OCI runtime exec failed: exec failed: unable to start container process: "
                f'exec: "{argv[0]}": executable file not found in $PATH: unknown'
            )
        inside = Path(f"/proc/{self._holder.pid}/ns")
        entered = [f"--mount={inside / 'mnt'}", f"--pid={inside / 'pid_for_children'}"]
        network = f"--net={self._lab.sandbox.netns_path(self._network)}"
        words = [*self._joining(), "nsenter", *entered, network, "--", "/usr/bin/setsid"]
        return [*words, *self._as_its_user(argv)]

    @property
    def ended(self) -> int | None:
        """With what it has ended, as a shell tells it; None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def end(self, grace: float) -> None:
        """Ask its process to end, and end it with all others after so many seconds."""
        for by in (signal.SIGTERM, signal.SIGKILL):
            with suppress(psutil.NoSuchProcess):
                # Where processes are shared, nothing is between its own one and the runtime's.
                for each in [self._holder] if self._shares else self._holder.children():
                    each.send_signal(by)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace if by is signal.SIGTERM else 10)
                break
        for group in self._cgroups:
            with suppress(OSError):  # commands in a pod's shared processes end with the pod
                group.rmdir()


class Daemon:
    """A container that is the lab's own process of a node, which runs anyway.

    :param group: the lab's cgroup of it.
    """

    ended = None

    def __init__(self, lab: Lab, node: Node, group: Path, settings: Settings, log: Path) -> None:
        self._lab = lab
        self._node = node
        self.settings = settings
        self.log = log
        for each in Cgroups(lab.paths.lab_id, node.name).make(settings.id):
            for pid in (group / "cgroup.procs").read_text().split():
                (each / "cgroup.procs").write_text(pid)

    def words(self, argv: Sequence[str]) -> list[str]:
        """See :meth:`Container.words`."""
        return self._lab.node_words(self._node.name, argv, _LONGEST_SECONDS)

    def end(self, grace: float) -> None:
        """It is not ours to end."""
