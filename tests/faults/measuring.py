"""Faults beside a sample, in a lab that runs: everything that it consists of is stopped, killed and
started anew, its packets are lost, and its machine is busy, while a real probe measures."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.probes.base import Bench, Probe, Reading, WrappedProbe
from bench.probes.turns import in_turns
from bench.sampling import Outcome, sample
from bench.session import TimeOfDay, resolve_targets
from components.lab import cpu
from lab import cgroups
from lab.cloud.cloud import EC2
from lab.sandbox import Place
from lab.wait import until
from tests.faults.ground import environment_of, soon, without_numbers
from tests.faults.table import Injection, Seen, plain
from tests.lab.leftovers import named_namespaces
from tests.lab.running import RunningLab

_AT_SECONDS, _PROBE_SECONDS, _DEADLINE = 0.3, 0.4, 10.0
"""When a fault comes, how long the sample beside it is, and when it is given up."""
_WELL_SECONDS = 60.0
_STARTED_AGAIN = "cilium-operator"
"""By the lab itself, as by a kubelet."""


@dataclass(frozen=True)
class Spawned:
    """How a process of a lab was started, so that it can be started the same way once more."""

    argv: list[str]
    env: dict[str, str]
    place: Place

    @classmethod
    def of(cls, running: RunningLab, name: str) -> Spawned:
        lab, sandbox = running.lab, running.lab.sandbox
        pid = sandbox.pid_of(name)
        assert pid is not None, f"{name} does not run"
        proc = sandbox.proc(pid)
        argv = (proc / "cmdline").read_bytes().decode().split("\0")[:-1]
        net, mount = ((proc / "ns" / kind).readlink() for kind in ("net", "mnt"))
        of_net = {
            f"net:[{each.stat().st_ino}]": each.name for each in named_namespaces(sandbox.init_pid)
        }
        holders = {(sandbox.proc(n.holder) / "ns/mnt").readlink(): n.holder for n in lab.nodes}
        told = sandbox.run(["taskset", "--cpu-list", "--pid", str(pid)]).stdout
        cpus = _numbers(told.rpartition(": ")[2].strip())
        place = Place(of_net.get(str(net)), holders.get(mount), cgroups.of_process(proc), cpus)
        return cls(argv, dict(environment_of(proc)), place)


def _numbers(text: str) -> tuple[int, ...]:
    """Of a list such as ``0,2-3``."""
    ends = [part.partition("-") for part in text.split(",")]
    return tuple(n for low, _, high in ends for n in range(int(low), int(high or low) + 1))


@dataclass(frozen=True, slots=True)
class Meanwhile(WrappedProbe):
    """A probe that is not over before something else has happened, too."""

    wait: Callable[[], None] = lambda: None

    def measure(self, bench: Bench) -> Reading:
        try:
            return self.inner.measure(bench)
        finally:
            self.wait()


class Measured:
    """A running lab, and one sample at a time in it."""

    def __init__(self, running: RunningLab) -> None:
        self.running = running
        self.sandbox = running.lab.sandbox
        self._targets = resolve_targets(running.session)
        self._probe = in_turns("rtt", _PROBE_SECONDS)

    def sample(self, probe: Probe | None = None, *, others: float = math.inf) -> Outcome:
        """One attempt, whatever else runs on this machine."""
        bench = Bench(
            self.running.session, self._targets, deadline=time.monotonic() + _DEADLINE,
            most_others=others,
        )  # fmt: skip
        return sample(probe or self._probe, bench, attempts=1)

    def well(self) -> str:
        """Wait until a sample has a number again; that of round trips, in words."""
        last: list[Outcome] = []

        def unwell() -> str | None:
            last[:] = [self.sample()]
            return None if last[0].reading else last[0].failures[-1]

        until("a sample without a fault", unwell, timeout=_WELL_SECONDS, interval=0.5)
        reading = last[0].reading
        assert reading is not None
        return f"the lab; the next sample counts ({self._probe.summary(reading)})"

    def beside(
        self,
        fault: Callable[[], object],
        mend: Callable[[], object],
        *,
        says: str = "",
        others: float = math.inf,
        seconds: float = _PROBE_SECONDS,
        at: float = _AT_SECONDS,
    ) -> Seen:
        """A sample with a fault in its midst, which must be missing, and the first one after it.

        :param seconds: of the sample. What is at fault on the path is met on the way only.
        """
        meanwhile = Meanwhile(in_turns("rtt", seconds), soon(fault, at))
        try:
            outcome = self.sample(meanwhile, others=others)
        finally:
            mend()
        assert outcome.reading is None, f"a sample counts: {outcome.reading.values}"
        reason = outcome.failures[-1]
        assert says in reason, f"{says!r} is not in {reason!r}"
        return Seen(plain(reason), self.well(), "missing, with that reason")

    # -- processes ------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """One process of each kind, of servers' nodes first."""
        found: dict[str, str] = {}
        for name in sorted(self.sandbox.processes(), reverse=True):
            found.setdefault(without_numbers(name), name)
        # What holds a node's namespaces ends with the node: that is another fault.
        return sorted(name for kind, name in found.items() if kind != "mounts")

    def signal(self, name: str, number: str) -> None:
        self.sandbox.run(["kill", f"-{number}", str(self.sandbox.pid_of(name))])
        if number == "STOP":
            stopped = lambda: None if self.sandbox.processes()[name].state == "T" else "runs"  # noqa: E731
            until(f"{name} to be stopped", stopped, timeout=5)

    def stopped(self, name: str) -> Seen:
        return self.beside(
            partial(self.signal, name, "STOP"), partial(self.signal, name, "CONT"),
            says=f"{name} is stopped",
        )  # fmt: skip

    def frozen(self, branch: str, name: str) -> Seen:
        """A cgroup of the lab, with this process in it."""
        cgroup = cgroups.lab_cgroup(self.running.lab.paths.lab_id) / branch

        def freeze(state: int) -> None:
            (cgroup / "cgroup.freeze").write_text(str(state))

        return self.beside(partial(freeze, 1), partial(freeze, 0), says=f"{name} is frozen")

    def killed(self, name: str, *, at_once: bool = False) -> Seen:
        """:param at_once: it is started anew before the sample is over."""
        before = Spawned.of(self.running, name)
        again = partial(self.sandbox.spawn, name, before.argv, before.place, env=before.env)

        def fault() -> None:
            self.signal(name, "KILL")
            if at_once:
                until("its end", lambda: "runs" if self.sandbox.pid_of(name) else None, timeout=5)
                again()

        def mend() -> None:
            if name == _STARTED_AGAIN:
                back = lambda: None if self.sandbox.pid_of(name) else "not yet"  # noqa: E731
                until(f"{name} to be started again", back, timeout=10)
            elif not at_once:
                again()

        # Who is fast enough to be back is told as started anew.
        return self.beside(fault, mend, says=f"{name} ")

    def killed_for_good(self, name: str) -> Seen:
        """What it knew is gone with it, so that it cannot be started anew: nothing counts any
        more."""
        wait = soon(partial(self.signal, name, "KILL"), _AT_SECONDS)
        first = self.sample(Meanwhile(self._probe, wait))
        for outcome in (first, self.sample()):
            assert outcome.reading is None, f"a sample counts: {outcome.reading.values}"
            assert f"{name} has ended" in outcome.failures[-1], outcome.failures[-1]
        told = plain(first.failures[-1])
        return Seen(told, "the lab, until it is destroyed", "missing, and all after it")

    # -- the path -------------------------------------------------------------------------------

    def rule(self, words: str) -> Seen:
        """A rule of the fabric between the nodes."""

        def change(verb: str) -> None:
            self.sandbox.run(["iptables", "-w", verb, "FORWARD", *words.split()])

        return self.beside(partial(change, "-I"), partial(change, "-D"), seconds=2.0, at=0.0)

    def blackhole(self, role: str) -> Seen:
        """A server's way back to the client is lost."""
        pod, client = self._targets.one(role), self._targets.one("fortio-client")
        where = Place(netns=pod.name)

        def change(verb: str) -> None:
            self.sandbox.run(["ip", "route", verb, "blackhole", f"{client.ip}/32"], where)

        return self.beside(partial(change, "add"), partial(change, "del"), seconds=2.0, at=0.0)

    # -- the machine ----------------------------------------------------------------------------

    def clock_set(self, seconds: float) -> Seen:
        """By a clock of ours; the machine's own is left alone."""
        real = cpu.time_of_day

        def ahead() -> TimeOfDay:
            now = real()
            return replace(now, ahead=now.ahead + seconds)

        def use(clock: Callable[[], TimeOfDay]) -> None:
            cpu.time_of_day = clock

        says = "the wall clock was set by"
        return self.beside(partial(use, ahead), partial(use, real), says=says)

    def busy(self) -> Seen:
        """Somebody else's work, who is no child of the measurement."""
        burn = [sys.executable, "-I", "-S", "-c", "while True: pass"]
        marked: list[int] = []

        def begin() -> None:
            for _ in range(os.cpu_count() or 1):
                done = subprocess.run(
                    ["sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *burn],
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                marked.append(int(done.stdout))

        def end() -> None:
            for pid in marked:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        begin()
        return self.beside(lambda: None, end, says="others used", others=0.25)

    def no_files_left(self) -> Seen:
        """The measuring process may open no more files, so that it can start nothing."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

        def limit(most: int) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

        limit(len(list(Path("/proc/self/fd").iterdir())) + 1)
        return self.beside(lambda: None, partial(limit, soft), says="Too many open files")


def injections(measured: Measured, *, whole: bool) -> Iterator[Injection]:
    """Everything that the lab consists of, and the path; with ``whole``, what is around it, too."""
    names = measured.names()
    for name in names:
        kind = without_numbers(name)
        yield Injection("measuring", "SIGSTOP to a process", kind, partial(measured.stopped, name))
    for name in names:
        if name != EC2:
            kind, do = without_numbers(name), partial(measured.killed, name)
            yield Injection("measuring", "SIGKILL to a process", kind, do)
    lost = partial(measured.blackhole, "turns-server")
    yield Injection("measuring", "route lost", "a server's way back to the client", lost)
    if EC2 in names:
        do = partial(measured.killed_for_good, EC2)
        yield Injection("measuring", "SIGKILL to a process", EC2, do)
    if not whole:
        return
    agent = "node-2-cilium-agent"
    for branch, what in (("node-2/agents", "the agents of a node"), ("node-2", "a whole node")):
        do = partial(measured.frozen, branch, agent)
        yield Injection("measuring", "cgroup frozen", what, do)
    anew = partial(measured.killed, "httpbin-1", at_once=True)
    yield Injection("measuring", "replaced process", "a pod of httpbin", anew)
    for kind, what, words in (
        ("packets dropped", "all between the nodes", "-j DROP"),
        ("packets rejected", "all between the nodes", "-j REJECT"),
        ("one direction lost", "all that comes from the servers", "-s 172.30.0.12 -j DROP"),
    ):
        yield Injection("measuring", kind, what, partial(measured.rule, words))
    for step in (0.05, -0.05):
        what = f"{1e3 * step:+.0f} ms, by a clock of the test's"
        yield Injection("measuring", "clock set", what, partial(measured.clock_set, step))
    yield Injection("measuring", "machine busy", "a process per CPU", measured.busy)
    yield Injection(
        "measuring", "no file descriptor left", "to the measuring process", measured.no_files_left
    )
