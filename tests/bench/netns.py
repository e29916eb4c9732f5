"""A session on two network namespaces of this machine joined by a veth pair.

For tests of the measurement itself against the real programs: no cluster, no CNI. "Nodes" are
the two namespaces. Each is held by a process of its own (``unshare --kill-child``), so ending the
two holders ends everything in them; nothing is made in the machine's own network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.environment import About, Environment
from bench.session import (
    CommandResult,
    ComponentUsage,
    Health,
    MachineUsage,
    Pod,
    Service,
    ServicePath,
    SessionError,
    TurnClient,
    WorkloadUsage,
)
from bench.workloads import DNS_SERVICE, HTTPBIN_SERVICE, WORKLOADS, Workload
from cni.dataplane import Setting
from components.lab import cpu
from lab import congestion

CLIENT, SERVER = "10.199.0.1", "10.199.0.2"
HTTPBIN_PORTS = (8080, 8081)
DNS_PORT = 53
_READY_SECONDS = 10.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def program(name: str) -> str | None:
    """A program of the project's cache, else of PATH; None if there is neither."""
    cache = os.environ.get("CNI_BENCHMARK_CACHE") or Path.home() / ".cache" / "cni-benchmark"
    built = Path(cache, "programs").glob(f"{name}-*/{name}")
    newest = max(built, key=lambda each: each.stat().st_mtime, default=None)
    return str(newest) if newest else shutil.which(name)


def lacking() -> str | None:
    """Why a session cannot be made on this machine; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    wanted = (
        "fortio", "go-httpbin", "iperf3", "dig", "dnsperf", "turns", "bash",
        "unshare", "nsenter", "setpriv", "ip", "ss",
    )  # fmt: skip
    missing = [name for name in wanted if program(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


class NetnsSession:
    """Implements ``bench.session.Session``; a context manager that starts and ends it all."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._dns: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            for node in ("client", "server"):
                self._holders[node] = self._start(_UNSHARE)
            self._wire()
            self._serve()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """See ``bench.session.Session``."""
        found = program(argv[0])
        if found is None:
            raise SessionError(f"no program {argv[0]}")
        start = time.monotonic()
        try:
            done = subprocess.run(
                [*self._enter(pod.node), found, *argv[1:]],
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SessionError(f"{argv[0]} did not end in {timeout:.0f} s") from error
        seconds = time.monotonic() - start
        return CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr, seconds)

    def turn_client(self, pod: Pod) -> TurnClient:
        """See ``bench.session.Session``: a side's nodes have no cgroups of their own here."""
        return TurnClient("this machine", tuple(self._enter(pod.node)))

    def take_turns(self, pod: Pod, plan: str, *, timeout: float) -> bytes:
        """See ``bench.session.Session``."""
        found = program("turns")
        assert found is not None
        try:
            done = subprocess.run(
                [found, "run"],
                input=plan.encode(),
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SessionError(f"turns run did not end in {timeout:.0f} s") from error
        if done.returncode:
            raise SessionError(done.stderr.decode())
        return done.stdout

    def pods(self, role: str) -> Sequence[Pod]:
        """See ``bench.session.Session``."""
        found = next(workload for workload in WORKLOADS if workload.role == role)
        return [
            Pod(f"{role}-{i}", role, found.side, CLIENT if found.side == "client" else SERVER)
            for i in range(found.replicas)
        ]

    def service(self, name: str) -> Service:
        """See ``bench.session.Session``; there is no load-balancing here."""
        ports = {HTTPBIN_SERVICE: HTTPBIN_PORTS[0], DNS_SERVICE: DNS_PORT}
        if name not in ports:
            raise SessionError(f"no Service {name}")
        return Service(name, SERVER, ports[name])

    def cni_usage(self) -> Sequence[ComponentUsage]:
        """The DNS responder's usage, standing in for an agent's."""
        assert self._dns is not None
        proc = Path("/proc", str(self._dns.pid))
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
        return [
            ComponentUsage("server", "stand-in", cpu, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))
        ]

    def workload_usage(self) -> Sequence[WorkloadUsage]:
        """See ``bench.session.Session``: not told here."""
        return []

    def machines(self) -> Sequence[MachineUsage]:
        """See ``bench.session.Session``: both "nodes" are this machine."""
        return [cpu.of_machine("this machine", ("client", "server"), ())]

    def worked(self) -> None:
        """See ``bench.session.Session``: readings take no time here."""

    def health(self) -> Sequence[Health]:
        """See ``bench.session.Session``: nothing but the pods' own programs."""
        return []

    def configuration(self) -> Sequence[Setting]:
        """See ``bench.session.Session``: there is no dataplane to configure."""
        return []

    def service_path(self, client: Pod, service: Service) -> ServicePath:
        """See ``bench.session.Session``: connections of any kind that the server has accepted."""
        return ServicePath("none", {"none": self._accepted()})

    def _accepted(self) -> int:
        done = self._in("server", "cat", "/proc/net/snmp")
        names, values = (line.split() for line in done.splitlines() if line.startswith("Tcp:"))
        return int(values[names.index("PassiveOpens")])

    def _in(self, node: str, *command: str) -> str:
        return subprocess.run(
            [*self._enter(node), *command], capture_output=True, text=True, check=True
        ).stdout

    def allowances(self) -> Mapping[str, Mapping[str, int]]:
        """See ``bench.session.Session``."""
        return {}

    def close(self) -> None:
        """Nothing is held."""

    def environment(self) -> Environment:
        """See ``bench.session.Session``."""
        return Environment(
            target="two network namespaces and a veth pair",
            kernel=os.uname().release,
            congestion_control=congestion.of(self.namespace("client")),
            adaptations=["no cluster: the httpbin Service is the server's own address"],
        )

    def about(self) -> About:
        """See ``bench.session.Session``."""
        return About()

    def spawn(self, node: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program on a node; it ends with the session."""
        return self._start([*self._enter(node), *argv])

    def namespace(self, node: str) -> Path:
        """A node's network namespace."""
        return Path(f"/proc/{self._holders[node].pid}/ns/net")

    def _enter(self, node: str) -> list[str]:
        pid = self._holders[node].pid
        return [
            "nsenter", f"--net=/proc/{pid}/ns/net", f"--pid=/proc/{pid}/ns/pid_for_children", "--",
        ]  # fmt: skip

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._stack.callback(_end, process)
        return process

    def _wire(self) -> None:
        client, server = (self._holders[node].pid for node in ("client", "server"))
        _until("the namespaces", lambda: all(map(_is_apart, (client, server))))
        self._ip(
            "client",
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(server),
        )
        for node, address in (("client", CLIENT), ("server", SERVER)):
            congestion.choose(congestion.DEFAULT, self.namespace(node))
            self._ip(node, "link", "set", "lo", "up")
            self._ip(node, "address", "add", f"{address}/24", "dev", "eth0")
            self._ip(node, "link", "set", "eth0", "up")

    def _ip(self, node: str, *arguments: str) -> None:
        # Not in the node's PID namespace: the other holder's PID means nothing there.
        command = ["nsenter", f"--net=/proc/{self._holders[node].pid}/ns/net", "ip", *arguments]
        subprocess.run(command, check=True, capture_output=True)

    def _serve(self) -> None:
        for workload in WORKLOADS:
            if workload.side == "server" or workload.role == "fortio-client":
                self._serve_one(workload)
        responder = str(Path(__file__).with_name("dns_responder.py"))
        self._dns = self.spawn("server", [sys.executable, responder, SERVER, str(DNS_PORT)])
        _until("the servers", self._listening)

    def _serve_one(self, workload: Workload) -> None:
        found = program(workload.command[0])
        assert found is not None
        for replica in range(workload.replicas):
            command = [found, *workload.command[1:]]
            if workload.service is not None:  # replicas share one address here
                command[command.index(str(workload.service.target_port))] = str(
                    HTTPBIN_PORTS[replica]
                )
            self.spawn(workload.side, command)

    def _listening(self) -> bool:
        done = subprocess.run(
            [*self._enter("server"), "ss", "-Hlntu"], capture_output=True, text=True, check=True
        )
        wanted = ("5201", "8078", "53", "8102", *map(str, HTTPBIN_PORTS))
        return all(f":{port} " in done.stdout for port in wanted)


# pdeathsig: also when this process is killed before it can clean up.
_UNSHARE = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--fork", "--kill-child",
    "sleep", "infinity",
)  # fmt: skip


def _is_apart(pid: int) -> bool:
    """The holder is in its own network namespace and its child runs in the PID namespace."""
    with suppress(OSError):
        own = Path("/proc/self/ns/net").readlink()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return Path(f"/proc/{pid}/ns/net").readlink() != own and bool(children.strip())
    return False


def _until(what: str, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + _READY_SECONDS
    while not ready():
        if time.monotonic() > end:
            raise SessionError(f"{what} were not ready in {_READY_SECONDS:.0f} s")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
