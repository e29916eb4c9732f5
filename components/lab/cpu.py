"""CPU time, as the lab's machine accounts for it."""

import dataclasses
import os
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from bench.session import MachineUsage, TimeOfDay
from lab.placement import as_list
from lab.sandbox import environment

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PF_KTHREAD = 0x00200000
"""Of a process's flags in /proc/<pid>/stat: a thread of the kernel (linux/sched.h)."""
_READINGS = 5


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended; ``cpu_seconds`` is that of all processes it waited for."""

    returncode: int
    stdout: str
    stderr: str
    cpu_seconds: float


def run(argv: Sequence[str]) -> Done:
    """Run a command of a lab to its end, with pipes for its output and no input."""
    # wait4(2) is the only call that tells the CPU time of one child; Popen's own do not.
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as stdout, process.stderr as stderr, ThreadPoolExecutor(1) as pool:
        errors = pool.submit(_text, stderr)
        try:
            output, said = _text(stdout), errors.result()
        except BaseException:
            process.kill()
            raise
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Done(process.returncode, output, said, used.ru_utime + used.ru_stime)


def _text(stream: IO[bytes]) -> str:
    return stream.read().decode(errors="replace")


def of_process(proc: Path) -> float:
    """CPU seconds of a process's threads, those that ended included (proc_pid_stat(5)).

    Not by psutil, which knows processes by their numbers in its own PID namespace only.

    :param proc: its folder in a /proc, which may be that of another PID namespace.
    """
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def of_machine(
    name: str,
    nodes: tuple[str, ...],
    ours: Collection[str],
    cpus: Mapping[str, tuple[int, ...]] | None = None,
) -> MachineUsage:
    """What all CPUs have done so far.

    :param ours: PID namespaces (as links in /proc name them) whose processes are measured.
    :param cpus: those that nodes have to themselves.
    """
    together: dict[tuple[int, ...], list[str]] = {}
    for node, numbers in (cpus or {}).items():
        together.setdefault(numbers, []).append(node)
    times = _times()
    parts = tuple(
        _of_cpus(f"CPU {as_list(numbers)}", tuple(names), [times[number] for number in numbers])
        for numbers, names in together.items()
    )
    return dataclasses.replace(
        _of_cpus(name, nodes, list(times.values())),
        others_seconds=sum(of_others(ours).values()),
        time_of_day=time_of_day(),
        parts=parts,
    )


def _times() -> dict[int, list[float]]:
    """Seconds of every CPU, in the order of proc_stat(5): user, nice, system, idle, iowait, irq,
    softirq, steal."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    return {
        int(name.removeprefix("cpu")): [int(ticks) / _TICKS_PER_SECOND for ticks in counts[:8]]
        for name, *counts in lines
        if name.startswith("cpu") and name != "cpu"
    }


def _of_cpus(name: str, nodes: tuple[str, ...], times: Sequence[Sequence[float]]) -> MachineUsage:
    user, nice, system, _, _, irq, softirq, steal = map(sum, zip(*times, strict=True))
    return MachineUsage(
        name=name,
        nodes=nodes,
        cpus=len(times),
        busy_seconds=user + nice + system + irq + softirq,
        steal_seconds=steal,
        interrupt_seconds=irq + softirq,
    )


def of_others(ours: Collection[str]) -> dict[int, float]:
    """CPU seconds so far, by their numbers, of all processes but the measured ones, the kernel's
    own threads, and this process with all that it has started.

    Those that have ended are in the time of whoever has waited for them. A container
    sees no processes outside it.
    """
    me = os.getpid()
    used: dict[int, float] = {}
    parents: dict[int, int] = {}
    for pid in psutil.pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            kernels = int(fields[6]) & _PF_KTHREAD
            if pid == me or kernels or _pid_namespace(pid) in ours:
                continue
        except OSError:  # it has ended meanwhile
            continue
        parents[pid] = int(fields[1])
        used[pid] = sum(map(int, fields[11:15])) / _TICKS_PER_SECOND

    def started_here(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
        return pid == me

    return {pid: seconds for pid, seconds in used.items() if not started_here(pid)}


def _pid_namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def time_of_day() -> TimeOfDay:
    """The best of a few readings: one that is interrupted midway is known less well."""
    return min((_time_of_day() for _ in range(_READINGS)), key=lambda each: each.error)


def _time_of_day() -> TimeOfDay:
    before, now, after = time.monotonic(), time.time(), time.monotonic()
    return TimeOfDay(now - (before + after) / 2, (after - before) / 2)
