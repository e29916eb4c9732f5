"""One process tree per lab, in namespaces of its own.

``unshare`` makes network, mount and PID namespaces whose process 1 is :mod:`lab.init`; ending that
one process ends everything that the lab started, whoever lost track of it (pid_namespaces(7)).
The sandbox is recognised by the lab's unique id on its command line, so neither a stale PID file
nor a reused PID can ever point at somebody else's process.

The program itself stays on the host. A socket belongs for good to the network namespace that it was
made in, and setns(2) moves only the calling thread: so every connection's socket is made inside
(:func:`network_namespace`).
"""

import ctypes
import fcntl
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from lab import cgroups, kernel, machine
from lab.errors import CommandError, LabError, tail
from lab.toolchain.cache import state_root as project_state
from lab.wait import until

#: How a command ends that timeout(1) has killed: nsenter(1) ends itself by its child's signal.
KILLED = -signal.SIGKILL

INIT = Path(__file__).with_name("init.py")

#: What cilium-agent is built to read in place of /proc/modules (see lab.toolchain and lab.kernel).
MODULES_FILE = Path("/run/cni-benchmark/modules")

#: The sandbox's own /run and /var/lib: xtables lock, network namespaces, agent sockets and the CNI
#: plugins' result caches stay apart from the host's and from other labs'.
_SETUP = f"""
mount -t tmpfs -o mode=755 lab-run /run
mkdir -p /run/netns /run/lock {MODULES_FILE.parent}
mount -t tmpfs -o mode=755 lab-var-lib /var/lib
cat > {MODULES_FILE}
"""

# -- a lab's files -------------------------------------------------------------------------------


def state_root() -> Path:
    """The folder of all labs: ``$XDG_STATE_HOME/cni-benchmark/labs``."""
    return project_state(os.environ) / "labs"


class LabPaths:
    """The files of one lab; ``lab_id`` is unique, so two labs never share a folder."""

    def __init__(self, lab_id: str, root: Path) -> None:
        self.lab_id = lab_id
        self.root = root
        self.logs = root / "logs"
        self.pids = root / "pids"
        self.config = root / "config"
        self.pki = root / "pki"
        self.kubeconfig = self.config / "kubeconfig"
        self.timeline = root / "timeline.jsonl"

    @classmethod
    def of(cls, lab_id: str) -> "LabPaths":
        return cls(lab_id, state_root() / lab_id)

    def make(self) -> None:
        """Create the folders; safe to call again."""
        for folder in (self.logs, self.pids, self.config, self.pki):
            folder.mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


@contextmanager
def only_one(name: str, what: str) -> Iterator[None]:
    """Hold a lock of this name for the length of the block.

    With a fixed id, what a killed run has left is ended by the next one. Ids are this machine's, so
    the lock is, too: it is beside :mod:`lab.machine`'s, whatever folder of state a user has.

    :param what: the work, for the message: "validation".
    :raises LabError: somebody else holds it, or it cannot be used.
    """
    path = machine.lock_file(os.environ)
    path = path.with_name(f"{path.stem}-{name.removeprefix(f'{path.stem}-')}.lock")
    try:
        file = os.fdopen(machine.open_shared(path), "w")
    except OSError as error:
        raise LabError(f"the lock of the {what} cannot be used: {error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"another {what} runs on this machine. Fix: wait for its end") from None
        yield


#: Folders that the sandbox, or a node in it, covers with its own.
_COVERED = tuple(map(Path, ("/run", "/var/run", "/var/lib", "/sys", "/proc")))


def refuse_hidden(places: Iterable[Path]) -> None:
    """:raises LabError: when a place that the lab's processes need would not be seen by them."""
    for place in places:
        for covered in _COVERED:
            if place.resolve().is_relative_to(covered.resolve()):
                raise LabError(
                    f"{place} is below {covered}, which the lab covers with its own. Fix: have it "
                    "elsewhere (XDG_STATE_HOME, CNI_BENCHMARK_CACHE, or another checkout)"
                )


def _is_own(pid: int) -> bool:
    """Whether a process is the caller's, and in the caller's user namespace: any user makes
    namespaces in one of their own, and must not have root enter them."""
    process = Path(f"/proc/{pid}")
    try:
        of_user = set(psutil.Process(pid).uids()) == {os.geteuid()}
        return of_user and (process / "ns/user").readlink() == Path("/proc/self/ns/user").readlink()
    except (psutil.Error, OSError):
        return False


def _is_first(pid: int) -> bool:
    """Whether a process is number 1 of a PID namespace below ours.

    By ``NSpid`` (proc_pid_status(5)), which psutil does not read.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return len(numbers) > 1 and numbers[-1] == "1"


_KEPT = ("PATH", "HOME", "TMPDIR")


def environment() -> dict[str, str]:
    """The environment of whatever runs in a lab: nearly nothing of the user's.

    A proxy keeps agents from the API server; GOMAXPROCS, GODEBUG and LD_PRELOAD change what is
    measured, a locale what is read.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"LC_ALL": "C.UTF-8", **kept}


# -- namespaces ----------------------------------------------------------------------------------

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network_namespace(path: Path) -> Iterator[None]:
    """Put the calling thread into another network namespace for the length of the block."""
    with Path("/proc/thread-self/ns/net").open() as home, path.open() as away:
        _setns(away.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(fd: int) -> None:
    if _LIBC.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass(frozen=True, slots=True)
class Process:
    """A spawned process: ``started`` tells one from another of the same name. ``state`` is a letter
    of proc_pid_stat(5); empty once it has ended. ``frozen``: with its cgroup."""

    started: str
    state: str
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the sandbox a command runs; the defaults are the sandbox's own namespaces.

    :param netns: name of a network namespace of the sandbox (``ip netns``).
    :param holder: PID, inside the sandbox, of the process that holds a mount namespace.
    :param cgroup: cgroup v2 folder to run in.
    :param cpus: to run on; none stands for any.
    """

    netns: str | None = None
    holder: int | None = None
    cgroup: Path | None = None
    cpus: tuple[int, ...] = ()


def _joining(cgroup: Path) -> list[str]:
    """The words before a command that have it join a cgroup first."""
    join = f'echo 0 > {shlex.quote(str(cgroup / "cgroup.procs"))} && exec "$@"'
    return ["sh", "-c", join, "sh"]


class Sandbox:
    """Starts, finds, enters and ends the sandbox of one lab."""

    def __init__(self, paths: LabPaths) -> None:
        self.paths = paths
        self._init: int | None = None

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start an empty sandbox, after ending one that an interrupted start has left."""
        self.stop()
        self.paths.make()
        log = self.paths.log("init").open("ab")
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        argv += [sys.executable, "-I", "-S", str(INIT), self.paths.lab_id]
        with log:
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )
        until(
            "the sandbox's first process",
            lambda: None if self._find() else "not there yet",
            timeout=10,
            interval=0.02,
            log=self.paths.log("init"),
        )
        self.run(["sh", "-ec", _SETUP], stdin=kernel.modules_listing())

    def stop(self) -> None:
        """End every process of the lab and remove its cgroups; does nothing where none is left."""
        pid = self._find()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            until(
                f"sandbox {self.paths.lab_id} to end",
                lambda: "still there" if self._find() else None,
                timeout=20,
            )
        self._init = None
        cgroups.remove(self.paths.lab_id)

    def alive(self) -> bool:
        return self._find() is not None

    @property
    def init_pid(self) -> int:
        """PID of the sandbox's process 1, as the host sees it."""
        if self._init is None or not self._is_init(self._init):
            self._init = self._find()
        if self._init is None:
            raise LabError(
                f"the lab {self.paths.lab_id} is not running. "
                "Fix: pulumi refresh, then pulumi up rebuilds it"
            )
        return self._init

    def _find(self) -> int | None:
        return next((pid for pid in psutil.pids() if self._is_init(pid)), None)

    def _is_init(self, pid: int) -> bool:
        try:
            argv = psutil.Process(pid).cmdline()
        except psutil.Error:
            return False
        # `unshare` has the same words on its command line, further back; an editor or a search of
        # that file may have them too, but is no process 1 of another PID namespace.
        if len(argv) != 5 or not argv[3].endswith("lab/init.py"):
            return False
        alike = argv[1:] == ["-I", "-S", argv[3], self.paths.lab_id]
        return alike and _is_own(pid) and _is_first(pid)

    # -- commands -----------------------------------------------------------------------------

    def proc(self, pid: int | str) -> Path:
        """/proc/<pid> of a process whose PID is the one inside the sandbox, read from the host."""
        return Path(f"/proc/{self.init_pid}/root/proc/{pid}")

    def pid_namespace(self) -> str:
        """The sandbox's PID namespace, as links in /proc name it."""
        return str(Path(f"/proc/{self.init_pid}/ns/pid").readlink())

    def netns_path(self, netns: str | None) -> Path:
        """A file that stands for a network namespace of the sandbox, usable from the host."""
        if netns is None:
            return Path(f"/proc/{self.init_pid}/ns/net")
        return Path(f"/proc/{self.init_pid}/root/run/netns/{netns}")

    def enter(self, place: Place, limit: float) -> list[str]:
        """The words to put before a command line to run it in ``place`` for ``limit`` seconds.

        The limit is kept inside the PID namespace, by timeout(1) (:data:`KILLED`): ending
        ``nsenter`` from outside would leave the command running.
        """
        init = Path(f"/proc/{self.init_pid}/ns")
        mount = init / "mnt" if place.holder is None else self.proc(place.holder) / "ns/mnt"
        argv = ["nsenter", f"--mount={mount}", f"--pid={init / 'pid'}"]
        argv += [f"--net={self.netns_path(place.netns)}", "--"]
        argv += ["timeout", "--signal=KILL", f"{limit:.3f}"]
        if place.cgroup is not None:
            # Joined before the mount namespace is entered: a node's own /sys hides the hierarchy.
            argv = [*_joining(place.cgroup), *argv]
        if place.cpus:
            argv = ["taskset", "--cpu-list", ",".join(map(str, place.cpus)), *argv]
        return argv

    def run(
        self,
        argv: Sequence[str],
        place: Place = Place(),
        *,
        timeout: float = 60,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        :param timeout: seconds after which it is killed.
        :param stdin: its standard input; empty when left out.
        :param env: variables on top of :func:`environment`.
        :param check: whether a failure is an error.
        :raises CommandError: it was killed, or ``check`` and it fails.
        """
        done = subprocess.run(
            [*self.enter(place, timeout), *argv],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            env={**environment(), **(env or {})},
            check=False,
        )
        if done.returncode == KILLED:
            raise CommandError(list(argv), KILLED, f"killed, after {timeout:.0f} s at the latest")
        if check and done.returncode != 0:
            raise CommandError(list(argv), done.returncode, done.stderr or done.stdout)
        return done

    def script(self, text: str, place: Place = Place(), *, timeout: float = 60) -> str:
        """The standard output of a shell script (``sh -e``), e.g. a list of ip commands.

        :raises CommandError: a command of it fails, or all take longer than ``timeout`` seconds.
        """
        return self.run(["sh", "-ec", text], place, timeout=timeout).stdout

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        place: Place = Place(),
        *,
        env: Mapping[str, str] | None = None,
        again: bool = False,
    ) -> int:
        """Start a process that outlives us, with its own log.

        ``setsid --fork`` leaves it to the sandbox's process 1 as soon as it runs, so no process of
        ours stays behind for it on the host.

        :param again: whenever it ends, it is started again a second later, as a kubelet does.
        :returns: its PID inside the sandbox.
        :raises LabError: it has not started within 10 s.
        """
        pidfile = self.paths.pids / name
        pidfile.unlink(missing_ok=True)
        log = shlex.quote(str(self.paths.log(name)))
        tell = f"> {shlex.quote(str(pidfile))}"
        launch = f'echo $$ {tell}; exec "$@"'
        if again:
            # What keeps it running is no part of it, so it alone joins the cgroup.
            if place.cgroup is not None:
                argv = [*_joining(place.cgroup), *argv]
                place = replace(place, cgroup=None)
            launch = f'while :; do "$@" & echo $! {tell}; wait $!; sleep 1; done'
        launch = f"exec >>{log} 2>&1 </dev/null; {launch}"
        self.run(["setsid", "--fork", "sh", "-c", launch, "sh", *argv], place, env=env, timeout=10)

        def started() -> str | None:
            has_pid = pidfile.exists() and pidfile.read_text().strip()
            return None if has_pid else f"{name} has not written its pid"

        until(f"{name} to start", started, timeout=10, interval=0.01)
        return int(pidfile.read_text())

    def end(self, name: str, *, kill: bool = False, timeout: float = 20) -> None:
        """End a spawned process by its name, and wait until it is gone; does nothing where it does
        not run.

        :param kill: by SIGKILL, not SIGTERM.
        """
        pid = self.pid_of(name)
        if pid is not None:
            self.run(["kill", "-KILL" if kill else "-TERM", str(pid)])
            until(
                f"{name} to end",
                lambda: "still there" if self.pid_of(name) else None,
                timeout=timeout,
                interval=0.05,
            )
        self.forget(name)

    def forget(self, name: str) -> None:
        """Miss a spawned process no more: it was ended on purpose."""
        (self.paths.pids / name).unlink(missing_ok=True)

    def pid_of(self, name: str) -> int | None:
        """PID (inside the sandbox) of a spawned process that still runs, by its name."""
        try:
            pid = int((self.paths.pids / name).read_text())
        except (OSError, ValueError):
            return None
        return pid if self._process(self.proc(pid)).state else None

    def must_run(self, *names: str) -> None:
        """For what is waited for, and would not come without them.

        :raises LabError: one of these spawned processes has ended; with the last lines of its log.
        """
        for name in names:
            if self.pid_of(name) is None:
                log = self.paths.log(name)
                raise LabError(f"{name} ended; last lines of {log}:\n{tail(log)}")

    def processes(self) -> dict[str, Process]:
        """All that were spawned and not ended by :meth:`end`, by name; those that have ended by
        themselves, too."""
        found = {}
        proc, frozen = self.proc(""), cgroups.frozen(self.paths.lab_id)
        for pidfile in sorted(self.paths.pids.iterdir()):
            with suppress(FileNotFoundError):  # forgotten meanwhile
                if pid := pidfile.read_text().strip():
                    one = self._process(proc / pid)
                    if frozen and one.state and cgroups.of_process(proc / pid) in frozen:
                        one = replace(one, frozen=True)
                    found[pidfile.name] = one
        return found

    @staticmethod
    def _process(proc: Path) -> Process:
        try:
            fields = (proc / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return Process("", "")
        state, started = fields[0], fields[19]
        return Process(started, "" if state in "ZX" else state)

    # -- connections --------------------------------------------------------------------------

    def refusal(self, netns: str | None, host: str, port: int) -> str | None:
        """Why a TCP connection made inside a network namespace fails; None when it does not."""
        with network_namespace(self.netns_path(netns)):
            probe = socket.socket()
        with probe:
            probe.settimeout(1)
            answer = probe.connect_ex((host, port))
        return None if answer == 0 else os.strerror(answer)

    def socket_refusal(self, holder: int, path: str) -> str | None:
        """The same of a Unix socket, by its path where ``holder`` runs; it has no links in it."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            answer = probe.connect_ex(f"{self.proc(holder)}/root{path}")
        return None if answer == 0 else os.strerror(answer)

    def http_get(self, netns: str | None, url: str, timeout: float = 2) -> tuple[int, str]:
        """Status and body of a plain HTTP GET made inside a network namespace.

        :raises OSError: when nothing answers within ``timeout`` seconds.
        """
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        with network_namespace(self.netns_path(netns)):
            connection.connect()
        try:
            connection.request("GET", parts.path or "/")
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def unhealthy(self, netns: str, url: str) -> str | None:
        """What is wrong with the answer of a component's health endpoint; None when it is well."""
        try:
            status, body = self.http_get(netns, url)
        except OSError as error:
            return str(error)
        return None if status == HTTPStatus.OK else f"{url}: {status} {body[:200]}"
